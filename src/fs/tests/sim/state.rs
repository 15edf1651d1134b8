//! What the simulated disk holds: what programs see, what is durable, and every change between the two in its order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// A file without its names.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    pub now: Arc<Vec<u8>>,
    pub durable: Arc<Vec<u8>>,
}

/// The names in a directory.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    pub now: Arc<BTreeMap<Arc<str>, u64>>,
    pub durable: Arc<BTreeMap<Arc<str>, u64>>,
}

/// A change of names. A rename is one change: file systems keep it whole.
#[derive(Clone, Debug)]
pub enum Change {
    Set(Arc<str>, u64),
    Remove(Arc<str>),
    Rename(Arc<str>, Arc<str>),
}

impl Change {
    pub fn apply(&self, names: &mut BTreeMap<Arc<str>, u64>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// A change that is not durable yet.
#[derive(Clone, Debug)]
pub enum Op {
    /// The file grows to this length, with zeros.
    Size(u64, usize),
    /// One sector, or the part of it that was written.
    Sector(u64, usize, Arc<[u8]>),
    /// Names of a directory.
    Name(Arc<Path>, Change),
}

impl Op {
    /// A change of names or lengths, which file systems keep in a log of their own.
    pub const fn is_metadata(&self) -> bool {
        !matches!(self, Self::Sector(..))
    }

    pub const fn is_name(&self) -> bool {
        matches!(self, Self::Name(..))
    }
}

/// Cheap to clone: contents and directories are shared.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Directories by path.
    pub dirs: BTreeMap<Arc<Path>, Dir>,
    /// Files by number.
    pub inodes: BTreeMap<u64, Inode>,
    /// What is not durable yet, in its order.
    pub pending: Vec<Op>,
    /// The number of the next file.
    pub next: u64,
    /// Free space in bytes.
    pub free: u64,
}

impl State {
    /// A durable file.
    pub fn put(&mut self, path: &Path, bytes: &[u8]) {
        let id = self.add();
        let content = Arc::new(bytes.to_vec());
        self.inodes.insert(
            id,
            Inode {
                now: content.clone(),
                durable: content,
            },
        );
        let dir = self.dirs.get_mut(parent(path)).unwrap();
        for names in [&mut dir.now, &mut dir.durable] {
            Arc::make_mut(names).insert(name(path), id);
        }
    }

    /// A file without a name.
    pub fn add(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, Inode::default());
        id
    }

    /// The file of this name.
    pub fn find(&self, path: &Path) -> Option<u64> {
        self.dirs.get(parent(path))?.now.get(&name(path)).copied()
    }

    /// Changes names; volatile.
    pub fn change(&mut self, path: &Path, change: Change) -> bool {
        let Some((dir, names)) = self.dirs.get_key_value(parent(path)) else {
            return false;
        };
        let (dir, mut names) = (dir.clone(), names.clone());
        change.apply(Arc::make_mut(&mut names.now));
        self.dirs.insert(dir.clone(), names);
        self.pending.push(Op::Name(dir, change));
        true
    }

    /// Makes a file longer; volatile.
    pub fn grow(&mut self, inode: u64, len: usize) {
        let file = self.inodes.get_mut(&inode).unwrap();
        if file.now.len() < len {
            Arc::make_mut(&mut file.now).resize(len, 0);
            self.pending.push(Op::Size(inode, len));
        }
    }

    /// Writes what is in one sector; volatile.
    pub fn write(&mut self, inode: u64, offset: usize, bytes: &[u8]) {
        self.grow(inode, offset + bytes.len());
        let file = self.inodes.get_mut(&inode).unwrap();
        Arc::make_mut(&mut file.now)[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.pending.push(Op::Sector(inode, offset, bytes.into()));
    }

    /// Makes the content of files durable.
    pub fn sync(&mut self, which: impl Fn(u64) -> bool) {
        let mut touched = Vec::new();
        self.pending.retain(|op| match op {
            Op::Size(inode, _) | Op::Sector(inode, ..) if which(*inode) => {
                touched.push(*inode);
                false
            }
            _ => true,
        });
        for inode in touched {
            let file = self.inodes.get_mut(&inode).unwrap();
            file.durable = file.now.clone();
        }
    }

    /// Forgets what was to be written of a file: readers still see it in the cache, the disk never gets it.
    pub fn lose(&mut self, which: u64) {
        self.pending.retain(
            |op| !matches!(op, Op::Size(inode, _) | Op::Sector(inode, ..) if *inode == which),
        );
    }

    /// Makes the names of a directory durable.
    pub fn sync_dir(&mut self, path: &Path) -> bool {
        let Some(dir) = self.dirs.get_mut(path) else {
            return false;
        };
        dir.durable = dir.now.clone();
        self.pending
            .retain(|op| !matches!(op, Op::Name(of, _) if **of == *path));
        true
    }

    /// Every file that has a name now.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.dirs
            .iter()
            .flat_map(|(dir, names)| names.now.keys().map(|name| dir.join(&**name)))
            .collect()
    }
}

pub fn parent(path: &Path) -> &Path {
    crate::fs::parent(path)
}

pub fn name(path: &Path) -> Arc<str> {
    path.file_name().unwrap().to_string_lossy().into()
}
