//! Carries a plan out: the only writer of a data directory. The order is that of facts, encryption at rest §6.5.
//!
//! ```text
//! guard -> key.dict with the new key -> journal
//!   per batch: temporary files, synced -> their directories -> file.dict, replaced -> renames -> directories
//! -> file.dict in its final form -> key.dict without the old keys -> journal closed -> guard removed
//! ```
//! A crash between any two steps leaves a state from which [`Engine::run`] goes on. TiKV can not start in between.

use std::collections::BTreeSet;
use std::path::Path;

use super::class::Class;
use super::dictionaries::{self, Dictionaries, Sealer, State, Writer};
use super::error::StoreError;
use super::guard;
use super::inventory::{self, Inventory, Root, StoreFile};
use super::journal::{self, Run};
use super::limits::{Limits, Pace};
use super::observer::Observer;
use super::plan::{self, Group, Target, Work};
use super::recover;
use super::rewrite::{self, Job, Rewriter};
use super::{batch, flush, pool, space};
use crate::api::desired::Verification;
use crate::crypto::fingerprint::FingerprintKey;
use crate::crypto::rng;
use crate::format::envelope::Version;
use crate::format::file_dict::FileDict;
use crate::format::pb::{EncryptedContent, KeyDictionary};
use crate::fs::{Fs, Owner};

/// Everything that a run needs.
pub struct Engine<'a> {
    /// Disk.
    pub fs: &'a dyn Fs,
    /// Data directory first, then directories elsewhere.
    pub roots: &'a [Root],
    /// Master key.
    pub sealer: &'a dyn Sealer,
    /// Told of progress, asked to stop.
    pub observer: &'a dyn Observer,
    /// How files are proven.
    pub verification: Verification,
    /// How fast, how much at once, how long.
    pub limits: Limits,
    /// Format of `file.dict` where none is there yet.
    pub new_dict_version: Version,
    /// Unix seconds.
    pub now: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything is as desired.
    Complete,
    /// The time was over: TiKV can start, the next run does the rest.
    TimeIsOver,
}

