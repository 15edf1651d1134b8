//! The engine, as the process wants it: [`Store`] over a real data directory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::store::{Locked, Measurement, Need, Outcome, Problem, Prover, Sealed, Store, Watch};
use crate::agent::compaction;
use crate::agent::dictionaries::{Sealer, State};
use crate::agent::error::StoreError;
use crate::agent::guard::{self, Mark};
use crate::agent::journal;
use crate::agent::limits::Limits;
use crate::agent::master_key::{self, StoreKeys};
use crate::agent::observer::Observer;
use crate::agent::plan::{self, Target};
use crate::agent::store as engine;
use crate::agent::verify::Run;
use crate::api::desired::{DesiredState, Verification};
use crate::api::key_dict::{KeyDictReport, MasterKeyName};
use crate::api::report::{AgentPhase, Finding, Progress, Severity, VerificationReport};
use crate::fs::os::OsFs;
use crate::fs::{Fs as _, Lock};
use crate::kms;
use crate::tikv::encryption_config::{self, MasterKeyConfig};
use crate::tikv::store_config::StoreConfig;

/// The master keys of a configuration, by name.
struct KeyNames {
    current: MasterKeyName,
    previous: Option<MasterKeyName>,
}

/// A data directory at the path at which TiKV sees it.
pub struct DataDir {
    dir: PathBuf,
    config: String,
    key: StoreKeys,
    lock: Option<Box<dyn Lock>>,
    limits: Limits,
    verification: Option<Run>,
}

impl DataDir {
    /// `config` is the text of TiKV's configuration; `data_dir` beats it, as TiKV's flag does.
    pub fn new(config: String, data_dir: Option<PathBuf>) -> Result<Self, StoreError> {
        let parsed =
            StoreConfig::parse(&config).map_err(|error| StoreError::Config(error.to_string()))?;
        let dir = data_dir
            .or_else(|| parsed.data_dir.map(PathBuf::from))
            .ok_or_else(|| {
                StoreError::Config(
                    "storage.data-dir is not set in TiKV's configuration; give --data-dir"
                        .to_owned(),
                )
            })?;
        Ok(Self {
            dir,
            // Each measurement reads key.dict, which changes about once a week: a KMS that was asked each time would be a
            // bill, and its outage would end the measuring. TiKV beside holds the same in memory.
            key: master_key::configured(&config).remembering(),
            config,
            lock: None,
            limits: Limits::of_this_machine(),
            verification: None,
        })
    }

    /// The data directory.
    pub fn path(&self) -> &PathBuf {
        &self.dir
    }

    /// What the configuration calls its master keys.
    fn key_names(&self) -> Result<KeyNames, Problem> {
        let parsed = encryption_config::parse(&self.config)
            .map_err(|error| problem(&StoreError::Config(error.to_string())))?;
        let previous = match &parsed.previous_master_key {
            MasterKeyConfig::Plaintext => None,
            key => Some(key.name()),
        };
        Ok(KeyNames {
            current: parsed.master_key.name(),
            previous,
        })
    }

    /// What `state` was opened with.
    fn key_dict(&self, state: &State, names: &KeyNames) -> KeyDictReport {
        let State::Has(found) = state else {
            return KeyDictReport::default();
        };
        let previous = self.key.is_under_previous();
        KeyDictReport {
            under: if previous {
                names.previous.clone()
            } else {
                Some(names.current.clone())
            },
            previous,
            envelope: kms::fingerprint(&found.sealed),
        }
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&engine::Store<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        self.on_store(work).map_err(|error| problem(&error))
    }

    fn on_store<T>(
        &self,
        work: impl FnOnce(&engine::Store<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let config = StoreConfig::parse(&self.config)
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let seen_as = self.dir.to_string_lossy();
        let store =
            engine::Store::open(&OsFs, &self.key, &self.dir, Some(&seen_as), Some(&config))?;
        work(&store.within(self.limits))
    }
}

impl Store for DataDir {
    fn is_new(&mut self) -> Result<bool, Problem> {
        // TiKV makes the directory itself, where it is below the root of its volume.
        if self.dir.try_exists().is_ok_and(|exists| !exists) {
            return Ok(true);
        }
        self.with(|store| store.is_new())
    }

