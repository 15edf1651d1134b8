//! The order of the work, on a store that does as it is told; and the server with real certificates.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::board::Board;
use super::desired::DesiredFile;
use super::gate::Gate;
use super::lifecycle::{Lifecycle, Pace};
use super::stop::Stop;
use super::store::{Locked, Measurement, Need, Outcome, Problem, Prover, Sealed, Store, Watch};
use crate::agent::wrapped::{Pending, tests as wrapped};
use crate::api::desired::DesiredState;
use crate::api::key_dict::KeyDictReport;
use crate::api::report::{
    AgentPhase, AgentReport, Finding, Severity, VerificationLevel, VerificationReport,
};

mod https;
mod proofs;

/// What the played store does, and what it saw.
#[derive(Default)]
struct Script {
    new: bool,
    by_tikv: bool,
    journal: bool,
    recover: VecDeque<Result<Outcome, Problem>>,
    preflight: Option<Problem>,
    /// Whether a step of a verification is the last one; steps that are not named are.
    verify: VecDeque<bool>,
    budgets: Vec<u64>,
    reencrypt: Option<Problem>,
    rewrap: VecDeque<Result<(), Problem>>,
    /// A previous master key is configured.
    has_previous: bool,
    awaits: bool,
    /// The failing run leaves a journal.
    leaves_journal: bool,
    calls: Vec<&'static str>,
    /// Whether the gate was open at each call.
    gate: Vec<bool>,
}

struct Played {
    script: Arc<Mutex<Script>>,
    run: PathBuf,
}

impl Played {
    fn call(&self, name: &'static str) -> std::sync::MutexGuard<'_, Script> {
        let mut script = self.script.lock().unwrap();
        script.calls.push(name);
        script.gate.push(Gate::is_open(&self.run));
        script
    }
}

impl Store for Played {
    fn is_new(&mut self) -> Result<bool, Problem> {
        Ok(self.script.lock().unwrap().new)
    }

    fn lock(&mut self) -> Result<Locked, Problem> {
        let by_tikv = self.call("lock").by_tikv;
        Ok(if by_tikv {
            Locked::ByTikv
        } else {
            Locked::Ours
        })
    }

    fn unlock(&mut self) {
        drop(self.call("unlock"));
    }

    fn journal_open(&mut self) -> Result<bool, Problem> {
        Ok(self.script.lock().unwrap().journal)
    }

    fn recover(&mut self, _: &dyn Watch) -> Result<Outcome, Problem> {
        let mut script = self.call("recover");
        let result = script.recover.pop_front().unwrap_or(Ok(Outcome::Done));
        script.journal = result != Ok(Outcome::Done);
        result
    }

    fn rewrap(&mut self, _: &[String]) -> Result<KeyDictReport, Problem> {
        let mut script = self.call("rewrap");
        let result = script.rewrap.pop_front().unwrap_or(Ok(()));
        script.awaits = result.is_err() && script.has_previous;
        result.map(|()| KeyDictReport::default())
    }

    fn sealed(&mut self) -> Sealed {
        Sealed {
            key_dict: None,
            awaits_rewrap: self.script.lock().unwrap().awaits,
        }
    }

    fn preflight(&mut self, _: &DesiredState) -> Result<Need, Problem> {
        let refused = self.call("preflight").preflight.clone();
        refused.map_or(Ok(Need::Work), Err)
    }

    fn reencrypt(&mut self, _: &DesiredState, _: &dyn Watch) -> Result<Outcome, Problem> {
        let mut script = self.call("reencrypt");
        let failed = script.reencrypt.take();
        script.journal = failed.is_some() && script.leaves_journal;
        failed.map_or(Ok(Outcome::Done), Err)
    }

    fn measure(&mut self, _: Option<&DesiredState>) -> Result<Measurement, Problem> {
        drop(self.call("measure"));
        Ok(Measurement::default())
    }

    fn verify(&mut self, budget: u64) -> Result<Option<VerificationReport>, Problem> {
        let mut script = self.call("verify");
        script.budgets.push(budget);
        let last = script.verify.pop_front();
        Ok(last.unwrap_or(true).then(|| VerificationReport {
            started_at: jiff::Timestamp::now(),
            finished_at: Some(jiff::Timestamp::now()),
            files: 3,
            bytes: 30,
            failed: 0,
            gone: 0,
            level: VerificationLevel::Structure,
            findings: Vec::new(),
        }))
    }

