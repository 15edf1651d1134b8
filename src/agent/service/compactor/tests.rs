//! Against a played TiKV: what is asked for, when, and what is told meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::{Compactor, Rhythm, Tikv};
use crate::agent::service::board::Board;
use crate::agent::service::desired::DesiredFile;
use crate::agent::service::store::Measurement;
use crate::api::compaction::{Amount, CompactionReport, CompactionState, OldKeys};
use crate::api::report::Coverage;
use crate::tikv::debug_service::tests::played;

const LIMIT: &str = "2026-03-01T00:00:00Z";
const FAMILIES: [&str; 4] = ["default", "write", "lock", "raft"];

/// What the played TiKV was asked, and how it answers.
#[derive(Default)]
struct Script {
    calls: Vec<String>,
    /// Status of the next answers by call; without one it is success.
    answers: BTreeMap<&'static str, Vec<&'static str>>,
    /// Bytes of tables under old data keys after a column family was compacted.
    left: Option<u64>,
}

struct Case {
    directory: TempDir,
    board: Arc<Board>,
    script: Arc<Mutex<Script>>,
    /// One permit for each call that may end.
    leave: Arc<Semaphore>,
}

impl Case {
    async fn start(script: Script, turn: &str, leave: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let board = Arc::new(Board::new(Path::new("/var/lib/tikv")));
        board.gate_opened();
        board.generation(1);
        let case = Self {
            directory,
            board: board.clone(),
            script: Arc::new(Mutex::new(script)),
            leave: Arc::new(Semaphore::new(leave)),
        };
        case.tell(turn);
        let (script, leave, kept) = (case.script.clone(), case.leave.clone(), board.clone());
        let service = played(move |path, body| {
            let (script, leave, board) = (script.clone(), leave.clone(), kept.clone());
            async move {
                let call = call(&path, &body);
                script.lock().unwrap().calls.push(call.clone());
                leave.acquire().await.unwrap().forget();
                let mut script = script.lock().unwrap();
                let next = script.answers.iter_mut().find(|(name, _)| call == **name);
                let status = next.and_then(|(_, all)| all.pop()).unwrap_or("0");
                if let Some(left) = script.left.filter(|_| status == "0" && call != "wait") {
                    measure(&board, left);
                }
                (status, "as played")
            }
        })
        .await;
        let compactor = Compactor {
            desired: DesiredFile::new(case.desired()),
            board,
            identity: case.directory.path().to_owned(),
            pod: "tikv-1".to_owned(),
            tikv: Tikv {
                endpoint: service.endpoint,
                tls: false,
            },
            rhythm: Rhythm {
                look: Duration::from_millis(2),
                settle: Duration::ZERO,
                retry: Duration::from_millis(5),
                longest_retry: Duration::from_millis(20),
            },
        };
        tokio::spawn(compactor.run());
        case
    }

    fn desired(&self) -> std::path::PathBuf {
        self.directory.path().join("desired.json")
    }