    fn lock(&mut self) -> Result<Locked, Problem> {
        if self.lock.is_some() {
            return Ok(Locked::Ours);
        }
        let path = self.dir.join("LOCK");
        let taken = OsFs.lock(&path).map_err(StoreError::io("locking", &path));
        self.lock = taken.map_err(|error| problem(&error))?;
        Ok(if self.lock.is_some() {
            Locked::Ours
        } else {
            Locked::ByTikv
        })
    }

    fn unlock(&mut self) {
        self.lock = None;
    }

    fn journal_open(&mut self) -> Result<bool, Problem> {
        // Not by way of the configuration: whatever is wrong with that does not mean that a run is open.
        let open = || {
            Ok(journal::is_open(&OsFs, &self.dir)? || guard::look(&OsFs, &self.dir)? == Mark::Ours)
        };
        open().map_err(|error| problem(&error))
    }

    fn recover(&mut self, watch: &dyn Watch) -> Result<Outcome, Problem> {
        let observer = Watched::new(watch);
        let result = self.with(
            |store| match store.recover(Verification::Full, now(), &observer) {
                Ok(_) => Ok(Outcome::Done),
                Err(StoreError::Interrupted) => Ok(Outcome::Stopped),
                Err(error) => Err(error),
            },
        );
        observer.end();
        result
    }