    fn prover(&self) -> Prover {
        Box::new(|| None)
    }
}

fn problem(code: &str) -> Problem {
    Box::new(Finding {
        code: code.to_owned(),
        severity: Severity::Error,
        message: "what happened".to_owned(),
        remedy: "what to do".to_owned(),
        path: None,
    })
}

/// A started life cycle.
struct Case {
    directory: TempDir,
    script: Arc<Mutex<Script>>,
    board: Arc<Board>,
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

const DESIRED: &str = r#"{"generation":4,"method":"aes256-ctr","reencrypt":true}"#;

impl Case {
    fn start(script: Script) -> Self {
        Self::with_desired(script, DESIRED)
    }

    fn with_desired(script: Script, desired: &str) -> Self {
        Self::with_keys(script, desired, Vec::new())
    }

    fn with_keys(script: Script, desired: &str, keys: Vec<Pending>) -> Self {
        let directory = TempDir::new().unwrap();
        let run = directory.path().to_owned();
        let file = run.join("desired.json");
        std::fs::write(&file, desired).unwrap();
        // Left behind by an earlier process.
        std::fs::write(run.join("gate-open"), "").unwrap();
        let script = Arc::new(Mutex::new(script));
        let board = Arc::new(Board::new(Path::new("/var/lib/tikv")));
        let stop = Arc::new(Stop::default());
        let milliseconds = Duration::from_millis;
        let lifecycle = Lifecycle {
            store: Played {
                script: script.clone(),
                run: run.clone(),
            },
            keys,
            notices: Vec::new(),
            desired: DesiredFile::new(file),
            gate: Gate::shut(&run).unwrap(),
            board: board.clone(),
            stop: stop.clone(),
            pace: Pace {
                measure: milliseconds(10),
                look: milliseconds(2),
                retry: milliseconds(2),
                longest_retry: milliseconds(5),
            },
        };
        let thread = Some(std::thread::spawn(move || lifecycle.run()));
        Self {
            directory,
            script,
            board,
            stop,
            thread,
        }
    }

