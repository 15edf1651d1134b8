//! A file system in memory that can be cut off at every call and inside of each write, that knows what each kind of crash
//! may leave behind, and that fails on request.

mod image;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

pub use image::{Draw, Survival};
pub use state::State;
use state::{Change, SECTOR, name};

use crate::fs::{self, Barrier, File, Fs, Kind, Lock, Meta, Owner};

/// How one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With this error, and without any effect.
    Error(io::ErrorKind),
    /// A flush reports an error and drops what it should have written; later flushes report success.
    LostFlush,
    /// A read gives less than was asked for.
    ShortRead,
}

#[derive(Debug, Default)]
struct Shared {
    state: State,
    /// Changing and flushing calls that still succeed; the one after them and all later ones fail.
    left: Option<u64>,
    /// Calls that changed something; flushes do not.
    calls: u64,
    /// All calls.
    all: u64,
    /// The call that fails, counted over all, and how.
    fault: Option<(u64, Fault)>,
    /// The state after each step: a crash can come between any two.
    record: Option<Vec<State>>,
}

/// The simulated file system. A clone is another handle on the same one.
#[derive(Clone, Debug, Default)]
pub struct SimFs(Arc<Mutex<Shared>>);

impl SimFs {
    /// An empty one with these directories.
    pub fn new(dirs: &[&str]) -> Self {
        let dirs = dirs
            .iter()
            .map(|dir| (Arc::from(Path::new(dir)), state::Dir::default()))
            .collect();
        Self::of(State {
            dirs,
            free: 1 << 30,
            next: 1,
            ..State::default()
        })
    }

