//! The report as it is now: written by the one who works, read by the server.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::store::{Measurement, Problem};
use crate::api::compaction::CompactionReport;
use crate::api::key_dict::KeyDictReport;
use crate::api::report::{AgentPhase, AgentReport, KeyCheck, Progress, VerificationReport};

/// The current report.
#[derive(Debug)]
pub struct Board(Mutex<AgentReport>);

impl Board {
    /// Nothing known yet.
    pub fn new(data_dir: &Path) -> Self {
        Self(Mutex::new(AgentReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: data_dir.display().to_string(),
            desired_generation: 0,
            phase: AgentPhase::Starting,
            gate_open: false,
            journal_open: false,
            satisfied: false,
            error: None,
            progress: None,
            compaction: None,
            coverage: None,
            key_dict: None,
            findings: Vec::new(),
            measured_at: None,
            master_key: None,
            last_verification: None,
        }))
    }

    /// A copy.
    pub fn report(&self) -> AgentReport {
        self.lock().clone()
    }

    pub(super) fn phase(&self, phase: AgentPhase) {
        let mut report = self.lock();
        if report.phase != phase {
            report.phase = phase;
            tracing::info!(?phase, "phase");
        }
    }

    pub(super) fn gate_opened(&self) {
        self.lock().gate_open = true;
        tracing::info!("the gate is open: TiKV may start");
    }

    pub(super) fn journal(&self, open: bool) {
        self.lock().journal_open = open;
    }

    pub(super) fn generation(&self, generation: i64) {
        self.lock().desired_generation = generation;
    }

    pub(super) fn progress(&self, progress: &Progress) {
        self.lock().progress = Some(progress.clone());
    }

    pub(super) fn key_dict(&self, found: KeyDictReport) {
        let mut report = self.lock();
        if report.key_dict.as_ref() != Some(&found) {
            let under = found.under.as_ref().map(ToString::to_string);
            let (under, previous) = (under.unwrap_or("-".to_owned()), found.previous);
            let envelope = found.envelope.as_deref().unwrap_or("-");
            tracing::info!(under, previous, envelope, "key.dict is sealed");
        }
        report.key_dict = Some(found);
    }

    /// Says it once in the log, however often it happens again.
    pub(super) fn error(&self, problem: Problem) {
        let mut report = self.lock();
        if report.error.as_ref() != Some(&*problem) {
            let (code, message, remedy) = (&problem.code, &problem.message, &problem.remedy);
            tracing::error!(code, remedy, "{message}");
        }
        report.error = Some(*problem);
    }

    pub(super) fn no_error(&self) {
        self.lock().error = None;
    }

    pub(super) fn compaction(&self, compaction: Option<CompactionReport>) {
        let mut report = self.lock();
        let error = |report: &Option<CompactionReport>| report.as_ref()?.error.clone();
        if let Some(new) =
            error(&compaction).filter(|new| error(&report.compaction).as_ref() != Some(new))
        {
            tracing::error!(code = new.code, remedy = new.remedy, "{}", new.message);
        }
        report.compaction = compaction;
    }

    pub(super) fn measured(&self, measurement: Measurement, now: Timestamp) {
        self.key_dict(measurement.key_dict);
        let mut report = self.lock();
        if report.satisfied != measurement.satisfied || report.measured_at.is_none() {
            let coverage = &measurement.coverage;
            tracing::info!(
                satisfied = measurement.satisfied,
                files = coverage.files,
                encrypted_bytes = coverage.encrypted_bytes,
                plaintext_bytes = coverage.plaintext_bytes,
                findings = measurement.findings.len(),
                "measured"
            );
        }
        report.coverage = Some(measurement.coverage);
        report.findings = measurement.findings;
        report.satisfied = measurement.satisfied;
        report.measured_at = Some(now);
    }

    /// What the master key answered: that it opens the store, or why not.
    pub(super) fn key(&self, answer: Result<(), Problem>, took: Duration, now: Timestamp) {
        let mut report = self.lock();
        let before = report.master_key.take();
        let told = before.as_ref().and_then(|check| check.error.clone());
        let latency = u64::try_from(took.as_millis()).ok();
        report.master_key = Some(match answer {
            Ok(()) => {
                if told.is_some() {
                    tracing::info!("the master key opens this store again");
                }
                KeyCheck {
                    checked_at: now,
                    last_success: Some(now),
                    latency_milliseconds: latency,
                    error: None,
                }
            }
            Err(problem) => {
                if told.as_ref() != Some(&*problem) {
                    let (code, message, remedy) =
                        (&problem.code, &problem.message, &problem.remedy);
                    tracing::warn!(
                        code,
                        remedy,
                        "this store could not start again now: {message}"
                    );
                }
                KeyCheck {
                    checked_at: now,
                    last_success: before.as_ref().and_then(|check| check.last_success),
                    latency_milliseconds: before.and_then(|check| check.latency_milliseconds),
                    error: Some(*problem),
                }
            }
        });
    }

    /// When the last full verification began.
    pub(super) fn verified_since(&self) -> Option<Timestamp> {
        let report = self.lock();
        report.last_verification.as_ref().map(|one| one.started_at)
    }

    pub(super) fn verified(&self, verification: VerificationReport) {
        tracing::info!(
            files = verification.files,
            bytes = verification.bytes,
            failed = verification.failed,
            "verified"
        );
        self.lock().last_verification = Some(verification);
    }

    fn lock(&self) -> MutexGuard<'_, AgentReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
