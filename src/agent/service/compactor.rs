//! Has TiKV rewrite tables that are under old data keys, while it runs: mode Compaction.
//!
//! Restart-safe without a memory of its own: what is left to do is measured, and TiKV's debug service works on one thread,
//! so an answer to a small question says that a compaction which was asked for before has ended. Who restarts in the
//! middle therefore waits, looks, and asks only for what is left.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::board::Board;
use super::desired::DesiredFile;
use super::server::identity::{IdentityError, read};
use crate::api::compaction::{CompactionOrder, CompactionReport, CompactionState};
use crate::api::desired::DesiredState;
use crate::api::report::{Finding, Severity};
use crate::tikv::debug_service::{ColumnFamily, DebugError, DebugService};
use crate::tikv::http::Endpoint;
use crate::tls::client::{self, ClientError};
use crate::tls::parse::{CertificateInfo, parse_one};

/// Passes over all column families before a person must look: errors of a compaction are known to TiKV's log alone.
const PASSES: u32 = 3;

/// Where TiKV is.
#[derive(Clone, Debug)]
pub struct Tikv {
    /// Address of its gRPC port, and the name in its certificate.
    pub endpoint: Endpoint,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Time between two looks at the desired state and the last measurement.
    pub look: Duration,
    /// Time after a pass in which TiKV lets go of tables that somebody still reads.
    pub settle: Duration,
    /// First pause after a failure; doubles.
    pub retry: Duration,
    /// Longest such pause.
    pub longest_retry: Duration,
}

impl Rhythm {
    /// For production.
    pub const DEFAULT: Self = Self {
        look: Duration::from_secs(2),
        settle: Duration::from_mins(2),
        retry: Duration::from_secs(10),
        longest_retry: Duration::from_mins(10),
    };
}

/// Asks TiKV for compactions when it is this pod's turn.
pub struct Compactor {
    /// What is wanted.
    pub desired: DesiredFile,
    /// Where measurements are, and where it is reported.
    pub board: Arc<Board>,
    /// Directory with the certificate to show.
    pub identity: PathBuf,
    /// Name of the pod.
    pub pod: String,
    /// Whom to ask.
    pub tikv: Tikv,
    /// How often.
    pub rhythm: Rhythm,
}

/// What this process has done for one moment before which data keys are old.
#[derive(Default)]
struct Memory {
    made_before: Option<Timestamp>,
    report: CompactionReport,
    /// No pass begins on a measurement that is older.
    measured_after: Option<Timestamp>,
    not_before: Option<Instant>,
    pause: Duration,
}

