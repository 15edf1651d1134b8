//! A file system in memory that can be cut off at every call, and that knows what each kind of crash may leave behind.
//!
//! Every file has its content as written and as last synced; every directory has its synced names and the changes since,
//! in order. A crash image is the synced state plus what the [`Survival`] lets through of the rest. A rename is one
//! change: file systems keep it whole, but not in order with others before their directory is synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::fs::{self, Barrier, File, Fs, Kind, Lock, Meta, Owner, parent};

/// What survives a crash of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of it: the process was killed, the machine went on.
    Everything,
    /// None of it.
    Nothing,
    /// All names, no content.
    NamesOnly,
    /// Any part: each name change and each 512-byte sector by itself, drawn from this seed.
    Any(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Set(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug, Default)]
struct Dir {
    synced: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

impl Dir {
    fn now(&self) -> BTreeMap<String, u64> {
        let mut names = self.synced.clone();
        self.changes
            .iter()
            .for_each(|change| apply(&mut names, change));
        names
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Change::Remove(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    next: u64,
    /// Mutating calls that still succeed; the one after them and all later ones fail.
    left: Option<u64>,
    calls: u64,
    free: u64,
}

/// The simulated file system.
#[derive(Clone, Debug, Default)]
pub struct SimFs(Arc<Mutex<State>>);

impl SimFs {
    /// An empty one with these directories.
    pub fn new(dirs: &[&str]) -> Self {
        let dirs = dirs
            .iter()
            .map(|dir| (PathBuf::from(dir), Dir::default()))
            .collect();
        Self(Arc::new(Mutex::new(State {
            dirs,
            free: 1 << 30,
            next: 1,
            ..State::default()
        })))
    }

    /// Puts a durable file there.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let path = Path::new(path);
        let mut state = self.state();
        let inode = state.add(bytes.to_vec());
        state.dir(path).unwrap().synced.insert(name(path), inode);
    }

    /// Lets `calls` more mutating calls succeed.
    pub fn crash_after(&self, calls: u64) {
        self.state().left = Some(calls);
    }

    /// Mutating calls so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Sets the free space.
    pub fn set_free(&self, bytes: u64) {
        self.state().free = bytes;
    }

    /// Content of a file as it is now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        fs::read(self, path).unwrap()
    }

    /// Every file that is there now.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        state
            .dirs
            .iter()
            .flat_map(|(dir, names)| names.now().into_keys().map(|name| dir.join(name)))
            .collect()
    }

