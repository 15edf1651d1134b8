//! The ways from one state of a store to another that are proven.

use std::path::Path;

use super::super::world::{
    Contents, DIR, encrypted_with, keys_under, master_key, plaintext, small_batches, to,
};
use crate::agent::dictionaries::Sealer;
use crate::agent::error::StoreError;
use crate::agent::limits::Limits;
use crate::agent::master_key::StoreKeys;
use crate::agent::observer::Silent;
use crate::agent::plan::Target;
use crate::agent::store::Store;
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::crypto::secret::SecretBytes;
use crate::fs::Fs;
use crate::fs::tests::sim::State;
use crate::kms::MasterKey;

/// What a run does.
#[derive(Clone, Debug)]
pub enum Task {
    /// Data under another key, or in the clear.
    Reencrypt(Target),
    /// `key.dict` under another master key.
    Rewrap,
}

/// From where to where.
pub struct Journey {
    pub name: &'static str,
    pub start: State,
    pub contents: Contents,
    /// What the run does that is cut off.
    pub first: Task,
    /// What every later one does, to the end.
    pub then: Task,
    pub limits: Limits,
    /// Data keys that must be gone in the end.
    pub old_keys: Vec<u64>,
}

/// All six.
pub fn journeys() -> Vec<Journey> {
    vec![
        journey(
            "plaintext to aes256-ctr",
            Method::Plaintext,
            &[Method::Aes256Ctr],
            2,
        ),
        journey("a new data key", Method::Aes256Ctr, &[Method::Aes256Ctr], 9),
        journey("another method", Method::Aes128Ctr, &[Method::Sm4Ctr], 2),
        journey(
            "aes192-ctr to plaintext",
            Method::Aes192Ctr,
            &[Method::Plaintext],
            2,
        ),
        rewrap(),
        // An interrupted run is finished as it was meant; then the data goes where it is wanted now.
        journey(
            "taken up with another target",
            Method::Plaintext,
            &[Method::Aes128Ctr, Method::Aes256Ctr],
            9,
        ),
    ]
}

fn journey(name: &'static str, from: Method, targets: &[Method], flush_together: usize) -> Journey {
    let (start, contents) = if from.encrypts() {
        encrypted_with(from, &master_key())
    } else {
        plaintext()
    };
    let task = |method: Option<&Method>| Task::Reencrypt(to(*method.unwrap()));
    Journey {
        name,
        old_keys: keys_under(&start, &master_key()),
        start: start.state(),
        contents,
        first: task(targets.first()),
        then: task(targets.last()),
        limits: small_batches(flush_together),
    }
}

fn rewrap() -> Journey {
    let (start, contents) = encrypted_with(Method::Aes256Ctr, &old_master_key());
    Journey {
        name: "another master key",
        start: start.state(),
        contents,
        first: Task::Rewrap,
        then: Task::Rewrap,
        limits: Limits::default(),
        old_keys: Vec::new(),
    }
}

fn old_master_key() -> MasterKey {
    MasterKey::File(SecretBytes::new(vec![0x17; 32]))
}

/// Both master keys, as TiKV's configuration has them while the one takes over from the other.
pub fn both_master_keys() -> StoreKeys {
    StoreKeys::new(
        Box::new(|| Ok(Some(master_key()))),
        Box::new(|| Ok(Some(old_master_key()))),
    )
}

/// One run.
pub fn run(fs: &dyn Fs, task: &Task, limits: Limits) -> Result<(), StoreError> {
    match task {
        Task::Reencrypt(target) => {
            let key = master_key();
            let store = Store::open(fs, &key, Path::new(DIR), Some(DIR), None)?.within(limits);
            let lock = store.lock()?;
            store
                .reencrypt(
                    target,
                    Verification::Full,
                    1_700_000_000,
                    &Silent,
                    lock.as_ref(),
                )
                .map(drop)
        }
        Task::Rewrap => {
            let keys = both_master_keys();
            let store = Store::open(fs, &keys, Path::new(DIR), Some(DIR), None)?;
            let lock = store.lock()?;
            store.recover(Verification::Full, 1_700_000_000, &Silent)?;
            store.rewrap(&[], lock.as_ref()).map(drop)
        }
    }
}

/// What a start does before anything else: finishing what is open.
pub fn recover(fs: &dyn Fs, task: &Task) -> Result<bool, StoreError> {
    let (one, both) = (master_key(), both_master_keys());
    let sealer: &dyn Sealer = match task {
        Task::Reencrypt(_) => &one,
        Task::Rewrap => &both,
    };
    let store = Store::open(fs, sealer, Path::new(DIR), Some(DIR), None)?;
    store.recover(Verification::Full, 1_700_000_000, &Silent)
}
