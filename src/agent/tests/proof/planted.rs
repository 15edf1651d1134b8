//! Mistakes that a protocol like this one invites, planted in front of the disk: the search must find each of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::super::world::{DIR, master_key};
use crate::agent::class::{GUARD, JOURNAL, TEMPORARY};
use crate::agent::dictionaries::{self, State, Writer};
use crate::fs::tests::sim::SimFs;
use crate::fs::{self, Barrier, File, Fs, Lock, Meta, Owner};

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// New content is not flushed before it is named in `file.dict`.
    ContentNotFlushed,
    /// Names of temporary files are not.
    NewNamesNotFlushed,
    /// Names after the renames are not flushed before the run ends.
    RenamesNotFlushed,
    /// The guard's content is not.
    GuardNotFlushed,
    /// The journal's content is not.
    JournalNotFlushed,
    /// The journal's name is not, before data changes.
    JournalNameNotFlushed,
    /// `key.dict`'s content is not.
    KeyDictNotFlushed,
    /// `file.dict`'s content is not.
    FileDictNotFlushed,
    /// No name in the data directory itself is.
    TopNamesNotFlushed,
    /// There is no guard.
    NoGuard,
    /// The guard goes before the journal.
    GuardBeforeJournal,
    /// The guard goes when the first file is in place.
    GuardGoesEarly,
    /// The journal goes when the first file is in place.
    JournalGoesEarly,
    /// Files are put in place before `file.dict` knows of them.
    RenamesBeforeFileDict,
    /// `key.dict` is written in place.
    KeyDictInPlace,
    /// `file.dict` is written in place.
    FileDictInPlace,
    /// The old data key goes when the new one comes.
    OldKeyGoesEarly,
    /// A temporary file has the same name in each try.
    NamesUsedAgain,
    /// What is left of a run is swept away before it is looked at.
    SweptFirst,
    /// A flush that failed is tried again, and believed.
    FlushTriedAgain,
}

/// All of them.
pub const ALL: [Bug; 20] = [
    Bug::ContentNotFlushed,
    Bug::NewNamesNotFlushed,
    Bug::RenamesNotFlushed,
    Bug::GuardNotFlushed,
    Bug::JournalNotFlushed,
    Bug::JournalNameNotFlushed,
    Bug::KeyDictNotFlushed,
    Bug::FileDictNotFlushed,
    Bug::TopNamesNotFlushed,
    Bug::NoGuard,
    Bug::GuardBeforeJournal,
    Bug::GuardGoesEarly,
    Bug::JournalGoesEarly,
    Bug::RenamesBeforeFileDict,
    Bug::KeyDictInPlace,
    Bug::FileDictInPlace,
    Bug::OldKeyGoesEarly,
    Bug::NamesUsedAgain,
    Bug::SweptFirst,
    Bug::FlushTriedAgain,
];

/// The disk with a bug in front of it.
pub struct Planted {
    sim: SimFs,
    bug: Bug,
    /// The last name that was put in place.
    last: Mutex<PathBuf>,
}