/// How a pass ended that did not fail.
enum Ended {
    /// Earlier calls have ended; what they did is measured next.
    Waited,
    /// All column families were compacted.
    Done,
    /// The turn was taken away meanwhile.
    NotOurTurn,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Debug(#[from] DebugError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What is to be done now.
struct Task {
    order: CompactionOrder,
    /// Bytes of tables under old data keys.
    bytes: u64,
}

impl Compactor {
    /// Goes on for ever.
    pub async fn run(self) {
        let mut memory = Memory::default();
        loop {
            tokio::time::sleep(self.rhythm.look).await;
            self.step(&mut memory).await;
        }
    }

    async fn step(&self, memory: &mut Memory) {
        let Ok(desired) = self.desired.read() else {
            return;
        };
        let Some(limit) = desired
            .data_key_not_before
            .filter(|_| desired.compaction.is_some())
        else {
            if memory.made_before.take().is_some() {
                *memory = Memory::default();
                self.board.compaction(None);
            }
            return;
        };
        if memory.made_before != Some(limit) {
            *memory = Memory {
                made_before: Some(limit),
                pause: self.rhythm.retry,
                ..Memory::default()
            };
            self.board.compaction(None);
        }
        let Some(task) = self.task(memory, &desired) else {
            return;
        };
        if memory.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        if memory.report.passes >= PASSES {
            return self.give_up(memory, task.bytes);
        }
        match self.pass(memory, &desired, &task).await {
            Ok(ended) => {
                memory.pause = self.rhythm.retry;
                memory.not_before = match ended {
                    Ended::Done => Instant::now().checked_add(self.rhythm.settle),
                    Ended::Waited | Ended::NotOurTurn => None,
                };
            }
            Err(failure) => {
                memory.report.error = Some(finding(&failure));
                // The call that was cut off may go on in TiKV.
                memory.measured_after = None;
                memory.not_before = Instant::now().checked_add(memory.pause);
                memory.pause = (memory.pause * 2).min(self.rhythm.longest_retry);
            }
        }
        memory.report.state = CompactionState::Idle;
        memory.report.column_family = None;
        self.board.compaction(Some(memory.report.clone()));
    }

    /// `None` when there is nothing to do, or it is not known, or it is not this pod's turn.
    fn task(&self, memory: &mut Memory, desired: &DesiredState) -> Option<Task> {
        let report = self.board.report();
        let coverage = report.coverage.as_ref()?;
        let old = coverage.old_keys.as_ref()?;
        let order = desired.compaction.as_ref()?;
        let fresh = memory
            .measured_after
            .is_none_or(|after| report.measured_at > Some(after));
        let current = report.gate_open
            && fresh
            && report.desired_generation == desired.generation
            && Some(old.made_before) == desired.data_key_not_before;
        if current && old.tables.files == 0 && memory.report.error.take().is_some() {
            self.board.compaction(Some(memory.report.clone()));
        }
        // Under a data key that is too old itself all the work would be for nothing.
        let young = coverage.current_data_key_made_at >= desired.data_key_not_before;
        let turn = order.turn.as_ref() == Some(&self.pod) && desired.reencrypt;
        (current && young && turn && old.tables.files > 0).then(|| Task {
            order: order.clone(),
            bytes: old.tables.bytes,
        })
    }

    async fn pass(
        &self,
        memory: &mut Memory,
        desired: &DesiredState,
        task: &Task,
    ) -> Result<Ended, Failure> {
        let service = DebugService {
            endpoint: self.endpoint()?,
            tls: self.tls()?,
        };
        if memory.measured_after.is_none() {
            memory.report.state = CompactionState::Queued;
            self.board.compaction(Some(memory.report.clone()));
            service.settled().await?;
            // What an earlier call has done is seen by the next measurement.
            memory.measured_after = Some(Timestamp::now());
            return Ok(Ended::Waited);
        }
        memory.report = CompactionReport {
            state: CompactionState::Running,
            bytes_total: task.bytes,
            started_at: Some(Timestamp::now()),
            passes: memory.report.passes,
            ..CompactionReport::default()
        };
        for family in ColumnFamily::ALL {
            if !self.tables_left(memory) {
                break;
            }
            let same = self.desired.read().is_ok_and(|now| {
                let turn = now.compaction.and_then(|order| order.turn);
                turn.as_ref() == Some(&self.pod)
                    && now.data_key_not_before == desired.data_key_not_before
            });
            if !same {
                tracing::info!("compaction stops here: it is another pod's turn");
                return Ok(Ended::NotOurTurn);
            }
            memory.report.column_family = Some(family.name().to_owned());
            self.board.compaction(Some(memory.report.clone()));
            let begun = Instant::now();
            match service.compact(family, task.order.threads).await {
                // Older versions do not compact this one.
                Err(error) if family == ColumnFamily::Raft && error.is_unknown() => {}
                done => done?,
            }
            let seconds = begun.elapsed().as_secs_f64();
            tracing::info!(column_family = family.name(), seconds, "compacted");
        }
        memory.report.passes += 1;
        memory.report.finished_at = Some(Timestamp::now());
        memory.measured_after = memory.report.finished_at;
        Ok(Ended::Done)
    }

    /// False when a measurement since the pass began has found no table under old data keys.
    fn tables_left(&self, memory: &Memory) -> bool {
        let report = self.board.report();
        let old = report.coverage.and_then(|coverage| coverage.old_keys);
        report.measured_at <= memory.report.started_at
            || old.is_none_or(|old| {
                Some(old.made_before) != memory.made_before || old.tables.files > 0
            })
    }

    fn give_up(&self, memory: &mut Memory, bytes: u64) {
        memory.report.state = CompactionState::GivenUp;
        memory.report.error = Some(problem(
            "CompactionIncomplete",
            format!(
                "{bytes} bytes of tables are under old data keys after {PASSES} compactions of all column families"
            ),
            "look for errors of RocksDB in TiKV's log (a full disk, a damaged table); then write a new word in rotate.dataKey, or mode: Restart",
        ));
        self.board.compaction(Some(memory.report.clone()));
    }

    /// TiKV under a name that its certificate has.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let endpoint = self.tikv.endpoint.clone();
        if !self.tikv.tls {
            return Ok(endpoint);
        }
        let own = parse_one(&read(&self.identity)?.certificate).ok();
        let name = own.and_then(|own| shared_name(&own, &endpoint.name));
        Ok(match name {
            Some(name) => endpoint.named(name),
            None => endpoint,
        })
    }

    fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>, Failure> {
        if !self.tikv.tls {
            return Ok(None);
        }
        Ok(Some(client::grpc(&read(&self.identity)?)?))
    }
}

/// A name that the store's certificate has, when it lacks the `usual` one because its CA can not check that: the agent's own has the same ones, but
/// for the common name.
fn shared_name(own: &CertificateInfo, usual: &str) -> Option<String> {
    if own.dns.contains(usual) {
        return None;
    }
    let shared = |name: &&String| {
        !name.starts_with("*.") && Some(name.as_str()) != own.common_name.as_deref()
    };
    own.dns.iter().find(shared).cloned()
}

fn finding(failure: &Failure) -> Finding {
    problem(
        "DebugServiceFailed",
        format!("TiKV could not be asked for a compaction: {failure}"),
        "nothing, if TiKV has just restarted: it is tried again. Otherwise look whether TiKV's cert-allowed-cn has the common name of the agents, and into TiKV's log",
    )
}

fn problem(code: &str, message: String, remedy: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: Severity::Error,
        message,
        remedy: remedy.to_owned(),
        path: None,
    }
}

#[cfg(test)]
mod tests;
