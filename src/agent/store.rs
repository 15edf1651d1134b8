//! One data directory: the entry points for the command line and for the agent's service.

use std::path::{Path, PathBuf};

use super::class::GUARD;
use super::content::Look;
use super::coverage;
use super::dictionaries::{self, Sealer, State};
use super::engine::{Ended, Engine};
use super::error::{Refusal, StoreError};
use super::guard::{self, Mark};
use super::inventory::{self, Inventory, Root, StoreFile};
use super::journal;
use super::limits::Limits;
use super::names;
use super::observer::Observer;
use super::open_run::{self, OpenRun};
use super::plan::{self, Target, Work};
use super::space::{self, Room};
use crate::api::desired::Verification;
use crate::api::report::{Coverage, Finding};
use crate::crypto::digest::Sha256;
use crate::format::envelope::Version;
use crate::format::file_dict::FileDict;
use crate::format::pb::EncryptedContent;
use crate::fs::{self, Fs, Lock};
use crate::kms;
use crate::tikv::store_config::StoreConfig;

/// How often something that seems wrong is looked at again while TiKV runs.
const TRIES: u32 = 5;

/// A data directory, its directories elsewhere, and the master key.
pub struct Store<'a> {
    fs: &'a dyn Fs,
    sealer: &'a dyn Sealer,
    roots: Vec<Root>,
    new_dict_version: Version,
    limits: Limits,
}

/// What was looked at, under one reading of the dictionaries.
#[derive(Debug)]
pub struct Measured {
    /// Dictionaries.
    pub state: State,
    /// Files.
    pub inventory: Inventory,
    /// Figures.
    pub coverage: Coverage,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A run that was open is finished.
    pub resumed: bool,
    /// The time was over before everything was done: TiKV can start, the next run does the rest.
    pub time_is_over: bool,
    /// Files that were rewritten by the new run; 0 when all was as desired.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl<'a> Store<'a> {
    /// Takes up the directory `dir`. `seen_as` is the path at which TiKV sees it; without it the configuration, then
    /// `last_tikv.toml`, then the entries of `file.dict`, then `dir` itself say it.
    pub fn open(
        fs: &'a dyn Fs,
        sealer: &'a dyn Sealer,
        dir: &Path,
        seen_as: Option<&str>,
        config: Option<&StoreConfig>,
    ) -> Result<Self, StoreError> {
        let exists = |path: &Path| fs.stat(path).map_err(StoreError::io("looking at", path));
        if exists(dir)?.is_none_or(|meta| meta.kind != fs::Kind::Dir) {
            return Err(StoreError::NotAStore(dir.to_owned()));
        }
        let last = last_config(fs, dir)?;
        if config
            .or(last.as_ref())
            .is_some_and(|config| config.tiflash)
        {
            return Err(StoreError::Refused(Refusal::TiFlash {
                why: "its configuration is one of TiFlash".to_owned(),
            }));
        }
        let config_says = config.and_then(|config| config.data_dir.clone());
        let seen_as = match seen_as.map(str::to_owned).or(config_says) {
            Some(seen_as) => seen_as,
            None => detect(fs, dir, last.as_ref())?,
        };
        let seen_as = seen_as.trim_end_matches('/').to_owned();
        let mut roots = vec![Root {
            path: dir.to_owned(),
            seen_as: seen_as.clone(),
            prefix: String::new(),
        }];
        for (prefix, elsewhere) in config
            .or(last.as_ref())
            .map(StoreConfig::elsewhere)
            .unwrap_or_default()
        {
            let known = |root: &Root| root.seen_as == elsewhere;
            if elsewhere.starts_with(&format!("{seen_as}/")) || roots.iter().any(known) {
                continue;
            }
            let path = PathBuf::from(&elsewhere);
            if exists(&path)?.is_none() {
                return Err(StoreError::Config(format!(
                    "the store also uses {elsewhere}, which does not exist here: mount it at that path"
                )));
            }
            roots.push(Root {
                path,
                seen_as: elsewhere,
                prefix,
            });
        }
        let wants_v1 = config
            .or(last.as_ref())
            .is_some_and(|config| !config.file_dictionary_log);
        Ok(Self {
            fs,
            sealer,
            roots,
            new_dict_version: if wants_v1 { Version::V1 } else { Version::V2 },
            limits: Limits::default(),
        })
    }

    /// The same store, worked on within these limits.
    #[must_use]
    pub const fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The data directory as TiKV sees it.
    pub fn seen_as(&self) -> &str {
        self.roots.first().map_or("", |root| &root.seen_as)
    }

    /// The data directory here.
    pub fn path(&self) -> &Path {
        self.dir()
    }