    fn tell(&self, turn: &str) {
        let text = format!(
            r#"{{"generation":1,"method":"aes256-ctr","reencrypt":true,"dataKeyNotBefore":"{LIMIT}","compaction":{{"threads":1,"turn":"{turn}"}}}}"#
        );
        let next = self.directory.path().join("next.json");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.desired()).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        self.script.lock().unwrap().calls.clone()
    }

    /// Measures again and again, as the agent does, until it is so.
    async fn until(&self, left: u64, what: impl Fn(&CompactionReport, &[String]) -> bool) {
        let wait = async {
            loop {
                if self.script.lock().unwrap().left.is_none() {
                    measure(&self.board, left);
                }
                let report = self.board.report().compaction.unwrap_or_default();
                if what(&report, &self.calls()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(
            done.is_ok(),
            "{:?} {:?}",
            self.board.report().compaction,
            self.calls()
        );
    }
}

/// `wait`, or the column family of a compaction.
fn call(path: &str, body: &[u8]) -> String {
    if path.ends_with("GetStoreInfo") {
        return "wait".to_owned();
    }
    let text = String::from_utf8_lossy(body).into_owned();
    let family = FAMILIES.iter().find(|family| text.contains(**family));
    (*family.unwrap()).to_owned()
}

fn measure(board: &Board, left: u64) {
    measured(board, left, "2026-03-01T00:00:01Z");
}

fn measured(board: &Board, left: u64, key_made: &str) {
    let coverage = Coverage {
        current_data_key_made_at: Some(key_made.parse().unwrap()),
        old_keys: Some(OldKeys {
            made_before: LIMIT.parse().unwrap(),
            tables: Amount {
                files: left.min(1),
                bytes: left,
            },
            until_restart: Vec::new(),
        }),
        ..Coverage::default()
    };
    let measurement = Measurement {
        coverage,
        satisfied: left == 0,
        ..Measurement::default()
    };
    board.measured(measurement, Timestamp::now());
}

#[tokio::test]
async fn earlier_calls_are_awaited_then_all_column_families_are_compacted_once() {
    let case = Case::start(Script::default(), "tikv-1", 3).await;
    case.until(100, |report, _| {
        report.column_family.as_deref() == Some("lock") && report.state == CompactionState::Running
    })
    .await;
    let report = case.board.report().compaction.unwrap();
    assert_eq!((report.bytes_total, report.passes), (100, 0));
    case.leave.add_permits(1000);
    case.until(0, |report, _| {
        report.passes == 1 || report.finished_at.is_some()
    })
    .await;
    case.until(0, |report, _| report.finished_at.is_some())
        .await;
    let calls = case.calls();
    assert_eq!(calls[..4], ["wait", "default", "write", "lock"]);
    assert_eq!(
        calls.iter().filter(|call| *call == "default").count(),
        1,
        "{calls:?}"
    );
    assert!(case.board.report().compaction.unwrap().error.is_none());
}

#[tokio::test]
async fn no_column_family_is_compacted_for_nothing() {
    let script = Script {
        left: Some(0),
        ..Script::default()
    };
    let case = Case::start(script, "tikv-1", 1000).await;
    measure(&case.board, 100);
    case.until(100, |_, calls| calls == ["wait"]).await;
    // The measurement after the wait.
    tokio::time::sleep(Duration::from_millis(5)).await;
    measure(&case.board, 100);
    case.until(0, |report, _| report.finished_at.is_some())
        .await;
    assert_eq!(case.calls(), ["wait", "default"]);
}

#[tokio::test]
async fn nothing_is_asked_out_of_turn_or_while_tikv_writes_under_an_old_key() {
    let case = Case::start(Script::default(), "tikv-2", 1000).await;
    for _ in 0..20 {
        measure(&case.board, 100);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(case.calls().is_empty());
    measured(&case.board, 100, "2026-02-28T23:59:59Z");
    case.tell("tikv-1");
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(case.calls().is_empty());
    case.until(100, |_, calls| calls.len() > 1).await;
    assert_eq!(case.calls()[..2], ["wait", "default"]);
}

#[tokio::test]
async fn a_lost_turn_ends_the_pass_after_the_present_column_family() {
    let case = Case::start(Script::default(), "tikv-1", 1).await;
    case.until(100, |_, calls| calls == ["wait", "default"])
        .await;
    case.tell("tikv-0");
    case.leave.add_permits(1000);
    case.until(100, |report, _| {
        report.state == CompactionState::Idle && report.bytes_total == 100
    })
    .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(case.calls(), ["wait", "default"]);
}

#[tokio::test]
async fn a_failure_is_told_waited_out_and_tried_again() {
    let answers = [("default", vec!["14", "14"]), ("raft", vec!["3"; 9])];
    let script = Script {
        answers: answers.into(),
        ..Script::default()
    };
    let case = Case::start(script, "tikv-1", 1000).await;
    case.until(100, |report, _| report.error.is_some()).await;
    let error = case.board.report().compaction.unwrap().error.unwrap();
    assert_eq!(error.code, "DebugServiceFailed");
    assert!(error.message.contains("as played"), "{}", error.message);
    case.until(100, |report, _| report.passes == 1).await;
    let calls = case.calls();
    // After a call of which nobody knows how it ended, earlier ones are awaited again.
    assert_eq!(
        calls[..6],
        ["wait", "default", "wait", "default", "wait", "default"]
    );
    // An older TiKV that does not compact the last one is no failure.
    assert!(case.board.report().compaction.unwrap().error.is_none());
}

#[tokio::test]
async fn what_does_not_help_is_given_up() {
    let case = Case::start(Script::default(), "tikv-1", 1000).await;
    case.until(100, |report, _| report.state == CompactionState::GivenUp)
        .await;
    for _ in 0..20 {
        measure(&case.board, 100);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let error = case.board.report().compaction.unwrap().error.unwrap();
    assert_eq!(error.code, "CompactionIncomplete");
    assert_eq!(case.calls().len(), 1 + 3 * FAMILIES.len());
}

#[test]
fn a_store_is_dialled_by_a_name_that_its_certificate_has_too() {
    use super::shared_name;
    use crate::api::v1alpha1::KeyAlgorithm;
    use crate::tls::authority::Authority;
    use crate::tls::leaf::LeafSpec;
    use crate::tls::parse::parse_one;
    let now = Timestamp::now();
    let day = jiff::SignedDuration::from_hours(24);
    let ca = Authority::generate("ca", now, day * 2).unwrap();
    let own = |dns: &[&str]| {
        let spec = LeafSpec {
            subject: crate::api::v1alpha1::Subject::default(),
            common_name: "agent.demo.tikv.tikv-security".to_owned(),
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            ips: std::iter::empty().collect(),
            duration: day,
            key: KeyAlgorithm::EcdsaP256,
        };
        parse_one(ca.issue(&spec, now).unwrap().certificate_pem.as_bytes()).unwrap()
    };
    let usual = own(&["localhost", "demo-tikv.tikv.svc"]);
    assert_eq!(shared_name(&usual, "localhost"), None);
    // The common name is the agent's alone, and a wildcard is no name to dial.
    let checked = own(&[
        "*.peer.tikv.svc",
        "agent.demo.tikv.tikv-security",
        "demo-tikv.tikv.svc",
    ]);
    let name = shared_name(&checked, "localhost");
    assert_eq!(name.as_deref(), Some("demo-tikv.tikv.svc"));
}