impl Planted {
    /// In front of `sim`.
    pub fn new(sim: &SimFs, bug: Bug) -> Self {
        Self {
            sim: sim.clone(),
            bug,
            last: Mutex::default(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn path(&self, path: &Path) -> PathBuf {
        match (self.has(Bug::NamesUsedAgain), data_name(path)) {
            (true, Some(name)) => fs::with_suffix(&name, TEMPORARY),
            _ => path.to_owned(),
        }
    }

    fn skips_flush_of(&self, path: &Path) -> bool {
        let of = |name: &str| final_name(path).is_some_and(|path| path.ends_with(name));
        match self.bug {
            Bug::ContentNotFlushed => data_name(path).is_some(),
            Bug::GuardNotFlushed => of(GUARD),
            Bug::JournalNotFlushed => of(JOURNAL),
            Bug::KeyDictNotFlushed => of("key.dict"),
            Bug::FileDictNotFlushed => of("file.dict"),
            _ => false,
        }
    }

    fn file(&self, file: Box<dyn File>, path: &Path) -> Box<dyn File> {
        Box::new(PlantedFile {
            file,
            skip: self.skips_flush_of(path),
            again: self.has(Bug::FlushTriedAgain),
        })
    }

    fn temporaries(&self) -> Vec<PathBuf> {
        let all = self.sim.paths().into_iter();
        all.filter(|path| data_name(path).is_some()).collect()
    }

    /// Replaces without a temporary file.
    fn in_place(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.sim.content(from).unwrap_or_default();
        let file = match self.sim.open_write(to) {
            Ok(file) => file,
            Err(_) => self.sim.create(to, Owner::default())?,
        };
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.sim.unlink(from)
    }

    fn goes(&self, name: &str) -> io::Result<()> {
        let dir = Path::new(DIR);
        if self.sim.stat(&dir.join(name))?.is_some() {
            self.sim.unlink(&dir.join(name))?;
            self.sim.sync_dir(dir)?;
        }
        Ok(())
    }

    fn drop_old_keys(&self) {
        let (dir, key) = (Path::new(DIR), master_key());
        if let Ok(State::Has(mut found)) = dictionaries::load(&self.sim, dir, &key) {
            let current = found.keys.current_key_id;
            found.keys.keys.retain(|id, _| *id == current);
            let writer = Writer::new(&self.sim, dir, &key);
            writer.keys(&found.keys, None, found.owner).unwrap();
        }
    }
}

/// The name that a temporary file will have; `None` for any other file.
fn final_name(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    Some(PathBuf::from(&text[..text.find(TEMPORARY)?]))
}

/// The same for temporary files of data.
fn data_name(path: &Path) -> Option<PathBuf> {
    final_name(path).filter(|name| fs::parent(name) != Path::new(DIR))
}

struct PlantedFile {
    file: Box<dyn File>,
    skip: bool,
    again: bool,
}

impl File for PlantedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        if self.skip {
            return Ok(());
        }
        match self.file.sync() {
            Err(_) if self.again => self.file.sync(),
            done => done,
        }
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}

struct PlantedBarrier {
    barrier: Box<dyn Barrier>,
    bug: Bug,
}

impl Barrier for PlantedBarrier {
    fn sync(&self) -> io::Result<()> {
        match self.bug {
            Bug::ContentNotFlushed => Ok(()),
            Bug::FlushTriedAgain => self.barrier.sync().or_else(|_| self.barrier.sync()),
            _ => self.barrier.sync(),
        }
    }
}

impl Fs for Planted {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.sim.open(&self.path(path))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.sim.open_write(path)
    }

    fn create(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        let path = self.path(path);
        if self.has(Bug::NamesUsedAgain) && self.sim.stat(&path)?.is_some() {
            self.sim.unlink(&path)?;
        }
        let file = self.sim.create(&path, owner)?;
        Ok(self.file(file, &path))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create_direct(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        self.create(path, owner)
    }

    fn barrier(&self, dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        let Some(barrier) = self.sim.barrier(dir)? else {
            return Ok(None);
        };
        Ok(Some(Box::new(PlantedBarrier {
            barrier,
            bug: self.bug,
        })))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.link(&self.path(from), &self.path(to))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = self.path(from);
        *self.last.lock().unwrap() = to.to_owned();
        let of_data = data_name(&from).is_some();
        match self.bug {
            Bug::NoGuard if to.ends_with(GUARD) => return self.sim.unlink(&from),
            Bug::GuardGoesEarly if of_data => self.goes(GUARD)?,
            Bug::JournalGoesEarly if of_data => self.goes(JOURNAL)?,
            Bug::KeyDictInPlace if to.ends_with("key.dict") => return self.in_place(&from, to),
            Bug::FileDictInPlace if to.ends_with("file.dict") => return self.in_place(&from, to),
            Bug::RenamesBeforeFileDict if to.ends_with("file.dict") => {
                for made in self.temporaries() {
                    let name = data_name(&made).unwrap_or_default();
                    self.sim.rename(&made, &name)?;
                }
            }
            Bug::RenamesBeforeFileDict if of_data && self.sim.stat(&from)?.is_none() => {
                return Ok(());
            }
            Bug::OldKeyGoesEarly if to.ends_with("key.dict") => {
                self.sim.rename(&from, to)?;
                self.drop_old_keys();
                return Ok(());
            }
            _ => {}
        }
        self.sim.rename(&from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        if self.has(Bug::GuardBeforeJournal) && path.ends_with(JOURNAL) {
            self.goes(GUARD)?;
        }
        self.sim.unlink(&self.path(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let top = dir == Path::new(DIR);
        let of_dictionary = fs::parent(&self.last.lock().unwrap()) == Path::new(DIR);
        let after = |name: &str| self.last.lock().unwrap().ends_with(name);
        let skip = match self.bug {
            Bug::NewNamesNotFlushed => !top && of_dictionary,
            Bug::RenamesNotFlushed => !top && !of_dictionary,
            Bug::JournalNameNotFlushed => top && after(JOURNAL),
            Bug::TopNamesNotFlushed => top,
            _ => false,
        };
        if skip { Ok(()) } else { self.sim.sync_dir(dir) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.sim.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.sim.stat(&self.path(path))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.sim.free_space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if self.has(Bug::SweptFirst) {
            for left in self.temporaries() {
                self.sim.unlink(&left)?;
            }
        }
        self.sim.lock(path)
    }
}
