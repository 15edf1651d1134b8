//! The order of the agent's work. Nothing begun and something is wrong: TiKV starts as it was. Something begun: TiKV
//! waits until it is finished.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::board::Board;
use super::desired::DesiredFile;
use super::gate::Gate;
use super::stop::Stop;
use super::store::{Locked, Measurement, Need, Outcome, Problem, Store, Watch};
use crate::agent::wrapped::{Pending, Provided, UnwrapError};
use crate::api::desired::{DesiredState, ProofDesired};
use crate::api::report::{AgentPhase, Finding, Progress, Severity};

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two measurements.
    pub measure: Duration,
    /// Time between two looks at the desired state.
    pub look: Duration,
    /// First pause before recovery is tried again; doubles.
    pub retry: Duration,
    /// Longest such pause.
    pub longest_retry: Duration,
}

impl Pace {
    /// For production.
    pub const DEFAULT: Self = Self {
        measure: Duration::from_secs(30),
        look: Duration::from_secs(2),
        retry: Duration::from_secs(1),
        longest_retry: Duration::from_secs(30),
    };
}

/// The agent's work from its start to its end.
pub struct Lifecycle<S> {
    /// The data directory.
    pub store: S,
    /// Master keys that TiKV can not start without, and that are still to be unwrapped.
    pub keys: Vec<Pending>,
    /// What is wanted.
    pub desired: DesiredFile,
    /// Holds TiKV back.
    pub gate: Gate,
    /// Where it is reported.
    pub board: Arc<Board>,
    /// When to end.
    pub stop: Arc<Stop>,
    /// How often.
    pub pace: Pace,
    /// What stays said for the life of this process.
    pub notices: Vec<Finding>,
}

/// How the part before TiKV's start ended.
enum Prepared {
    Open,
    Stopped,
}

impl<S: Store> Lifecycle<S> {
    /// Prepares the directory, opens the gate, measures until it is asked to stop.
    pub fn run(mut self) -> io::Result<()> {
        let prepared = match self.provide_keys() {
            Prepared::Open => self.prepare(),
            Prepared::Stopped => Prepared::Stopped,
        };
        // TiKV must be able to take the lock before it is let start.
        self.store.unlock();
        if let Prepared::Stopped = prepared {
            return Ok(());
        }
        self.gate.open()?;
        self.board.gate_opened();
        self.watch();
        Ok(())
    }

    /// TiKV could not start without its key file, so it waits for it, however long its provider does not answer.
    fn provide_keys(&mut self) -> Prepared {
        let mut pause = self.pace.retry;
        while let Some(index) = self.keys.iter().position(|key| !key.is_dispensable()) {
            let key = &self.keys[index];
            let runs = self.store.is_new() == Ok(false) && self.store.lock() == Ok(Locked::ByTikv);
            match key.provide(runs) {
                Ok(provided) => {
                    self.notices.extend(notice(&provided));
                    self.keys.remove(index);
                    self.board.no_error();
                    pause = self.pace.retry;
                }
                Err(error) => {
                    self.board.error(problem(&error));
                    self.board.phase(AgentPhase::Held);
                    if self.stop.wait(pause) {
                        return Prepared::Stopped;
                    }
                    pause = (pause * 2).min(self.pace.longest_retry);
                }
            }
        }
        Prepared::Open
    }

