//! What must be true of every image, and of every store that was recovered. The oracle knows the plaintexts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::world::{DIR, master_key};
use super::journey::{Journey, Task, both_master_keys, recover};
use crate::agent::class::{GUARD, JOURNAL};
use crate::agent::dictionaries::{self, Sealer, State as Dictionaries};
use crate::api::method::Method;
use crate::crypto::Transform;
use crate::format::pb;
use crate::fs::tests::sim::{SimFs, State};

const MARKER: &[u8] = b"PLAINTEXT-MARKER";

/// A thing that must not be.
pub type Violation = String;

/// What is found right after a crash, before anything is repaired.
pub fn image(journey: &Journey, image: &State) -> Result<(), Violation> {
    let fs = SimFs::of(image.clone());
    let guarded = fs.content(&Path::new(DIR).join(GUARD)).is_some();
    let journal = fs.content(&Path::new(DIR).join(JOURNAL)).is_some();
    if journal && !guarded {
        return Err("a journal is open and TiKV may start".to_owned());
    }
    if !guarded {
        readable(journey, &fs)?;
    }
    if stays_secret(journey) {
        no_plaintext(image)?;
    }
    Ok(())
}

/// What is found when the run after the crash has ended, and nothing that was not durable counts.
pub fn recovered(journey: &Journey, state: &State) -> Result<(), Violation> {
    let fs = SimFs::of(state.clone());
    let keys = readable(journey, &fs)?;
    let allowed = |path: &PathBuf| {
        journey.contents.contains_key(path)
            || path.ends_with("key.dict")
            || path.ends_with("file.dict")
    };
    let left: Vec<PathBuf> = fs
        .paths()
        .into_iter()
        .filter(|path| !allowed(path))
        .collect();
    if !left.is_empty() {
        return Err(format!("left over: {left:?}"));
    }
    if let Some(old) = journey.old_keys.iter().find(|old| keys.contains(old)) {
        return Err(format!("the old data key {old} is kept"));
    }
    match &journey.then {
        Task::Reencrypt(target) if target.method.encrypts() => no_plaintext(state)?,
        Task::Reencrypt(_) if !keys.is_empty() => {
            return Err("dictionaries are kept beside plaintext".to_owned());
        }
        Task::Reencrypt(_) => {}
        Task::Rewrap => under_the_new_master_key(&fs)?,
    }
    let again =
        recover(&fs, &journey.then).map_err(|error| format!("a second recovery fails: {error}"))?;
    if again || fs.calls() != 0 {
        return Err("a second recovery changes something".to_owned());
    }
    Ok(())
}

/// Every file reads as it was written, through the dictionaries. Answers the ids of all data keys.
fn readable(journey: &Journey, fs: &SimFs) -> Result<BTreeSet<u64>, Violation> {
    let (one, both) = (master_key(), both_master_keys());
    let sealer: &dyn Sealer = match journey.then {
        Task::Reencrypt(_) => &one,
        Task::Rewrap => &both,
    };
    let state = dictionaries::load(fs, Path::new(DIR), sealer)
        .map_err(|error| format!("the dictionaries do not open: {error}"))?;
    for (path, expected) in &journey.contents {
        let mut bytes = fs
            .content(path)
            .ok_or_else(|| format!("{} is gone", path.display()))?;
        if let Dictionaries::Has(dictionaries) = &state {
            let entry = dictionaries.files.entries.get(&*path.to_string_lossy());
            let stream = dictionaries::stream(&dictionaries.keys, entry)
                .map_err(|bad| format!("{}: {bad:?}", path.display()))?;
            Transform::new(stream, None).apply(0, &mut bytes);
        }
        if bytes != *expected {
            return Err(format!("{} reads wrong", path.display()));
        }
    }
    let Dictionaries::Has(dictionaries) = state else {
        return Ok(BTreeSet::new());
    };
    for (name, entry) in &dictionaries.files.entries {
        let method = pb::method::from_wire(entry.method).unwrap_or(Method::Plaintext);
        if method.encrypts() && !dictionaries.keys.keys.contains_key(&entry.key_id) {
            return Err(format!("the entry of {name} names a data key that is gone"));
        }
    }
    Ok(dictionaries.keys.keys.keys().copied().collect())
}

/// True where plaintext was never on the disk and shall not be.
fn stays_secret(journey: &Journey) -> bool {
    let decrypts =
        |task: &Task| matches!(task, Task::Reencrypt(target) if !target.method.encrypts());
    !journey.old_keys.is_empty() && !decrypts(&journey.first) && !decrypts(&journey.then)
}

fn no_plaintext(state: &State) -> Result<(), Violation> {
    let found = state.inodes.values().any(|inode| {
        inode
            .now
            .windows(MARKER.len())
            .any(|window| window == MARKER)
    });
    if found {
        return Err("plaintext is on the disk".to_owned());
    }
    Ok(())
}

fn under_the_new_master_key(fs: &SimFs) -> Result<(), Violation> {
    dictionaries::load(fs, Path::new(DIR), &master_key())
        .map(drop)
        .map_err(|error| format!("key.dict is not under the new master key: {error}"))
}
