//! `tikv-security rewrap`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output::{self, Output};
use super::{StoreArgs, exit, from_file, on_store, tell};
use crate::agent::dictionaries::{Sealer, State};
use crate::agent::error::StoreError;
use crate::agent::limits::Limits;
use crate::agent::master_key::{self, Make, StoreKeys};
use crate::agent::store::Store;
use crate::kms::MasterKey;

/// Arguments of `rewrap`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct RewrapArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// New master key file. Without it the new key is [security.encryption.master-key] of --config, and the old one its
    /// previous-master-key, or --master-key-file
    #[arg(long, value_name = "FILE")]
    new_master_key_file: Option<PathBuf>,
    /// Prove that the old key opens key.dict and that the new key can be used; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    data_dir: String,
    dry_run: bool,
    /// False when key.dict was under the new master key already.
    changed: bool,
    data_keys: usize,
    /// Data keys that once lay in the clear: only a re-encryption helps against that.
    exposed_data_keys: usize,
    master_key: String,
}

/// Runs `rewrap`.
pub fn main(args: &RewrapArgs) -> ExitCode {
    tell(&args.store, || {
        let config = args.store.config()?;
        let keys = args.keys(config.as_deref())?;
        let document = on_store(
            &args.store,
            config.as_deref(),
            &keys,
            Limits::default(),
            |store| args.run(store, &keys),
        )?;
        match args.store.output {
            Output::Table => print!("{}", document.table()),
            form => output::document(form, &document)?,
        }
        Ok(0)
    })
}

impl RewrapArgs {
    /// The new key first, the old one as the previous.
    fn keys(&self, config: Option<&str>) -> Result<StoreKeys, StoreError> {
        let old_file = self.store.master_key_file.as_deref().map(from_file);
        let configured = config.map(master_key::configured_keys);
        let (new, old): (Make, Make) = match (&self.new_master_key_file, configured, old_file) {
            (Some(new), _, Some(old)) => (from_file(new), old),
            (Some(new), Some([current, _]), None) => (from_file(new), current),
            (None, Some([current, _]), Some(old)) => (current, old),
            (None, Some([current, previous]), None) => (current, previous),
            _ => {
                return Err(StoreError::Config(
                    "both master keys must be named: the new one with --new-master-key-file or --config, the old one with \
                     --master-key-file or as previous-master-key in --config"
                        .to_owned(),
                ));
            }
        };
        Ok(StoreKeys::new(new, old))
    }

    fn run(&self, store: &Store<'_>, keys: &StoreKeys) -> Result<Document, StoreError> {
        let lock = store.lock()?;
        let State::Has(found) = store.dictionaries()? else {
            return Err(StoreError::NothingSealed(store.path().to_owned()));
        };
        let under_old = keys.is_under_previous();
        let changed = if self.dry_run {
            keys.prove()?;
            under_old
        } else {
            store.rewrap(&[], lock.as_ref())?
        };
        let exposed = found.keys.keys.values().filter(|key| key.was_exposed);
        Ok(Document {
            data_dir: store.seen_as().to_owned(),
            dry_run: self.dry_run,
            changed,
            data_keys: found.keys.keys.len(),
            exposed_data_keys: exposed.count(),
            master_key: described(keys.current()?),
        })
    }
}

/// A master key by its kind and name, never by its bytes.
fn described(key: &MasterKey) -> String {
    match key {
        MasterKey::Plaintext => "plaintext".to_owned(),
        MasterKey::File(_) => "file".to_owned(),
        MasterKey::Kms(kms) => format!("{} KMS {}", kms.vendor(), kms.key()),
    }
}

impl Document {
    fn table(&self) -> String {
        let what = match (self.dry_run, self.changed) {
            (_, false) => "was under the new master key already",
            (true, true) => "would be sealed under the new master key",
            (false, true) => "is sealed under the new master key now",
        };
        let mut text = format!(
            "key.dict {what} ({}); its {} data keys and all files stay as they are\n",
            self.master_key, self.data_keys
        );
        if self.exposed_data_keys > 0 {
            text.push_str(&format!(
                "warning: {} data keys once lay in the clear\n  next: re-encrypt the store under a new data key\n",
                self.exposed_data_keys
            ));
        }
        text
    }
}
