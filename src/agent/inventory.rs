//! What a data directory holds: every file with its class, its entry and what its content looks like. Read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::class::{self, Class};
use super::content::{self, Look};
use super::dictionaries::{self, BadEntry, State};
use super::error::{Refusal, StoreError};
use crate::crypto::Transform;
use crate::format::pb::{FileInfo, KeyDictionary};
use crate::fs::{Fs, Kind as FsKind, Meta};

/// A directory that belongs to the store: where it is here, and how TiKV spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Path here.
    pub path: PathBuf,
    /// Path as TiKV sees it, without a slash at the end.
    pub seen_as: String,
    /// Put before names below this root when they are classified and shown; empty for the data directory.
    pub prefix: String,
}

/// One name of one file.
#[derive(Clone, Debug)]
pub struct StoreFile {
    /// Relative to the data directory, or below its root's prefix.
    pub relative: String,
    /// Path here.
    pub path: PathBuf,
    /// Path as TiKV spells it: the key in `file.dict`.
    pub name: String,
    /// What it is.
    pub class: Class,
    /// Size, owner, inode.
    pub meta: Meta,
    /// Its entry.
    pub entry: Option<FileInfo>,
    /// What its content looks like under its entry.
    pub look: Look,
    /// What is wrong with its entry.
    pub bad_entry: Option<BadEntry>,
}

impl StoreFile {
    /// True when the bytes on disk are the plaintext.
    pub fn in_the_clear(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.method == 1)
    }
}

/// Everything that belongs to a store.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Files, by path.
    pub files: Vec<StoreFile>,
    /// Entries whose file does not exist.
    pub stale: BTreeMap<String, FileInfo>,
    /// Directories, for making their names durable.
    pub dirs: Vec<PathBuf>,
}

/// Looks at everything below `roots`.
pub fn take(fs: &dyn Fs, roots: &[Root], state: &State) -> Result<Inventory, StoreError> {
    let empty = (BTreeMap::new(), KeyDictionary::default());
    let (entries, keys) = match state {
        State::Never => (&empty.0, &empty.1),
        State::Has(dictionaries) => (&dictionaries.files.entries, &dictionaries.keys),
    };
    let mut inventory = Inventory {
        stale: entries.clone(),
        ..Inventory::default()
    };
    for root in roots {
        let mut walk = Walk {
            fs,
            root,
            keys,
            inventory: &mut inventory,
        };
        walk.dir(&root.path, "")?;
    }
    inventory.files.sort_by(|a, b| a.relative.cmp(&b.relative));
    check_names(roots, entries, &inventory)?;
    Ok(inventory)
}

struct Walk<'a> {
    fs: &'a dyn Fs,
    root: &'a Root,
    keys: &'a KeyDictionary,
    inventory: &'a mut Inventory,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &Path, below: &str) -> Result<(), StoreError> {
        self.inventory.dirs.push(dir.to_owned());
        let mut names = self.fs.list(dir).map_err(StoreError::io("listing", dir))?;
        names.sort();
        for name in names {
            let path = dir.join(&name);
            let below = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            // A running TiKV removes files between the listing and the look.
            let Some(meta) = self
                .fs
                .stat(&path)
                .map_err(StoreError::io("looking at", &path))?
            else {
                continue;
            };
            match meta.kind {
                FsKind::Dir => {
                    if below == "lost+found" {
                        continue;
                    }
                    self.directory_entry(&below)?;
                    self.dir(&path, &below)?;
                }
                FsKind::File => self.file(path, &below, meta)?,
                FsKind::Other => {}
            }
        }
        Ok(())
    }

    /// An entry for a directory is TiFlash's way (facts, encryption at rest §6.7).
    fn directory_entry(&self, below: &str) -> Result<(), StoreError> {
        let name = format!("{}/{below}", self.root.seen_as);
        if self.inventory.stale.contains_key(&name) {
            return Err(StoreError::Refused(Refusal::TiFlash {
                why: format!("file.dict has an entry for the directory {name}"),
            }));
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, below: &str, meta: Meta) -> Result<(), StoreError> {
        let relative = format!("{}{below}", self.root.prefix);
        let name = format!("{}/{below}", self.root.seen_as);
        let class = class::classify(&relative);
        let entry = self.inventory.stale.remove(&name);
        let mut file = StoreFile {
            relative,
            path,
            name,
            class,
            meta,
            entry,
            look: Look::Silent,
            bad_entry: None,
        };
        if let Class::Data(kind) = class {
            match dictionaries::stream(self.keys, file.entry.as_ref()) {
                Ok(stream) => {
                    let transform = Transform::new(stream, None);
                    if let Some((head, tail)) = ends(self.fs, &file.path, meta.size, &transform)? {
                        file.look = content::look(kind, &head, &tail);
                        if file.look == Look::Differs && never_written(self.fs, &file)? {
                            file.look = Look::Silent;
                        }
                    }
                }
                Err(bad) => file.bad_entry = Some(bad),
            }
        }
        self.inventory.files.push(file);
        Ok(())
    }
}