impl Engine<'_> {
    /// Finishes an open run, if there is one. Returns how it ended.
    ///
    /// Assumes that the caller holds the lock and that the guard is absent or ours.
    pub fn finish_open_run(&self) -> Result<Option<Ended>, StoreError> {
        let dir = self.dir()?;
        self.make_names_durable()?;
        let state = dictionaries::load(self.fs, dir, self.sealer)?;
        let run = match &state {
            State::Has(dictionaries) => journal::read(self.fs, dir, &dictionaries.keys)?,
            State::Never if journal::is_open(self.fs, dir)? => {
                return Err(StoreError::Journal {
                    path: dir.join(super::class::JOURNAL),
                    why: "there are no dictionaries that it could belong to".to_owned(),
                });
            }
            State::Never => None,
        };
        let (Some(run), State::Has(_)) = (run, &state) else {
            // No journal: nothing was rewritten. What is left of the start or the end of a run goes; a first temporary
            // file can be there before the guard is.
            recover::settle(self.fs, self.roots, &State::Never)?;
            if guard::look(self.fs, dir)? == guard::Mark::Ours {
                self.remove_empty_file_dict(&state)?;
                guard::clear(self.fs, dir)?;
            }
            return Ok(None);
        };
        recover::settle(self.fs, self.roots, &state)?;
        let target = Target {
            method: run.method,
            not_before: run.not_before,
            key_id: Some(run.key_id),
            decrypt: !run.method.encrypts(),
        };
        let inventory = inventory::take(self.fs, self.roots, &state, self.limits.threads)?;
        let work = plan::plan(&inventory, &state, &target).map_err(StoreError::Refused)?;
        drop(inventory);
        match state {
            State::Has(dictionaries) => self.carry_out(&run, *dictionaries, work).map(Some),
            State::Never => Ok(None),
        }
    }

    /// A run that was killed, or whose flush failed, left names that everybody sees and no disk has. Nothing may be built on
    /// them: a later crash of the machine would take them back from under what was done since.
    fn make_names_durable(&self) -> Result<(), StoreError> {
        let dir = self.dir()?;
        self.fs
            .sync_dir(dir)
            .map_err(StoreError::io("syncing", dir))?;
        // Without a mark all other names were durable before it went.
        if guard::look(self.fs, dir)? == guard::Mark::Ours {
            for root in self.roots {
                flush::tree(self.fs, &root.path)?;
            }
        }
        Ok(())
    }

    /// Rewrites what is not as `target` wants it. Returns how it ended.
    ///
    /// Assumes the lock, no open run, and an `inventory` and `work` taken under that lock.
    pub fn run(
        &self,
        state: State,
        inventory: Inventory,
        work: Work,
        target: &Target,
    ) -> Result<Ended, StoreError> {
        let dir = self.dir()?;
        space::demand(self.fs, self.roots, &work)?;
        self.sealer.prove()?;
        let owner = self.owner(&inventory)?;
        // From here on memory holds what is still to be done.
        drop(inventory);
        guard::set(self.fs, dir, owner)?;
        let dictionaries = self.prepare_keys(state, target, owner)?;
        let Some(signed_by) = signing_key(&dictionaries.keys, target) else {
            // Nothing was ever encrypted: only empty dictionaries are in the way.
            self.drop_dictionaries(dictionaries.files.version, dictionaries.owner)?;
            return Ok(Ended::Complete);
        };
        let run = Run {
            version: Run::VERSION,
            method: target.method,
            key_id: if target.method.encrypts() {
                dictionaries.keys.current_key_id
            } else {
                0
            },
            signed_by,
            not_before: target.not_before,
            final_version: if dictionaries.files.version == Version::V1 {
                1
            } else {
                2
            },
            verification: self.verification,
        };
        journal::write(self.fs, dir, &dictionaries.keys, &run, owner)?;
        self.carry_out(&run, dictionaries, work)
    }

    fn carry_out(
        &self,
        run: &Run,
        mut dictionaries: Dictionaries,
        mut work: Work,
    ) -> Result<Ended, StoreError> {
        let files: usize = work.groups.iter().map(|group| group.names.len()).sum();
        self.observer.begin(files as u64, work.bytes());
        self.remove_leftovers(&work)?;
        let pace = Pace::new(&self.limits, self.observer);
        let mut rest = &mut work.groups[..];
        while !rest.is_empty() {
            if self.observer.stop() {
                return Err(StoreError::Interrupted);
            }
            let entries = dictionaries.files.entries.len();
            let next = batch::next(self.fs, rest, entries, &self.limits)?;
            let (batch, others) = rest.split_at_mut(next);
            self.batch_of(batch, run, &pace, &mut dictionaries)?;
            for group in batch {
                group.names = Vec::new();
            }
            rest = others;
            if !rest.is_empty() && self.limits.is_over() {
                self.put_down()?;
                return Ok(Ended::TimeIsOver);
            }
        }
        drop(work);
        self.observer.finishing();
        self.finish(run, dictionaries)?;
        Ok(Ended::Complete)
    }

    fn batch_of(
        &self,
        batch: &[Group],
        run: &Run,
        pace: &Pace<'_>,
        dictionaries: &mut Dictionaries,
    ) -> Result<(), StoreError> {
        let mut dirs = BTreeSet::new();
        let mut jobs = Vec::with_capacity(batch.len());
        for group in batch {
            let Some(first) = group.names.first() else {
                continue;
            };
            let entry = plan::new_entry(first, run.method, run.key_id, rng::iv()?);
            jobs.push(Job::new(group, entry));
            dirs.extend(group.names.iter().map(|file| file.dir()));
        }
        let rewriter = Rewriter {
            fs: self.fs,
            keys: &dictionaries.keys,
            verification: run.verification,
            fingerprints: &FingerprintKey::random()?,
            limits: &self.limits,
            pace,
            observer: self.observer,
        };
        rewriter.batch(&jobs)?;
        flush::names(self.fs, &dirs)?;
        for job in &jobs {
            for file in &job.group.names {
                let entries = &mut dictionaries.files.entries;
                entries.insert(file.name(), job.entry.clone());
            }
        }
        // The whole dictionary, atomically: appended records of a batch could be torn in the middle, which TiKV and we
        // refuse to read (facts, encryption at rest §3.2).
        let version = run.file_dict_version();
        self.writer()?
            .files(&dictionaries.files, version, dictionaries.owner)?;
        // Several at once: to let go of a file that was replaced takes the kernel as long as the rename.
        pool::each(self.limits.threads, &jobs, || (), |job, ()| self.place(job))?;
        flush::names(self.fs, &dirs)
    }

    /// The new file of a job takes the place of the old one, under each of its names.
    fn place(&self, job: &Job<'_>) -> Result<(), StoreError> {
        for file in &job.group.names {
            let to = file.path();
            let from = rewrite::temporary(&to, &job.entry);
            self.fs
                .rename(&from, &to)
                .map_err(StoreError::io("renaming", &from))?;
            self.observer.file(&file.relative());
        }
        Ok(())
    }

    /// The time is over between two batches: each file is either as it was or as it shall be, `file.dict` says which, and
    /// `key.dict` has both keys. TiKV reads such a store; the next run plans what is left.
    fn put_down(&self) -> Result<(), StoreError> {
        let dir = self.dir()?;
        journal::close(self.fs, dir)?;
        guard::clear(self.fs, dir)
    }

    /// All files are rewritten: old entries, old keys, journal and guard go, in this order.
    fn finish(&self, run: &Run, dictionaries: Dictionaries) -> Result<(), StoreError> {
        let dir = self.dir()?;
        if !run.method.encrypts() {
            return self.drop_dictionaries(run.file_dict_version(), dictionaries.owner);
        }
        let state = State::Has(Box::new(dictionaries));
        let inventory = inventory::take(self.fs, self.roots, &state, self.limits.threads)?;
        let target = Target {
            method: run.method,
            not_before: run.not_before,
            key_id: Some(run.key_id),
            decrypt: false,
        };
        let left = plan::plan(&inventory, &state, &target).map_err(StoreError::Refused)?;
        if let Some(file) = left.groups.first().and_then(|group| group.names.first()) {
            return Err(StoreError::Verification {
                path: file.path(),
                what: "its entry",
            });
        }
        let State::Has(mut dictionaries) = state else {
            return Ok(());
        };
        let current = inventory.iter().filter(|file| file.class == Class::Current);
        for name in current.map(StoreFile::name).chain(inventory.stale.clone()) {
            dictionaries.files.entries.remove(&name);
        }
        drop(inventory);
        let writer = self.writer()?;
        writer.files(
            &dictionaries.files,
            run.file_dict_version(),
            dictionaries.owner,
        )?;
        for id in dictionaries::unused_keys(&dictionaries) {
            dictionaries.keys.keys.remove(&id);
        }
        writer.keys(
            &dictionaries.keys,
            Some(&dictionaries.sealed),
            dictionaries.owner,
        )?;
        self.prove_keys_are_gone(&dictionaries.keys)?;
        journal::close(self.fs, dir)?;
        guard::clear(self.fs, dir)
    }

    /// What the disk says counts, not what was meant to be written.
    fn prove_keys_are_gone(&self, meant: &KeyDictionary) -> Result<(), StoreError> {
        let dir = self.dir()?;
        match dictionaries::load(self.fs, dir, self.sealer)? {
            State::Has(found) if found.keys == *meant => Ok(()),
            _ => Err(StoreError::Verification {
                path: dir.join("key.dict"),
                what: "its list of keys",
            }),
        }
    }

    /// After decrypting: an empty `file.dict`, then no `key.dict`, then no `file.dict`; TiKV accepts each of these states.
    fn drop_dictionaries(&self, version: Version, owner: Owner) -> Result<(), StoreError> {
        let dir = self.dir()?;
        self.writer()?
            .files(&FileDict::empty(version), version, owner)?;
        journal::close(self.fs, dir)?;
        for name in ["key.dict", "file.dict"] {
            let path = dir.join(name);
            self.fs
                .unlink(&path)
                .map_err(StoreError::io("removing", &path))?;
            self.fs
                .sync_dir(dir)
                .map_err(StoreError::io("syncing", dir))?;
        }
        guard::clear(self.fs, dir)
    }

    /// Makes the new data key durable before anything can be under it; makes the dictionaries where there are none.
    fn prepare_keys(
        &self,
        state: State,
        target: &Target,
        owner: Owner,
    ) -> Result<Dictionaries, StoreError> {
        let writer = self.writer()?;
        let mut dictionaries = match state {
            State::Has(dictionaries) => *dictionaries,
            State::Never => {
                let files = FileDict::empty(self.new_dict_version);
                writer.files(&files, self.new_dict_version, owner)?;
                Dictionaries {
                    files,
                    keys: KeyDictionary::default(),
                    sealed: EncryptedContent::default(),
                    owner,
                }
            }
        };
        if target.method.encrypts() {
            let (id, key) =
                dictionaries::new_key(&dictionaries.keys.keys, target.method, self.now)?;
            dictionaries.keys.keys.insert(id, key);
            dictionaries.keys.current_key_id = id;
            let previous =
                (!dictionaries.sealed.metadata.is_empty()).then_some(&dictionaries.sealed);
            dictionaries.sealed = writer.keys(&dictionaries.keys, previous, dictionaries.owner)?;
        }
        Ok(dictionaries)
    }

    fn remove_leftovers(&self, work: &Work) -> Result<(), StoreError> {
        let mut dirs = BTreeSet::new();
        for file in &work.remove {
            let path = file.path();
            self.fs
                .unlink(&path)
                .map_err(StoreError::io("removing", &path))?;
            dirs.insert(file.dir());
        }
        flush::names(self.fs, &dirs)
    }

    fn remove_empty_file_dict(&self, state: &State) -> Result<(), StoreError> {
        let dir = self.dir()?;
        let path = dir.join("file.dict");
        let exists = self
            .fs
            .stat(&path)
            .map_err(StoreError::io("looking at", &path))?
            .is_some();
        if matches!(state, State::Never) && exists {
            self.fs
                .unlink(&path)
                .map_err(StoreError::io("removing", &path))?;
            self.fs
                .sync_dir(dir)
                .map_err(StoreError::io("syncing", dir))?;
        }
        Ok(())
    }

    /// New dictionaries belong to whom the store's files belong.
    fn owner(&self, inventory: &Inventory) -> Result<Owner, StoreError> {
        let dir = self.dir()?;
        let file = inventory
            .iter()
            .find(|file| matches!(file.class, Class::Data(_)));
        let meta = match file {
            Some(file) => Some(file.meta),
            None => self
                .fs
                .stat(dir)
                .map_err(StoreError::io("looking at", dir))?,
        };
        let mut owner = meta.map(|meta| meta.owner).unwrap_or_default();
        owner.mode = 0o600;
        Ok(owner)
    }

    fn writer(&self) -> Result<Writer<'_>, StoreError> {
        Ok(Writer::new(self.fs, self.dir()?, self.sealer))
    }

    fn dir(&self) -> Result<&Path, StoreError> {
        self.roots
            .first()
            .map(|root| root.path.as_path())
            .ok_or_else(|| StoreError::Config("no data directory was given".to_owned()))
    }
}

/// The key whose secret signs the journal: the new one, or when decrypting any that has a secret.
fn signing_key(keys: &KeyDictionary, target: &Target) -> Option<u64> {
    if target.method.encrypts() {
        return Some(keys.current_key_id);
    }
    keys.keys
        .iter()
        .find(|(_, key)| !key.key.is_empty())
        .map(|(id, _)| *id)
}