    /// The key from before, when `key.dict` may still be under it. Tells whether there is one more than there was.
    fn provide_previous_keys(&mut self) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| match key.provide(false) {
            Ok(_) => false,
            Err(error) => {
                tracing::warn!("the master key from before: {error}");
                true
            }
        });
        self.keys.len() < before
    }

    fn prepare(&mut self) -> Prepared {
        let mut pause = self.pace.retry;
        loop {
            match self.attempt() {
                Ok(Outcome::Stopped) => return Prepared::Stopped,
                Ok(Outcome::Done) => return Prepared::Open,
                Err(problem) => self.board.error(problem),
            }
            // TiKV would have to do what the agent could not, and some versions can not do it at all, whatever comes back
            // later (facts, encryption at rest §2.6): until key.dict is under its master key TiKV waits.
            let sealed = self.store.sealed();
            if let Some(found) = sealed.key_dict {
                self.board.key_dict(found);
            }
            if !self.is_between_states() && !sealed.awaits_rewrap {
                return Prepared::Open;
            }
            if self.provide_previous_keys() {
                continue;
            }
            self.board.phase(AgentPhase::Held);
            if self.stop.wait(pause) {
                return Prepared::Stopped;
            }
            pause = (pause * 2).min(self.pace.longest_retry);
        }
    }

    fn attempt(&mut self) -> Result<Outcome, Problem> {
        if self.store.is_new()? {
            tracing::info!("the data directory is new: nothing to do before TiKV starts");
            return Ok(Outcome::Done);
        }
        if self.store.lock()? == Locked::ByTikv {
            tracing::info!("TiKV runs already: only looking");
            return Ok(Outcome::Done);
        }
        let open = self.store.journal_open()?;
        self.board.journal(open);
        if open {
            self.board.phase(AgentPhase::Recovering);
            let watch = OnBoard::of(&self.board, &self.stop);
            if self.store.recover(&watch)? == Outcome::Stopped {
                return Ok(Outcome::Stopped);
            }
            self.board.journal(false);
            tracing::info!("an interrupted run was finished");
        }
        self.board.phase(AgentPhase::Preflight);
        // Before the desired state is read: TiKV's configuration alone says that it must be done.
        let sealed = self.store.rewrap(&[])?;
        self.board.key_dict(sealed);
        let desired = self.desired.read()?;
        self.board.generation(desired.generation);
        if let Some(wish) = &desired.envelope {
            let sealed = self.store.rewrap(&wish.not)?;
            self.board.key_dict(sealed);
        }
        let need = self.store.preflight(&desired)?;
        let outcome = if need == Need::Work && desired.reencrypt {
            self.reencrypt(&desired)?
        } else {
            Outcome::Done
        };
        self.board.no_error();
        Ok(outcome)
    }

    fn reencrypt(&mut self, desired: &DesiredState) -> Result<Outcome, Problem> {
        self.board.phase(AgentPhase::Reencrypting);
        let begun = Instant::now();
        let watch = OnBoard::of(&self.board, &self.stop);
        let outcome = self.store.reencrypt(desired, &watch)?;
        let progress = self.board.report().progress.unwrap_or_default();
        tracing::info!(
            ?outcome,
            files = progress.files_done,
            bytes = progress.bytes_done,
            bytes_per_second = progress.bytes_per_second,
            seconds = begun.elapsed().as_secs_f64(),
            "re-encryption ended"
        );
        Ok(outcome)
    }

    /// Whether TiKV must not start. Who can not even ask must assume that it must not.
    fn is_between_states(&mut self) -> bool {
        let open = self.store.journal_open().unwrap_or_else(|problem| {
            self.board.error(problem);
            true
        });
        self.board.journal(open);
        open
    }

    fn watch(&mut self) {
        self.board.phase(AgentPhase::Watching);
        // What the attempt failed at stays said until the store is as desired; what a measurement failed at only until
        // the next that succeeds.
        let attempt = self.board.report().error;
        let mut measured_for = None;
        let mut verification = Verifying::default();
        let mut last = Instant::now();
        loop {
            let desired = self.desired.read();
            let wanted = desired.as_ref().ok().cloned();
            let wanted_proof = wanted.as_ref().and_then(|wanted| wanted.proof);
            if measured_for.as_ref() != Some(&wanted) || last.elapsed() >= self.pace.measure {
                match self.store.measure(wanted.as_ref()) {
                    Ok(mut measurement) => {
                        measurement.findings.extend(self.notices.iter().cloned());
                        if let Some(desired) = &wanted {
                            self.board.generation(desired.generation);
                        }
                        match &attempt {
                            Some(attempt) if !as_wished(&measurement, wanted.as_ref()) => {
                                self.board.error(Box::new(attempt.clone()));
                            }
                            _ => self.board.no_error(),
                        }
                        self.board.measured(measurement, Timestamp::now());
                    }
                    Err(problem) => self.board.error(problem),
                }
                measured_for = Some(wanted);
                last = Instant::now();
            }
            if let Some(proof) = wanted_proof {
                verification.go_on(&mut self.store, &self.board, proof, self.pace.measure);
            }
            if let Err(problem) = desired {
                self.board.error(problem);
            }
            if self.stop.wait(self.pace.look.min(self.pace.measure)) {
                return;
            }
        }
    }
}