    fn rewrap(&mut self, not: &[String]) -> Result<KeyDictReport, Problem> {
        let names = self.key_names()?;
        let lock = self.lock.as_deref();
        let sealed = self.with(|store| {
            if let Some(lock) = lock
                && store.rewrap(not, lock)?
            {
                tracing::info!("key.dict was sealed anew");
            }
            store.dictionaries()
        });
        match sealed {
            Ok(state) => Ok(self.key_dict(&state, &names)),
            Err(mut problem) if names.previous.is_some() => {
                problem.message = format!(
                    "key.dict could not be sealed under the master key {}: {}",
                    names.current, problem.message
                );
                problem.remedy = format!(
                    "{} It is tried again by itself, and TiKV starts when it succeeded, because it could not start without. \
                     Both master keys must be usable; or go back: write the one before into spec.encryption.masterKey.",
                    sentence(&problem.remedy)
                );
                Err(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    fn sealed(&mut self) -> Sealed {
        // A configuration that can not be read names no previous key, and TiKV does not start on it.
        let Ok(names) = self.key_names() else {
            return Sealed::default();
        };
        let found = self.on_store(|store| store.dictionaries());
        let awaits_rewrap = names.previous.is_some()
            && match &found {
                Ok(State::Has(_)) => self.key.is_under_previous(),
                Ok(State::Never) => false,
                Err(error) => matches!(error, StoreError::MasterKey(_) | StoreError::NoMasterKey),
            };
        Sealed {
            key_dict: found.ok().map(|state| self.key_dict(&state, &names)),
            awaits_rewrap,
        }
    }

    fn preflight(&mut self, desired: &DesiredState) -> Result<Need, Problem> {
        let Some(target) = target(desired) else {
            return Ok(Need::Nothing);
        };
        let work = self.with(|store| store.plan(&target))?;
        if work.is_done() {
            return Ok(Need::Nothing);
        }
        self.key.prove().map_err(|error| problem(&error))?;
        Ok(Need::Work)
    }

    fn reencrypt(&mut self, desired: &DesiredState, watch: &dyn Watch) -> Result<Outcome, Problem> {
        let (Some(target), Some(lock)) = (target(desired), self.lock.as_deref()) else {
            return Ok(Outcome::Done);
        };
        self.limits = within(desired);
        let observer = Watched::new(watch);
        let result = self.with(|store| {
            match store.reencrypt(&target, desired.verification, now(), &observer, lock) {
                Ok(_) => Ok(Outcome::Done),
                Err(StoreError::Interrupted) => Ok(Outcome::Stopped),
                Err(error) => Err(error),
            }
        });
        observer.end();
        result
    }

    fn measure(&mut self, desired: Option<&DesiredState>) -> Result<Measurement, Problem> {
        if self.is_new()? {
            return Ok(Measurement {
                satisfied: desired.is_some(),
                ..Measurement::default()
            });
        }
        let names = self.key_names()?;
        self.with(|store| {
            let measured = store.measure()?;
            let mut findings = measured.findings;
            let mut coverage = measured.coverage;
            coverage.old_keys = desired
                .filter(|desired| desired.method.encrypts())
                .and_then(|desired| desired.data_key_not_before)
                .map(|limit| compaction::old_keys(&measured.inventory, &measured.state, limit));
            let by_compaction = desired.is_some_and(|desired| desired.compaction.is_some());
            let satisfied = match desired.map(target) {
                None => false,
                Some(None) => true,
                Some(Some(target)) => {
                    match plan::plan(&measured.inventory, &measured.state, &target) {
                        Ok(work) => {
                            work.is_done()
                                || by_compaction && compaction::only_restart_left(&work, &target)
                        }
                        Err(refusal) => {
                            findings.insert(0, *problem(&StoreError::Refused(refusal)));
                            false
                        }
                    }
                }
            };
            Ok(Measurement {
                coverage,
                findings,
                satisfied,
                key_dict: self.key_dict(&measured.state, &names),
            })
        })
    }

    fn verify(&mut self, budget: u64) -> Result<Option<VerificationReport>, Problem> {
        let mut run = match self.verification.take() {
            Some(run) => run,
            None => {
                let started = Timestamp::now();
                self.with(|store| Ok(Run::begin(&store.measure()?, started)))?
            }
        };
        if !run.go_on(&OsFs, budget) {
            self.verification = Some(run);
            return Ok(None);
        }
        // Whoever can not look at the end begins anew.
        self.with(|store| Ok(Some(run.end(&store.measure()?, Timestamp::now()))))
    }

    fn prover(&self) -> Prover {
        let (config, dir) = (self.config.clone(), self.dir.clone());
        Box::new(move || {
            // Made anew each time: TiKV reads key files and credentials at its start as well, and they may have changed.
            let keys = master_key::configured(&config);
            match master_key::opens(&OsFs, &keys, &dir) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(problem(&error))),
            }
        })
    }
}

/// `None` when nothing is asked of the files: plaintext, and no intent to decrypt.
fn target(desired: &DesiredState) -> Option<Target> {
    if !desired.method.encrypts() && !desired.decrypt {
        return None;
    }
    let seconds = desired.data_key_not_before.map_or(0, Timestamp::as_second);
    Some(Target {
        method: desired.method,
        not_before: u64::try_from(seconds).unwrap_or(0),
        key_id: None,
        decrypt: desired.decrypt,
    })
}

/// The limits of a run that begins now.
fn within(desired: &DesiredState) -> Limits {
    let machine = Limits::of_this_machine();
    let wanted = &desired.limits;
    Limits {
        threads: wanted
            .threads
            .map_or(machine.threads, |threads| threads.get().into()),
        bytes_per_second: wanted.bytes_per_second,
        requests_per_second: wanted.requests_per_second,
        until: wanted
            .seconds
            .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds.get()))),
        ..machine
    }
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

fn problem(error: &StoreError) -> Problem {
    Box::new(Finding {
        code: error.code().to_owned(),
        severity: Severity::Error,
        message: error.to_string(),
        remedy: error.remedy(),
        path: None,
    })
}

/// With a full stop.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// Adds up what the engine tells and passes it on.
struct Watched<'a> {
    watch: &'a dyn Watch,
    progress: Mutex<Progress>,
}

impl<'a> Watched<'a> {
    fn new(watch: &'a dyn Watch) -> Self {
        let progress = Progress {
            started_at: Some(Timestamp::now()),
            ..Progress::default()
        };
        Self {
            watch,
            progress: Mutex::new(progress),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        if let Some(started) = progress.started_at {
            let millis = Timestamp::now().as_millisecond() - started.as_millisecond();
            let millis = u64::try_from(millis).unwrap_or(0).max(1);
            progress.bytes_per_second = progress.bytes_done.saturating_mul(1000) / millis;
        }
        self.watch.progress(&progress);
    }

    fn end(&self) {
        self.update(|progress| progress.finished_at = Some(Timestamp::now()));
    }
}

impl Observer for Watched<'_> {
    fn begin(&self, files: u64, bytes: u64) {
        self.update(|progress| {
            progress.files_total += files;
            progress.bytes_total += bytes;
        });
    }

    fn bytes(&self, count: u64) {
        self.update(|progress| progress.bytes_done += count);
    }

    fn file(&self, _path: &str) {
        self.update(|progress| progress.files_done += 1);
    }

    fn finishing(&self) {
        self.watch.phase(AgentPhase::Verifying);
    }

    fn stop(&self) -> bool {
        self.watch.stop()
    }
}