    fn until(&self, what: &str, reached: impl Fn(&AgentReport) -> bool) -> AgentReport {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let report = self.board.report();
            if reached(&report) {
                return report;
            }
            assert!(Instant::now() < end, "{what} was not reached: {report:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn watching(&self) -> AgentReport {
        self.until("the first measurement", |report| {
            report.measured_at.is_some()
        })
    }

    fn gate_open(&self) -> bool {
        Gate::is_open(self.directory.path())
    }

    fn calls(&self) -> Vec<&'static str> {
        self.script.lock().unwrap().calls.clone()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

#[test]
fn the_gate_opens_after_the_work_and_after_the_lock_was_given_back() {
    let case = Case::start(Script::default());
    let report = case.watching();
    let before = [
        "lock",
        "rewrap",
        "preflight",
        "reencrypt",
        "unlock",
        "measure",
    ];
    assert_eq!(case.calls()[..6], before);
    assert_eq!(
        case.script.lock().unwrap().gate[..6],
        [false, false, false, false, false, true]
    );
    assert!(case.gate_open() && report.gate_open && report.error.is_none());
    assert_eq!(
        (report.phase, report.desired_generation),
        (AgentPhase::Watching, 4)
    );
}

#[test]
fn an_open_journal_holds_tikv_until_recovery_succeeds() {
    let down = || Err(problem("MasterKeyUnavailable"));
    let case = Case::start(Script {
        journal: true,
        recover: [down(), down(), down()].into(),
        ..Script::default()
    });
    let report = case.watching();
    let calls = case.calls();
    assert_eq!(calls.iter().filter(|call| **call == "recover").count(), 4);
    let script = case.script.lock().unwrap();
    let (unlock, _) = calls
        .iter()
        .enumerate()
        .find(|(_, call)| **call == "unlock")
        .unwrap();
    assert!(script.gate[..=unlock].iter().all(|open| !open));
    assert!(report.error.is_none() && !report.journal_open);
}

#[test]
fn what_can_not_be_recovered_is_held_and_says_why() {
    let case = Case::start(Script {
        journal: true,
        recover: std::iter::repeat_with(|| Err(problem("MasterKeyDenied")))
            .take(9999)
            .collect(),
        ..Script::default()
    });
    let report = case.until("Held", |report| report.phase == AgentPhase::Held);
    assert!(!case.gate_open() && !report.gate_open && report.journal_open);
    assert_eq!(report.error.unwrap().code, "MasterKeyDenied");
}

#[test]
fn tikv_waits_until_key_dict_is_under_its_master_key() {
    let down = || Err(problem("MasterKeyUnavailable"));
    let case = Case::start(Script {
        has_previous: true,
        rewrap: [down(), down(), Ok(())].into(),
        ..Script::default()
    });
    let report = case.watching();
    let (calls, gate) = {
        let script = case.script.lock().unwrap();
        (script.calls.clone(), script.gate.clone())
    };
    let rewraps = calls.iter().filter(|call| **call == "rewrap").count();
    assert_eq!(rewraps, 3, "{calls:?}");
    let unlock = calls.iter().position(|call| *call == "unlock").unwrap();
    assert!(gate[..=unlock].iter().all(|open| !open));
    assert!(report.error.is_none() && report.gate_open);
}

#[test]
fn a_master_key_without_a_previous_one_that_fails_holds_nobody() {
    let case = Case::start(Script {
        rewrap: [Err(problem("MasterKeyUnavailable"))].into(),
        ..Script::default()
    });
    let report = case.watching();
    assert!(case.gate_open());
    assert_eq!(report.error.unwrap().code, "MasterKeyUnavailable");
}

#[test]
fn a_refused_preflight_lets_tikv_start_as_it_was() {
    let case = Case::start(Script {
        preflight: Some(problem("NoSpace")),
        ..Script::default()
    });
    let report = case.watching();
    assert!(case.gate_open());
    assert!(!case.calls().contains(&"reencrypt"));
    assert_eq!(report.error.unwrap().code, "NoSpace");
}

#[test]
fn a_run_that_fails_half_way_is_recovered_before_tikv_starts() {
    let case = Case::start(Script {
        reencrypt: Some(problem("VolumeFull")),
        leaves_journal: true,
        ..Script::default()
    });
    case.watching();
    let calls = case.calls();
    let at = |name| calls.iter().position(|call| *call == name).unwrap();
    assert!(
        at("reencrypt") < at("recover") && at("recover") < at("unlock"),
        "{calls:?}"
    );
}

#[test]
fn a_running_or_a_new_store_is_only_looked_at() {
    let running = Case::start(Script {
        by_tikv: true,
        ..Script::default()
    });
    let new = Case::start(Script {
        new: true,
        ..Script::default()
    });
    for case in [running, new] {
        case.watching();
        assert!(case.gate_open());
        let calls = case.calls();
        assert!(
            !calls.contains(&"preflight") && !calls.contains(&"reencrypt"),
            "{calls:?}"
        );
    }
}

#[test]
fn a_desired_state_that_nobody_can_read_holds_nobody() {
    let case = Case::with_desired(Script::default(), r#"{"generation":1,"methud":1}"#);
    let report = case.watching();
    assert!(case.gate_open());
    assert_eq!(report.error.unwrap().code, "DesiredStateUnreadable");
}

/// TiKV could not start without its key, so it is held, and nothing of the store is touched meanwhile.
#[test]
fn tikv_waits_for_its_key_file_and_starts_by_itself_when_it_is_there() {
    let memory = wrapped::memory();
    let key = wrapped::pending(&memory, Some(3600));
    let case = Case::with_keys(Script::default(), DESIRED, vec![key]);
    let report = case.until("Held", |report| report.phase == AgentPhase::Held);
    assert!(!case.gate_open() && !report.gate_open && !report.journal_open);
    let error = report.error.unwrap();
    assert_eq!(error.code, "MasterKeyUnavailable", "{}", error.message);
    assert!(!case.calls().contains(&"preflight"));
    wrapped::write(&memory.path().join("key"), &wrapped::key(1)).unwrap();
    let report = case.watching();
    assert!(case.gate_open() && report.error.is_none());
    let report = case.until("the notice", |report| !report.findings.is_empty());
    assert_eq!(report.findings[0].code, "MasterKeyOffline");
}

#[test]
fn an_agent_that_starts_again_beside_a_running_tikv_needs_no_provider() {
    let memory = wrapped::memory();
    wrapped::write(&memory.path().join("key"), &wrapped::key(1)).unwrap();
    let running = Script {
        by_tikv: true,
        ..Script::default()
    };
    let key = wrapped::pending(&memory, None);
    let case = Case::with_keys(running, DESIRED, vec![key]);
    let report = case.watching();
    assert!(case.gate_open() && report.error.is_none());
}

#[test]
fn a_stop_in_the_middle_leaves_the_gate_shut() {
    let case = Case::start(Script {
        journal: true,
        recover: [Ok(Outcome::Stopped)].into(),
        ..Script::default()
    });
    let end = Instant::now() + Duration::from_secs(20);
    while !case.calls().contains(&"unlock") {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!case.gate_open());
}
