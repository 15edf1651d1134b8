//! Decides which files are rewritten. Pure: no files, no clock, no randomness.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::class::{Class, Kind};
use super::content::Look;
use super::dictionaries::{BadEntry, State};
use super::error::Refusal;
use super::inventory::{Inventory, StoreFile};
use crate::api::method::Method;
use crate::format::pb::{self, FileInfo, KeyDictionary};

/// What every file shall be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Method.
    pub method: Method,
    /// Data keys made before this Unix second must protect nothing; `u64::MAX` asks for a new key in any case.
    pub not_before: u64,
    /// The key of the run that is open: what is under it is done.
    pub key_id: Option<u64>,
    /// The intent without which nothing is decrypted for good.
    pub decrypt: bool,
}

/// Files that change together: the names of one inode.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its names; at least one. All have equal entries.
    pub names: Vec<Arc<StoreFile>>,
}

impl Group {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.names.first().map_or(0, |file| file.meta.size)
    }

    /// The entry of all its names.
    pub fn entry(&self) -> Option<&FileInfo> {
        self.names.first().and_then(|file| file.entry.as_ref())
    }
}

/// What there is to do.
#[derive(Debug, Default)]
pub struct Work {
    /// Files to rewrite, smallest first so that a full volume shows late and little is redone.
    pub groups: Vec<Group>,
    /// Leftovers that TiKV removes at its start anyway; they are removed with their entries.
    pub remove: Vec<Arc<StoreFile>>,
    /// True when dictionaries exist that the target does not want.
    pub drop_dictionaries: bool,
}

impl Work {
    /// True when the store is as the target wants it.
    pub fn is_done(&self) -> bool {
        self.groups.is_empty() && !self.drop_dictionaries
    }

    /// Names of files to rewrite.
    pub fn files(&self) -> u64 {
        self.groups
            .iter()
            .map(|group| group.names.len() as u64)
            .sum()
    }

    /// Bytes to rewrite.
    pub fn bytes(&self) -> u64 {
        self.groups.iter().map(Group::size).sum()
    }
}

/// Compares what is with what shall be. Refuses before anything is changed.
pub fn plan(inventory: &Inventory, state: &State, target: &Target) -> Result<Work, Refusal> {
    if !target.method.encrypts() && !target.decrypt {
        return Err(Refusal::DecryptWithoutIntent);
    }
    if let Some(obstacle) = inventory.obstacles.first() {
        return Err(obstacle.clone());
    }
    one_entry_an_inode(inventory)?;
    let no_keys = KeyDictionary::default();
    let (keys, has_dictionaries) = match state {
        State::Never => (&no_keys, false),
        State::Has(dictionaries) => (&dictionaries.keys, true),
    };
    let mut groups: BTreeMap<(u64, u64), Group> = BTreeMap::new();
    let mut work = Work {
        drop_dictionaries: has_dictionaries && !target.method.encrypts(),
        ..Work::default()
    };
    for file in &inventory.files {
        match file.class {
            Class::Leftover => {
                work.remove.push(Arc::clone(file));
                continue;
            }
            Class::Plain | Class::Ours => continue,
            Class::Unknown if file.entry.is_none() => continue,
            Class::Current if file.entry.is_none() => continue,
            Class::Current | Class::Unknown | Class::Data(_) => {}
        }
        sound(file)?;
        if as_desired(file, keys, target) {
            continue;
        }
        let group = groups.entry(file.meta.inode).or_insert_with(|| Group {
            names: Vec::with_capacity(1),
        });
        group.names.push(Arc::clone(file));
    }
    work.groups = groups.into_values().collect();
    work.groups.sort_by_key(Group::size);
    Ok(work)
}

/// All names of one inode must have equal entries (facts, encryption at rest §6.4): its bytes are under one of them only.
fn one_entry_an_inode(inventory: &Inventory) -> Result<(), Refusal> {
    let mut firsts: BTreeMap<(u64, u64), &StoreFile> = BTreeMap::new();
    let data = |file: &&StoreFile| matches!(file.class, Class::Data(_) | Class::Current);
    for file in inventory.iter().filter(data) {
        let first = firsts.entry(file.meta.inode).or_insert(file);
        if first.entry != file.entry && !(first.in_the_clear() && file.in_the_clear()) {
            return Err(Refusal::SplitInode {
                path: first.relative(),
                other: file.relative(),
            });
        }
    }
    Ok(())
}

/// Refuses a file whose entry and content do not belong together: a transform of it would destroy it.
fn sound(file: &StoreFile) -> Result<(), Refusal> {
    let path = file.relative();
    match file.bad_entry.as_deref() {
        Some(BadEntry::UnknownKey(key_id)) => {
            return Err(Refusal::UnknownKey {
                path,
                key_id: *key_id,
            });
        }
        Some(BadEntry::Other(why)) => {
            return Err(Refusal::BadEntry {
                path,
                why: why.clone(),
            });
        }
        None => {}
    }
    match (file.look, file.in_the_clear()) {
        (Look::Differs, true) => Err(Refusal::Unrecognised { path }),
        (Look::Differs, false) => Err(Refusal::Mismatch { path }),
        _ => Ok(()),
    }
}

/// True when nothing has to be done with this file.
pub fn as_desired(file: &StoreFile, keys: &KeyDictionary, target: &Target) -> bool {
    if file.class == Class::Current || !target.method.encrypts() {
        return file.in_the_clear();
    }
    let Some(entry) = &file.entry else {
        return false;
    };
    pb::method::from_wire(entry.method) == Some(target.method)
        && (target.key_id == Some(entry.key_id)
            || keys
                .keys
                .get(&entry.key_id)
                .is_some_and(|key| key.creation_time >= target.not_before))
}

/// The entry that `file` gets; `None` takes its entry away. `iv` is fresh for every inode.
pub fn new_entry(file: &StoreFile, target: Method, key_id: u64, iv: [u8; 16]) -> FileInfo {
    let plain = file.class == Class::Current || !target.encrypts();
    FileInfo {
        key_id: if plain { 0 } else { key_id },
        // A plaintext entry's IV is read by nobody; here it names the temporary file until the run ends.
        iv: iv.to_vec(),
        method: pb::method::to_wire(if plain { Method::Plaintext } else { target }),
    }
}

/// True for files that a store may lose without harm; for figures.
pub const fn is_spare(class: Class) -> bool {
    matches!(class, Class::Data(Kind::Spare))
}