    /// True when nothing of TiKV is there yet.
    pub fn is_new(&self) -> Result<bool, StoreError> {
        for name in [
            "db",
            "raft-engine",
            "raft",
            "tablets",
            "key.dict",
            "file.dict",
            GUARD,
        ] {
            let path = self.dir().join(name);
            if self
                .fs
                .stat(&path)
                .map_err(StoreError::io("looking at", &path))?
                .is_some()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes TiKV's lock.
    pub fn lock(&self) -> Result<Box<dyn Lock>, StoreError> {
        let path = self.dir().join("LOCK");
        self.fs
            .lock(&path)
            .map_err(StoreError::io("locking", &path))?
            .ok_or(StoreError::Locked(path))
    }

    /// True while the directory is between two states.
    pub fn journal_open(&self) -> Result<bool, StoreError> {
        Ok(journal::is_open(self.fs, self.dir())?
            || guard::look(self.fs, self.dir())? == Mark::Ours)
    }

    /// Looks at everything; changes nothing; safe while TiKV runs.
    ///
    /// A running TiKV makes and renames files between the reading of `file.dict` and the look at a file. What seems to be
    /// wrong is therefore looked at again for as long as the dictionaries change.
    pub fn measure(&self) -> Result<Measured, StoreError> {
        if self.is_new()? {
            return Err(StoreError::NotAStore(self.dir().to_owned()));
        }
        let mut before = self.dictionaries_as_read()?;
        let mut tries = 0;
        loop {
            let state = dictionaries::load(self.fs, self.dir(), self.sealer);
            let taken = state.and_then(|state| {
                let inventory = inventory::take(self.fs, &self.roots, &state, self.limits.threads)?;
                Ok((state, inventory))
            });
            let sound = taken.as_ref().is_ok_and(|(_, inventory)| {
                let wrong =
                    |file: &StoreFile| file.look == Look::Differs || file.bad_entry.is_some();
                !inventory.iter().any(wrong)
            });
            let now = self.dictionaries_as_read()?;
            tries += 1;
            if sound || now == before || tries == TRIES {
                let (state, inventory) = taken?;
                return Ok(Measured {
                    coverage: coverage::measure(&inventory, &state),
                    findings: coverage::findings(&inventory, &state),
                    state,
                    inventory,
                });
            }
            before = now;
        }
    }

    /// The dictionaries; changes nothing.
    pub fn dictionaries(&self) -> Result<State, StoreError> {
        dictionaries::load(self.fs, self.dir(), self.sealer)
    }

    /// What tells one state of the dictionaries from the next; their bytes can be many.
    fn dictionaries_as_read(&self) -> Result<[Option<[u8; 32]>; 2], StoreError> {
        let read = |name: &str| {
            let path = self.dir().join(name);
            let bytes = fs::read(self.fs, &path).map_err(StoreError::io("reading", &path))?;
            Ok::<_, StoreError>(bytes.map(|bytes| {
                let mut digest = Sha256::default();
                digest.update(&bytes);
                digest.finish()
            }))
        };
        Ok([read("file.dict")?, read("key.dict")?])
    }

    /// The run that did not end, if there is one; changes nothing.
    pub fn open_run(&self, measured: &Measured) -> Result<Option<OpenRun>, StoreError> {
        open_run::look(self.fs, self.dir(), &measured.state, &measured.inventory)
    }

    /// What a run would rewrite; changes nothing.
    pub fn plan(&self, target: &Target) -> Result<Work, StoreError> {
        let measured = self.measure()?;
        self.plan_of(&measured, target)
    }

    /// Room that `work` needs on each volume, and what is free.
    pub fn room(&self, work: &Work) -> Result<Vec<Room>, StoreError> {
        space::rooms(self.fs, &self.roots, work)
    }

    fn plan_of(&self, measured: &Measured, target: &Target) -> Result<Work, StoreError> {
        let work = plan::plan(&measured.inventory, &measured.state, target)
            .map_err(StoreError::Refused)?;
        if target.method.encrypts() && !work.is_done() {
            return match (self.sealer.is_secure(), self.sealer.prove()) {
                (_, Err(error)) => Err(error),
                (false, _) => Err(StoreError::InsecureMasterKey),
                _ => Ok(work),
            };
        }
        Ok(work)
    }

    /// Finishes an open run, then makes the store as `target` wants it.
    ///
    /// Flow: lock → mark → open run → plan → engine.
    /// Guarantees: a refusal before the first step changes nothing; after a crash or an error the next call goes on.
    /// Errors: see [`StoreError`]; [`Store::journal_open`] tells whether TiKV is held back.
    pub fn reencrypt(
        &self,
        target: &Target,
        verification: Verification,
        now: u64,
        observer: &dyn Observer,
        lock: &dyn Lock,
    ) -> Result<Outcome, StoreError> {
        // Taking the lock as an argument makes it impossible to forget it.
        let _ = lock;
        let open = self.go_on(verification, now, observer)?;
        let resumed = open.is_some();
        if open == Some(Ended::TimeIsOver) {
            return Ok(Outcome {
                resumed,
                time_is_over: true,
                ..Outcome::default()
            });
        }
        let measured = self.measure()?;
        let work = self.plan_of(&measured, target)?;
        if work.is_done() {
            return Ok(Outcome {
                resumed,
                ..Outcome::default()
            });
        }
        let mut outcome = Outcome {
            resumed,
            time_is_over: false,
            files: work
                .groups
                .iter()
                .map(|group| group.names.len() as u64)
                .sum(),
            bytes: work.bytes(),
        };
        let ended = self.engine(verification, now, observer).run(
            measured.state,
            measured.inventory,
            work,
            target,
        )?;
        outcome.time_is_over = ended == Ended::TimeIsOver;
        Ok(outcome)
    }

    /// Finishes an open run. Returns whether there was one. The caller holds the lock.
    pub fn recover(
        &self,
        verification: Verification,
        now: u64,
        observer: &dyn Observer,
    ) -> Result<bool, StoreError> {
        Ok(self.go_on(verification, now, observer)?.is_some())
    }

    /// As [`Store::recover`]; tells how the run ended.
    pub fn go_on(
        &self,
        verification: Verification,
        now: u64,
        observer: &dyn Observer,
    ) -> Result<Option<Ended>, StoreError> {
        if guard::look(self.fs, self.dir())? == Mark::Foreign {
            return Err(StoreError::PanicMark(self.dir().join(GUARD)));
        }
        self.engine(verification, now, observer).finish_open_run()
    }

    /// Seals `key.dict` anew when it is still under the previous master key, or under a KMS-made key that is to be given up:
    /// one of the fingerprints `not`. Returns whether it was: then it is under the present master key now, and under a new
    /// KMS-made key. The data keys and all files stay as they are, an open run stays open.
    ///
    /// Guarantees: `key.dict` is replaced whole; after a crash it is under the one key or under the other, and both states
    /// are ones from which TiKV, with both keys in its configuration, and this program go on.
    pub fn rewrap(&self, not: &[String], lock: &dyn Lock) -> Result<bool, StoreError> {
        // Taking the lock as an argument makes it impossible to forget it.
        let _ = lock;
        if guard::look(self.fs, self.dir())? == Mark::Foreign {
            return Err(StoreError::PanicMark(self.dir().join(GUARD)));
        }
        // A key.dict that a killed run has put in place is the one that is read, and not yet the one on the disk.
        self.fs
            .sync_dir(self.dir())
            .map_err(StoreError::io("syncing", self.dir()))?;
        let State::Has(found) = dictionaries::load(self.fs, self.dir(), self.sealer)? else {
            return Ok(false);
        };
        let given_up = |sealed: &EncryptedContent| {
            kms::fingerprint(sealed).is_some_and(|envelope| not.contains(&envelope))
        };
        if !self.sealer.is_under_previous() && !given_up(&found.sealed) {
            return Ok(false);
        }
        self.sealer.prove()?;
        if !self.sealer.is_secure() {
            return Err(StoreError::InsecureMasterKey);
        }
        let writer = dictionaries::Writer::new(self.fs, self.dir(), self.sealer);
        // Nothing of the old envelope is used again.
        writer.keys(&found.keys, None, found.owner)?;
        // What the disk says counts, not what was meant to be written.
        match dictionaries::load(self.fs, self.dir(), self.sealer)? {
            State::Has(now)
                if now.keys == found.keys
                    && !self.sealer.is_under_previous()
                    && !given_up(&now.sealed) =>
            {
                Ok(true)
            }
            _ => Err(StoreError::Verification {
                path: self.dir().join("key.dict"),
                what: "its seal",
            }),
        }
    }

    fn engine<'b>(
        &'b self,
        verification: Verification,
        now: u64,
        observer: &'b dyn Observer,
    ) -> Engine<'b> {
        Engine {
            fs: self.fs,
            roots: &self.roots,
            sealer: self.sealer,
            observer,
            verification,
            limits: self.limits,
            new_dict_version: self.new_dict_version,
            now,
        }
    }

