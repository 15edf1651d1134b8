//! What a data directory holds: every file with its class, its entry and what its content looks like. Read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::class::{self, Class};
use super::content::Look;
use super::dictionaries::{self, BadEntry, State};
use super::error::{Refusal, StoreError};
use super::look;
use super::names;
pub use super::names::Root;
use super::rewrite::temporary;
use crate::crypto::Transform;
use crate::format::pb::{FileInfo, KeyDictionary};
use crate::fs::{self, Fs, Kind as FsKind, Meta};

/// One name of one file. A store may have very many of them, so its paths are made when they are asked for.
#[derive(Clone, Debug)]
pub struct StoreFile {
    root: Arc<Root>,
    below: Box<str>,
    /// What it is.
    pub class: Class,
    /// Size, owner, inode.
    pub meta: Meta,
    /// Its entry.
    pub entry: Option<FileInfo>,
    /// What its content looks like under its entry.
    pub look: Look,
    /// What is wrong with its entry.
    pub bad_entry: Option<Box<BadEntry>>,
    /// An open run has made the content of its entry durable beside it and has yet to put it in place.
    pub pending: bool,
}

impl StoreFile {
    /// Relative to the data directory, or below its root's prefix.
    pub fn relative(&self) -> String {
        format!("{}{}", self.root.prefix, self.below)
    }

    /// Path here.
    pub fn path(&self) -> PathBuf {
        self.root.path.join(&*self.below)
    }

    /// The directory that holds it here.
    pub fn dir(&self) -> PathBuf {
        fs::parent(&self.path()).to_owned()
    }

    /// Path as TiKV spells it: the key in `file.dict`.
    pub fn name(&self) -> String {
        self.root.name(&self.below)
    }

    /// Of its relative path, for sorting.
    fn characters(&self) -> impl Iterator<Item = u8> {
        self.root.prefix.bytes().chain(self.below.bytes())
    }

    /// True when the content was seen to be what the entry says, or there is none.
    pub fn is_proven(&self) -> bool {
        self.look == Look::Fits || self.meta.size == 0
    }

    /// Where the content of its entry is: beside it while a run has yet to put it in place.
    pub fn content(&self) -> Option<PathBuf> {
        let entry = self.entry.as_ref().filter(|entry| entry.iv.len() == 16)?;
        Some(temporary(&self.path(), entry))
    }

    /// True when the bytes on disk are the plaintext.
    pub fn in_the_clear(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.method == 1)
    }
}

/// Everything that belongs to a store.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Files, by path.
    pub files: Vec<Arc<StoreFile>>,
    /// Entries whose file does not exist.
    pub stale: BTreeSet<String>,
    /// Directories, for making their names durable.
    pub dirs: Vec<PathBuf>,
    /// What forbids every change of this store.
    pub obstacles: Vec<Refusal>,
}

impl Inventory {
    /// The files.
    pub fn iter(&self) -> impl Iterator<Item = &StoreFile> {
        self.files.iter().map(Arc::as_ref)
    }
}