    /// One that begins with this state.
    pub fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            state,
            ..Shared::default()
        })))
    }

    /// Puts a durable file there.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.shared().state.put(Path::new(path), bytes);
    }

    /// Gives a durable file a further durable name.
    pub fn put_link(&self, from: &str, to: &str) {
        let state = &mut self.shared().state;
        let inode = state.find(Path::new(from)).unwrap();
        let dir = state.dirs.get_mut(fs::parent(Path::new(to))).unwrap();
        for names in [&mut dir.now, &mut dir.durable] {
            Arc::make_mut(names).insert(name(Path::new(to)), inode);
        }
    }

    /// Lets `calls` more changing and flushing calls succeed.
    pub fn crash_after(&self, calls: u64) {
        self.shared().left = Some(calls);
    }

    /// Calls so far that changed something; flushes do not.
    pub fn calls(&self) -> u64 {
        self.shared().calls
    }

    /// Lets one call fail, counted from now over all calls; answers nothing about whether it is reached.
    pub fn fail(&self, call: u64, fault: Fault) {
        let mut shared = self.shared();
        shared.all = 0;
        shared.fault = Some((call, fault));
    }

    /// Whether the fault was met.
    pub fn failed(&self) -> bool {
        self.shared().fault.is_none()
    }

    /// Keeps the state after each step from now on.
    pub fn record(&self) {
        self.shared().record = Some(Vec::new());
    }

    /// What was kept.
    pub fn recorded(&self) -> Vec<State> {
        self.shared().record.take().unwrap_or_default()
    }

    /// Sets the free space.
    pub fn set_free(&self, bytes: u64) {
        self.shared().state.free = bytes;
    }

    /// Content of a file as it is now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let shared = self.shared();
        let inode = shared.state.find(path)?;
        Some((*shared.state.inodes[&inode].now).clone())
    }

    /// Every file that is there now.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared().state.paths()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.shared().state.clone()
    }

    /// What a machine finds after a crash right now.
    #[must_use]
    pub fn image(&self, survival: Survival) -> Self {
        Self::of(self.shared().state.image(survival))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }

    /// Every call begins here.
    fn call(&self) -> io::Result<Option<Fault>> {
        let mut shared = self.shared();
        let at = shared.all;
        shared.all += 1;
        match shared.fault {
            Some((call, fault)) if call == at => {
                shared.fault = None;
                match fault {
                    Fault::Error(kind) => Err(kind.into()),
                    other => Ok(Some(other)),
                }
            }
            _ => Ok(None),
        }
    }

    /// A call that changes something, or makes it durable.
    fn mutate(&self, changes: bool) -> io::Result<Option<Fault>> {
        let fault = self.call()?;
        let mut shared = self.shared();
        if let Some(left) = &mut shared.left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("crashed"))?;
        }
        shared.calls += u64::from(changes);
        Ok(fault)
    }

    /// One step; a crash can come after it.
    fn step<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut shared = self.shared();
        let done = change(&mut shared.state);
        let after = shared.record.is_some().then(|| shared.state.clone());
        if let (Some(record), Some(after)) = (&mut shared.record, after) {
            record.push(after);
        }
        done
    }

    fn flush(&self, which: impl Fn(u64) -> bool) -> io::Result<()> {
        match self.mutate(false)? {
            Some(Fault::LostFlush) => {
                self.step(|state| {
                    let lost: Vec<u64> = state
                        .inodes
                        .keys()
                        .copied()
                        .filter(|id| which(*id))
                        .collect();
                    for id in lost {
                        state.lose(id);
                    }
                });
                Err(io::Error::other("input/output error"))
            }
            _ => {
                self.step(|state| state.sync(which));
                Ok(())
            }
        }
    }

    fn handle(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self
            .shared()
            .state
            .find(path)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile {
            fs: self.clone(),
            inode,
        }))
    }

    fn rename_names(&self, path: &Path, change: Change) -> io::Result<()> {
        self.mutate(true)?;
        if self.step(|state| state.change(path, change)) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

struct SimFile {
    fs: SimFs,
    inode: u64,
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let fault = self.fs.call()?;
        let shared = self.fs.shared();
        let bytes = &shared.state.inodes[&self.inode].now;
        let begin = usize::try_from(offset).unwrap().min(bytes.len());
        let mut end = (begin + buffer.len()).min(bytes.len());
        if fault == Some(Fault::ShortRead) {
            end = begin + (end - begin) / 2;
        }
        buffer[..end - begin].copy_from_slice(&bytes[begin..end]);
        Ok(end - begin)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fs.mutate(true)?;
        let mut at = usize::try_from(offset).unwrap();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            self.fs.step(|state| state.write(self.inode, at, part));
            at += part.len();
            rest = others;
        }
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.fs.mutate(true)?;
        let len = usize::try_from(bytes).unwrap();
        self.fs.step(|state| state.grow(self.inode, len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.flush(|inode| inode == self.inode)
    }

    fn drop_cache(&self) {}
}

/// Makes all content durable, and no name: less than any kernel does.
struct SimBarrier(SimFs);

impl Barrier for SimBarrier {
    fn sync(&self) -> io::Result<()> {
        self.0.flush(|_| true)
    }
}

struct SimLock;

impl Lock for SimLock {}

impl Fs for SimFs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.call()?;
        self.handle(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.call()?;
        self.handle(path)
    }

    fn create(&self, path: &Path, _owner: Owner) -> io::Result<Box<dyn File>> {
        self.mutate(true)?;
        if self.shared().state.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let made = self.step(|state| {
            let inode = state.add();
            state.change(path, Change::Set(name(path), inode))
        });
        if !made {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.handle(path)
    }

    fn open_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create_direct(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        self.create(path, owner)
    }

    fn barrier(&self, _dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        self.call()?;
        Ok(Some(Box::new(SimBarrier(self.clone()))))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self
            .shared()
            .state
            .find(from)
            .ok_or(io::ErrorKind::NotFound)?;
        self.rename_names(to, Change::Set(name(to), inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(
            fs::parent(from),
            fs::parent(to),
            "renames stay in one directory"
        );
        let (old, new) = {
            let shared = self.shared();
            let old = shared.state.find(from).ok_or(io::ErrorKind::NotFound)?;
            (old, shared.state.find(to))
        };
        if new == Some(old) {
            return Ok(());
        }
        self.rename_names(from, Change::Rename(name(from), name(to)))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.shared()
            .state
            .find(path)
            .ok_or(io::ErrorKind::NotFound)?;
        self.rename_names(path, Change::Remove(name(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.mutate(false)? {
            Some(Fault::LostFlush) => Err(io::Error::other("input/output error")),
            _ if self.step(|state| state.sync_dir(dir)) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call()?;
        let shared = self.shared();
        let found = shared.state.dirs.get(dir).ok_or(io::ErrorKind::NotFound)?;
        let mut names: Vec<String> = found.now.keys().map(ToString::to_string).collect();
        for below in shared
            .state
            .dirs
            .keys()
            .filter(|path| path.parent() == Some(dir))
        {
            names.push(name(below).to_string());
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.call()?;
        let shared = self.shared();
        let state = &shared.state;
        if state.dirs.contains_key(path) {
            return Ok(Some(meta(Kind::Dir, 0, 0, 1)));
        }
        let Some(id) = state.find(path) else {
            return Ok(None);
        };
        let names = |dir: &state::Dir| dir.now.values().filter(|other| **other == id).count();
        let links = state.dirs.values().map(names).sum::<usize>();
        let size = state.inodes[&id].now.len() as u64;
        Ok(Some(meta(Kind::File, size, id, links as u64)))
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        self.call()?;
        Ok(self.shared().state.free)
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.call()?;
        Ok(Some(Box::new(SimLock)))
    }
}

fn meta(kind: Kind, size: u64, inode: u64, links: u64) -> Meta {
    Meta {
        kind,
        size,
        inode: (1, inode),
        links,
        owner: Owner::default(),
    }
}