    fn dir(&self) -> &Path {
        self.roots.first().map_or(Path::new(""), |root| &root.path)
    }
}

/// What the store ran with last.
fn last_config(fs: &dyn Fs, dir: &Path) -> Result<Option<StoreConfig>, StoreError> {
    let path = dir.join("last_tikv.toml");
    let Some(bytes) = fs::read(fs, &path).map_err(StoreError::io("reading", &path))? else {
        return Ok(None);
    };
    // A damaged last_tikv.toml is TiKV's own affair; what it would have told is asked elsewhere.
    Ok(String::from_utf8(bytes)
        .ok()
        .and_then(|text| StoreConfig::parse(&text).ok()))
}

fn detect(fs: &dyn Fs, dir: &Path, last: Option<&StoreConfig>) -> Result<String, StoreError> {
    let path = dir.join("file.dict");
    let bytes = fs::read(fs, &path).map_err(StoreError::io("reading", &path))?;
    let entry = match bytes {
        Some(bytes) => names::spelling(fs, dir, &FileDict::parse(&bytes)?.entries)?,
        None => None,
    };
    let own = || dir.to_string_lossy().into_owned();
    Ok(entry
        .or_else(|| last.and_then(|last| last.data_dir.clone()))
        .unwrap_or_else(own))
}