/// Looks at everything below `roots`, at as many files at a time as there are `threads`.
pub fn take(
    fs: &dyn Fs,
    roots: &[Root],
    state: &State,
    threads: usize,
) -> Result<Inventory, StoreError> {
    let empty = (BTreeMap::new(), KeyDictionary::default());
    let (entries, keys) = match state {
        State::Never => (&empty.0, &empty.1),
        State::Has(dictionaries) => (&dictionaries.files.entries, &dictionaries.keys),
    };
    let mut inventory = Inventory::default();
    let mut unclaimed = entries.keys().map(String::as_str).collect();
    let inodes = roots
        .iter()
        .map(|root| inode(fs, &root.path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut links = Vec::new();
    for root in roots {
        let mut walk = Walk {
            fs,
            root: &Arc::new(root.clone()),
            inodes: &inodes,
            keys,
            entries,
            unclaimed: &mut unclaimed,
            inventory: &mut inventory,
            links: &mut links,
        };
        walk.dir(&root.path, "")?;
    }
    inventory.stale = unclaimed.into_iter().map(str::to_owned).collect();
    inventory
        .files
        .sort_by(|a, b| a.characters().cmp(b.characters()));
    if inventory.iter().any(is_data) {
        names::demand_spelling(roots, entries)?;
    }
    mark_pending(&mut inventory);
    look::at_all(fs, keys, &mut inventory.files, threads)?;
    inventory.obstacles = names::obstacles(roots, &inventory.stale, &inventory.files, &links);
    Ok(inventory)
}

fn is_data(file: &StoreFile) -> bool {
    matches!(file.class, Class::Data(_))
}

/// Identity of the directory that a path leads to, links followed; `None` when it is not there or not a directory.
fn inode(fs: &dyn Fs, path: &Path) -> Result<Option<(u64, u64)>, StoreError> {
    match fs.stat(&path.join(".")) {
        Ok(meta) => Ok(meta
            .filter(|meta| meta.kind == FsKind::Dir && meta.inode.1 != 0)
            .map(|meta| meta.inode)),
        // A link to a file, or to nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(StoreError::io("looking at", path)(error)),
    }
}

/// Between the write of `file.dict` and the last rename of a batch an entry describes the temporary file.
fn mark_pending(inventory: &mut Inventory) {
    let made: BTreeSet<PathBuf> = inventory
        .files
        .iter()
        .filter(|file| file.class == Class::Ours)
        .map(|file| file.path())
        .collect();
    if made.is_empty() {
        return;
    }
    for file in &mut inventory.files {
        let content = file.content();
        if content.is_some_and(|content| made.contains(&content)) {
            Arc::make_mut(file).pending = true;
        }
    }
}

/// `'e` is that of the entries.
struct Walk<'a, 'e> {
    fs: &'a dyn Fs,
    root: &'a Arc<Root>,
    inodes: &'a [Option<(u64, u64)>],
    keys: &'a KeyDictionary,
    entries: &'e BTreeMap<String, FileInfo>,
    /// Names of entries whose file was not seen yet.
    unclaimed: &'a mut BTreeSet<&'e str>,
    inventory: &'a mut Inventory,
    links: &'a mut Vec<String>,
}

impl Walk<'_, '_> {
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
                    // A directory that is a root by itself is spelled as that root is.
                    if below == "lost+found" || self.inodes.contains(&Some(meta.inode)) {
                        continue;
                    }
                    self.directory_entry(&below)?;
                    self.dir(&path, &below)?;
                }
                FsKind::File => self.file(&below, meta)?,
                FsKind::Other => self.other(&path, &below)?,
            }
        }
        Ok(())
    }

    /// An entry for a directory is TiFlash's way (facts, encryption at rest §6.7).
    fn directory_entry(&self, below: &str) -> Result<(), StoreError> {
        let name = self.root.name(below);
        if self.unclaimed.contains(name.as_str()) {
            return Err(StoreError::Refused(Refusal::TiFlash {
                why: format!("file.dict has an entry for the directory {name}"),
            }));
        }
        Ok(())
    }

    fn file(&mut self, below: &str, meta: Meta) -> Result<(), StoreError> {
        let class = class::classify(&format!("{}{below}", self.root.prefix));
        let name = self.root.name(below);
        self.unclaimed.remove(name.as_str());
        let entry = self.entries.get(&name).cloned();
        let mut file = StoreFile {
            root: Arc::clone(self.root),
            below: below.into(),
            class,
            meta,
            entry,
            look: Look::Silent,
            bad_entry: None,
            pending: false,
        };
        if class == Class::Current {
            self.current(&mut file)?;
        }
        self.inventory.files.push(Arc::new(file));
        Ok(())
    }

    /// A version of TiKV that does not encrypt `CURRENT` any more leaves the entry of one that did: the content decides
    /// whether the entry counts (facts, encryption at rest §5.2).
    fn current(&mut self, file: &mut StoreFile) -> Result<(), StoreError> {
        const POINTS_TO: &[u8] = b"MANIFEST-";
        let Some(entry) = file.entry.clone().filter(|entry| entry.method != 1) else {
            return Ok(());
        };
        let (path, size) = (file.path(), file.meta.size);
        let begins = |transform: &Transform| {
            let ends = look::ends(self.fs, &path, size, transform)?;
            Ok::<_, StoreError>(ends.is_some_and(|(head, _)| head.starts_with(POINTS_TO)))
        };
        match dictionaries::stream(self.keys, Some(&entry)) {
            Err(bad) => file.bad_entry = Some(Box::new(bad)),
            Ok(stream) => {
                let fits = begins(&Transform::new(stream, None))?;
                file.look = if fits { Look::Fits } else { Look::Differs };
            }
        }
        if file.look != Look::Fits && begins(&Transform::new(None, None))? {
            (file.look, file.bad_entry, file.entry) = (Look::Silent, None, None);
            let known = self.entries.get_key_value(&file.name());
            self.unclaimed.extend(known.map(|(name, _)| name.as_str()));
        }
        Ok(())
    }

    /// Links are not followed. One that leads to a directory which is a root anyway hides nothing; behind any other there
    /// can be files of TiKV.
    fn other(&mut self, path: &Path, below: &str) -> Result<(), StoreError> {
        let name = self.root.name(below);
        let has_entries = || {
            let inside = format!("{name}/");
            let from = self.unclaimed.range(name.as_str()..);
            from.take_while(|entry| entry.starts_with(&name))
                .any(|entry| *entry == name || entry.starts_with(&inside))
        };
        let leads_to = inode(self.fs, path)?;
        let hidden = leads_to.is_some_and(|inode| !self.inodes.contains(&Some(inode)));
        let relative = format!("{}{below}", self.root.prefix);
        let is_data = matches!(class::classify(&relative), Class::Data(_));
        if hidden || is_data || has_entries() {
            self.links.push(relative);
        }
        Ok(())
    }
}