pub(super) fn problem(error: &UnwrapError) -> Problem {
    Box::new(Finding {
        code: error.code().to_owned(),
        severity: Severity::Error,
        message: error.to_string(),
        remedy: error.remedy().to_owned(),
        path: None,
    })
}

fn notice(provided: &Provided) -> Option<Finding> {
    match provided {
        Provided::Unwrapped => {
            tracing::info!("the master key was unwrapped");
            None
        }
        Provided::InUse => None,
        Provided::Offline { age, why } => {
            let message = format!(
                "TiKV started with the master key that was unwrapped {} s before, because its provider does not answer: {why}",
                age.as_secs()
            );
            tracing::warn!("{message}");
            Some(Finding {
                code: "MasterKeyOffline".to_owned(),
                severity: Severity::Warning,
                message,
                remedy: "Bring the provider back before a pod is made anew: a new pod has no key in memory.".to_owned(),
                path: None,
            })
        }
    }
}

/// Whether files and `key.dict` are as desired.
fn as_wished(measurement: &Measurement, wanted: Option<&DesiredState>) -> bool {
    let wish = wanted.and_then(|desired| desired.envelope.as_ref());
    let against = wish.is_some_and(|wish| wish.is_against(&measurement.key_dict));
    measurement.satisfied && !against
}

/// Longest time that one step of a verification makes up for: the loop has other things to do.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// A verification between two steps, and the pause after one that failed.
#[derive(Default)]
struct Verifying {
    last: Option<Instant>,
    not_before: Option<Instant>,
}

impl Verifying {
    /// One step, if a verification is wanted that is younger than the last one.
    fn go_on(
        &mut self,
        store: &mut impl Store,
        board: &Board,
        wanted: ProofDesired,
        pause: Duration,
    ) {
        let done = board
            .verified_since()
            .is_some_and(|since| since >= wanted.not_before);
        if done || self.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let passed = self.last.map_or(LONGEST_STEP, |last| last.elapsed());
        let nanos = passed.min(LONGEST_STEP).as_nanos();
        let budget = u128::from(wanted.bytes_per_second.get()) * nanos / 1_000_000_000;
        self.last = Some(Instant::now());
        match store.verify(u64::try_from(budget).unwrap_or(u64::MAX).max(1)) {
            Ok(None) => {}
            Ok(Some(report)) => {
                self.last = None;
                board.verified(report);
            }
            Err(problem) => {
                let (code, remedy) = (&problem.code, &problem.remedy);
                tracing::warn!(
                    code,
                    remedy,
                    "the verification can not be done now: {}",
                    problem.message
                );
                self.last = None;
                self.not_before = Instant::now().checked_add(pause);
            }
        }
    }
}

/// Puts what a run says on the board.
struct OnBoard {
    board: Arc<Board>,
    stop: Arc<Stop>,
}

impl OnBoard {
    fn of(board: &Arc<Board>, stop: &Arc<Stop>) -> Self {
        Self {
            board: board.clone(),
            stop: stop.clone(),
        }
    }
}

impl Watch for OnBoard {
    fn phase(&self, phase: AgentPhase) {
        self.board.phase(phase);
    }

    fn progress(&self, progress: &Progress) {
        self.board.progress(progress);
    }

    fn stop(&self) -> bool {
        self.stop.asked()
    }
}