/// The first and the last bytes of a file.
pub type Ends = (Vec<u8>, Vec<u8>);

/// The first and the last bytes of a file, transformed; `None` when the file is gone meanwhile.
pub fn ends(
    fs: &dyn Fs,
    path: &Path,
    size: u64,
    transform: &Transform,
) -> Result<Option<Ends>, StoreError> {
    let file = match fs.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("opening", path)(error)),
    };
    let part = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        let read = file
            .read_at(offset, &mut bytes)
            .map_err(StoreError::io("reading", path))?;
        bytes.truncate(read);
        transform.apply(offset, &mut bytes);
        Ok::<_, StoreError>(bytes)
    };
    let length = |most: usize| usize::try_from(size).unwrap_or(most).min(most);
    let head = part(0, length(content::HEAD))?;
    let tail_len = length(content::TAIL);
    let tail = part(size - tail_len as u64, tail_len)?;
    Ok(Some((head, tail)))
}

/// Space that was reserved and never written is raw zeros, under any key (facts, encryption at rest §5.2).
fn never_written(fs: &dyn Fs, file: &StoreFile) -> Result<bool, StoreError> {
    let raw = ends(fs, &file.path, file.meta.size, &Transform::new(None, None))?;
    Ok(raw.is_some_and(|(head, _)| head.iter().all(|byte| *byte == 0)))
}

/// Refuses when entries exist and none of them is below a root: then the path that TiKV uses is another one.
fn check_names(
    roots: &[Root],
    entries: &BTreeMap<String, FileInfo>,
    inventory: &Inventory,
) -> Result<(), StoreError> {
    let data = |file: &&StoreFile| matches!(file.class, Class::Data(_));
    if entries.is_empty() || inventory.files.iter().filter(data).count() == 0 {
        return Ok(());
    }
    let below = |name: &str| {
        roots.iter().any(|root| {
            name.strip_prefix(&root.seen_as)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    match (
        entries.keys().next(),
        entries.keys().any(|name| below(name)),
    ) {
        (Some(first), false) => Err(StoreError::Refused(Refusal::WrongPrefix {
            seen_as: roots
                .first()
                .map(|root| root.seen_as.clone())
                .unwrap_or_default(),
            found: common_dir(first),
        })),
        _ => Ok(()),
    }
}

/// The data directory that an entry's path lies in, by the names of the directories that TiKV makes.
pub fn common_dir(name: &str) -> String {
    const MADE: [&str; 6] = [
        "/db/",
        "/raft-engine/",
        "/raft/",
        "/snap/",
        "/import/",
        "/tablets/",
    ];
    MADE.iter()
        .filter_map(|dir| name.find(dir))
        .min()
        .map_or_else(|| name.to_owned(), |at| name[..at].to_owned())
}