    /// What a machine finds after a crash right now.
    #[must_use]
    pub fn image(&self, survival: Survival) -> Self {
        let state = self.state();
        let mut image = State {
            next: state.next,
            free: state.free,
            ..State::default()
        };
        let mut draw = Draw(match survival {
            Survival::Any(seed) => seed | 1,
            _ => 1,
        });
        for (path, dir) in &state.dirs {
            let mut names = dir.synced.clone();
            for change in &dir.changes {
                let survives = match survival {
                    Survival::Everything | Survival::NamesOnly => true,
                    Survival::Nothing => false,
                    Survival::Any(_) => draw.coin(),
                };
                if survives {
                    apply(&mut names, change);
                }
            }
            image.dirs.insert(
                path.clone(),
                Dir {
                    synced: names,
                    changes: Vec::new(),
                },
            );
        }
        for (id, inode) in &state.inodes {
            let bytes = match survival {
                Survival::Everything => inode.now.clone(),
                Survival::Nothing | Survival::NamesOnly => inode.synced.clone(),
                Survival::Any(_) => draw.mix(&inode.synced, &inode.now),
            };
            image.inodes.insert(
                *id,
                Inode {
                    now: bytes.clone(),
                    synced: bytes,
                },
            );
        }
        Self(Arc::new(Mutex::new(image)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// xorshift64*.
struct Draw(u64);

impl Draw {
    fn coin(&mut self) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
    }

    /// Each sector old or new; a length between the two.
    fn mix(&mut self, old: &[u8], new: &[u8]) -> Vec<u8> {
        if old == new {
            return old.to_vec();
        }
        let len = if self.coin() { new.len() } else { old.len() };
        let mut bytes = vec![0; len];
        for (at, sector) in bytes.chunks_mut(512).enumerate() {
            let from = if self.coin() { new } else { old };
            let begin = (at * 512).min(from.len());
            let end = (begin + sector.len()).min(from.len());
            sector[..end - begin].copy_from_slice(&from[begin..end]);
        }
        bytes
    }
}

impl State {
    fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let id = self.next;
        self.next += 1;
        let inode = Inode {
            now: bytes.clone(),
            synced: bytes,
        };
        self.inodes.insert(id, inode);
        id
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs
            .get_mut(parent(path))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn find(&self, path: &Path) -> Option<u64> {
        self.dirs.get(parent(path))?.now().get(&name(path)).copied()
    }

    fn mutate(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("crashed"))?;
        }
        self.calls += 1;
        Ok(())
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

struct SimFile {
    fs: SimFs,
    inode: u64,
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.fs.state();
        let bytes = &state.inodes[&self.inode].now;
        let begin = usize::try_from(offset).unwrap().min(bytes.len());
        let end = (begin + buffer.len()).min(bytes.len());
        buffer[..end - begin].copy_from_slice(&bytes[begin..end]);
        Ok(end - begin)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.fs.state();
        state.mutate()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        let begin = usize::try_from(offset).unwrap();
        let end = begin + bytes.len();
        if inode.now.len() < end {
            inode.now.resize(end, 0);
        }
        inode.now[begin..end].copy_from_slice(bytes);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.fs.state();
        state.mutate()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        let len = inode.now.len().max(usize::try_from(bytes).unwrap());
        inode.now.resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        state.mutate()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.synced = inode.now.clone();
        Ok(())
    }

    fn drop_cache(&self) {}
}

/// Makes all content durable, and no name: less than any kernel does.
struct SimBarrier(SimFs);

impl Barrier for SimBarrier {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.mutate()?;
        for inode in state.inodes.values_mut() {
            inode.synced = inode.now.clone();
        }
        Ok(())
    }
}

struct SimLock;

impl Lock for SimLock {}

impl SimFs {
    fn handle(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.state().find(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile {
            fs: self.clone(),
            inode,
        }))
    }

    fn change(&self, path: &Path, change: Change) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.dir(path)?.changes.push(change);
        Ok(())
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.handle(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.handle(path)
    }

    fn create(&self, path: &Path, _owner: Owner) -> io::Result<Box<dyn File>> {
        if self.state().find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = {
            let mut state = self.state();
            state.add(Vec::new())
        };
        self.change(path, Change::Set(name(path), inode))?;
        self.handle(path)
    }

    fn open_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create_direct(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        self.create(path, owner)
    }

    fn barrier(&self, _dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        Ok(Some(Box::new(SimBarrier(self.clone()))))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.state().find(from).ok_or(io::ErrorKind::NotFound)?;
        self.change(to, Change::Set(name(to), inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(parent(from), parent(to), "renames stay in one directory");
        let from_inode = self.state().find(from).ok_or(io::ErrorKind::NotFound)?;
        let to_inode = self.state().find(to);
        if to_inode == Some(from_inode) {
            return Ok(());
        }
        self.change(from, Change::Rename(name(from), name(to)))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.state().find(path).ok_or(io::ErrorKind::NotFound)?;
        self.change(path, Change::Remove(name(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        let dir = state.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        dir.synced = dir.now();
        dir.changes.clear();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let mut names: Vec<String> = state
            .dirs
            .get(dir)
            .ok_or(io::ErrorKind::NotFound)?
            .now()
            .into_keys()
            .collect();
        for below in state.dirs.keys().filter(|path| path.parent() == Some(dir)) {
            names.push(name(below));
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        let state = self.state();
        if state.dirs.contains_key(path) {
            return Ok(Some(meta(Kind::Dir, 0, 0)));
        }
        Ok(state
            .find(path)
            .map(|id| meta(Kind::File, state.inodes[&id].now.len() as u64, id)))
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state().free)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(Some(Box::new(SimLock)))
    }
}

fn meta(kind: Kind, size: u64, inode: u64) -> Meta {
    Meta {
        kind,
        size,
        inode: (1, inode),
        links: 1,
        owner: Owner::default(),
    }
}
