//! Mode Compaction: no store restarts, one compacts at a time, and nothing is called done that is not.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::world::{World, spec};
use crate::api::compaction::{Amount, CompactionReport, CompactionState, KindAmount, OldKeys};
use crate::api::method::Method;
use crate::api::report::{Coverage, Finding, KeyUse, Severity};
use crate::api::v1alpha1::{
    Phase, ReencryptionMode, ReencryptionPolicy, TikvSecurityStatus, VolumePhase,
};
use crate::plan::action::{Action, Plan};
use crate::plan::keys::{Told, told};
use crate::plan::plan;

const PODS: [&str; 3] = ["tikv-2", "tikv-1", "tikv-0"];

/// A cluster that is Ready in mode Restart and was then asked for a new data key in mode Compaction.
struct Case {
    world: World,
    asked: Timestamp,
}

impl Case {
    fn new() -> Self {
        let mut world = World::new(spec(), true);
        world.settle();
        let resource = &mut world.seen.resource.spec;
        let encryption = resource.encryption.as_mut().unwrap();
        encryption.reencryption.mode = ReencryptionMode::Compaction;
        resource.rotate.data_key = Some("2026-03".to_owned());
        world.log.clear();
        world.reconcile(None);
        let asked = told(world.seen.agent_config.as_ref()).unwrap();
        let asked = asked.state.data_key_not_before.unwrap();
        let mut case = Self { world, asked };
        for pod in PODS {
            case.measure(pod, 500, 40, SignedDuration::from_secs(1));
        }
        case
    }

    /// A pod's agent says: bytes of tables and of manifests under old keys, and the age of its key after the request.
    fn measure(&mut self, pod: &str, tables: u64, left: u64, key: SignedDuration) {
        let generation = self.told().state.generation;
        let Ok(report) = self.world.seen.agents.get_mut(pod).unwrap() else {
            panic!("{pod} does not answer")
        };
        report.desired_generation = generation;
        report.satisfied = tables == 0;
        report.compaction = None;
        let amount = |bytes: u64| Amount {
            files: bytes.min(1),
            bytes,
        };
        let manifests = KindAmount {
            kind: "manifest".to_owned(),
            files: 1,
            bytes: left,
        };
        report.coverage = Some(Coverage {
            bytes: 1000,
            encrypted_bytes: 1000,
            current_data_key_made_at: Some(self.asked + key),
            old_keys: Some(OldKeys {
                made_before: self.asked,
                tables: amount(tables),
                until_restart: vec![manifests; usize::from(left > 0)],
            }),
            ..Coverage::default()
        });
    }

    fn says(&mut self, pod: &str, change: impl FnOnce(&mut CompactionReport)) {
        let report = self.world.seen.agents.get_mut(pod).unwrap();
        change(report.as_mut().unwrap().compaction.get_or_insert_default());
    }

    fn done(&mut self, pod: &str) {
        self.measure(pod, 0, 40, SignedDuration::from_secs(1));
    }

    fn told(&self) -> Told {
        told(self.world.seen.agent_config.as_ref()).unwrap()
    }

    /// One reconcile that does nothing to the agents.
    fn reconcile(&mut self) -> Plan {
        let plan = plan(&self.world.seen, self.world.now);
        for action in &plan.actions {
            match action {
                Action::ApplyConfigMap(map) => {
                    self.world.seen.agent_config = Some((**map).clone());
                }
                other => panic!("{other:?}"),
            }
        }
        self.world.seen.resource.status = Some(plan.status.clone());
        plan
    }

    fn turn(&mut self) -> Option<String> {
        let plan = self.reconcile();
        assert!(plan.actions.len() < 2, "{:?}", plan.actions);
        self.told().state.compaction.unwrap().turn
    }

    fn data(&mut self) -> (bool, String, String) {
        let status = self.reconcile().status;
        let found = condition(&status, "DataEncrypted");
        (found.0, found.1, found.2)
    }
}

fn condition(status: &TikvSecurityStatus, kind: &str) -> (bool, String, String) {
    let one = status
        .conditions
        .iter()
        .find(|one| one.type_ == kind)
        .unwrap();
    (
        one.status == "True",
        one.reason.clone(),
        one.message.clone(),
    )
}

#[test]
fn stores_get_their_turn_one_after_the_other_and_none_restarts() {
    let mut case = Case::new();
    let generation = case.told().state.generation;
    for pod in PODS {
        assert_eq!(case.turn().as_deref(), Some(pod));
        // It stays, whatever the others say and whether or not its agent answers.
        case.says(pod, |report| report.state = CompactionState::Running);
        assert_eq!(case.turn().as_deref(), Some(pod));
        let answer = case
            .world
            .seen
            .agents
            .insert(pod.to_owned(), Err("silent".to_owned()));
        assert_eq!(case.turn().as_deref(), Some(pod));
        case.world
            .seen
            .agents
            .insert(pod.to_owned(), answer.unwrap());
        assert!(!case.data().0);
        case.done(pod);
    }
    assert_eq!(case.turn(), None);
    assert_eq!(
        case.told().state.generation,
        generation,
        "every agent would have to answer anew"
    );
    let plan = case.reconcile();
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert!(
        !case
            .world
            .log
            .iter()
            .any(|line| line.starts_with("DeletePod"))
    );
}

#[test]
fn what_stays_under_old_keys_until_a_restart_is_said_and_not_called_as_desired() {
    let mut case = Case::new();
    for pod in PODS {
        case.done(pod);
    }
    let (good, reason, text) = case.data();
    assert!(good);
    assert_eq!(reason, "OldKeysUntilRestart");
    for part in [
        "120 bytes in 3 files of 3 stores",
        "manifest 120",
        "mode: Restart",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plan = case.reconcile();
    assert_eq!(plan.status.phase, Some(Phase::Ready));
    let message = plan.status.message.unwrap();
    assert!(
        message.contains("without a restart") && message.contains("120 bytes"),
        "{message}"
    );
    let sum = plan.status.encryption.unwrap();
    assert_eq!(
        (sum.old_key_table_bytes, sum.old_key_bytes_until_restart),
        (0, 120)
    );
    let volume = plan.volumes[0].status.clone().unwrap();
    assert_eq!(volume.phase, Some(VolumePhase::AsDesired));
    assert!(volume.message.unwrap().contains("40 bytes in 1 files stay"));
}

#[test]
fn mode_restart_ends_what_is_left() {
    let mut case = Case::new();
    for pod in PODS {
        case.done(pod);
    }
    case.reconcile();
    let encryption = case.world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.reencryption.mode = ReencryptionMode::Restart;
    case.world.settle();
    for pod in PODS {
        let line = format!("DeletePod {pod}");
        assert!(case.world.log.contains(&line), "{:?}", case.world.log);
    }
}

#[test]
fn a_cluster_that_is_not_well_or_is_paused_gives_no_turn() {
    let mut case = Case::new();
    case.world.pd().down_peers = 1;
    assert_eq!(case.turn(), None);
    assert!(
        case.data().2.contains("a replica that is gone"),
        "{:?}",
        case.data()
    );
    case.world.pd().down_peers = 0;
    case.world.seen.resource.spec.rollout.paused = true;
    assert_eq!(case.turn(), None);
    assert!(
        case.data().2.contains("rollout.paused"),
        "{:?}",
        case.data()
    );
    case.world.seen.resource.spec.rollout.paused = false;
    assert_eq!(case.turn().as_deref(), Some("tikv-2"));
}

#[test]
fn nothing_is_compacted_under_a_data_key_from_before_the_request_and_it_is_said_until_when() {
    let mut case = Case::new();
    for pod in PODS {
        case.measure(pod, 500, 40, SignedDuration::from_hours(-1));
    }
    assert_eq!(case.turn(), None);
    let (good, reason, text) = case.data();
    assert!(!good);
    assert_eq!(reason, "AwaitingDataKey");
    // Made an hour before the request; 168 hours and ten minutes later there is a new one.
    let until = case.asked + SignedDuration::from_hours(167) + SignedDuration::from_mins(10);
    assert!(text.contains(&until.to_string()), "{text}");
    case.measure("tikv-1", 500, 40, SignedDuration::from_secs(9));
    assert_eq!(case.turn().as_deref(), Some("tikv-1"));
}

#[test]
fn keys_that_tikv_made_by_itself_are_new_enough_for_policy_always() {
    let mut case = Case::new();
    for pod in PODS {
        case.measure(pod, 0, 0, SignedDuration::from_hours(100));
    }
    let encryption = case.world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.reencryption.policy = ReencryptionPolicy::Always;
    case.world.now = case.asked + SignedDuration::from_hours(169);
    case.reconcile();
    let limit = case.told().state.data_key_not_before;
    assert_eq!(limit, Some(case.asked + SignedDuration::from_hours(100)));
}

#[test]
fn a_store_that_can_not_go_on_keeps_the_turn_and_its_reason_is_told() {
    let mut case = Case::new();
    case.turn();
    case.says("tikv-2", |report| {
        report.error = Some(Finding {
            code: "CompactionIncomplete".to_owned(),
            severity: Severity::Error,
            message: "tables are left".to_owned(),
            remedy: "look into TiKV's log".to_owned(),
            path: None,
        });
    });
    assert_eq!(case.turn().as_deref(), Some("tikv-2"));
    let (good, reason, text) = case.data();
    assert_eq!((good, reason.as_str()), (false, "CompactionFailed"));
    assert!(text.contains("tikv-2: tables are left"), "{text}");
}

#[test]
fn what_no_compaction_changes_is_told_and_holds_nobody_else() {
    let mut case = Case::new();
    let report = case.world.seen.agents.get_mut("tikv-2").unwrap();
    let coverage = report.as_mut().unwrap().coverage.as_mut().unwrap();
    coverage.by_key = vec![KeyUse {
        key_id: "7".to_owned(),
        method: Method::Aes128Ctr,
        created_at: None,
        files: 1,
        bytes: 9,
    }];
    assert_eq!(case.turn().as_deref(), Some("tikv-1"));
    let (good, reason, text) = case.data();
    assert_eq!((good, reason.as_str()), (false, "CompactionNotEnough"));
    assert!(
        text.contains("tikv-2") && text.contains("mode: Restart"),
        "{text}"
    );
}

#[test]
fn the_first_encryption_another_method_and_senseless_bounds_are_refused_before_anything_changes() {
    let blocked = |world: &mut World| {
        let plan = world.reconcile(None);
        let (is, reason, text) = condition(&plan.status, "Blocked");
        assert!(is && plan.actions.is_empty(), "{:?}", plan.actions);
        (reason, text)
    };
    let with = |reencryption: serde_json::Value| {
        let mut spec = spec();
        spec["encryption"]["reencryption"] = reencryption;
        World::new(spec, true)
    };
    let first = blocked(&mut with(json!({"mode": "Compaction"})));
    assert_eq!(first.0, "CompactionNeedsRestart");
    assert!(first.1.contains("has not begun"), "{}", first.1);
    for bound in [
        json!({"timeLimit": "30m"}),
        json!({"bytesPerSecond": 104_857_600}),
    ] {
        let refused = blocked(&mut with(json!({"mode": "Compaction", "limits": bound})));
        assert_eq!(refused.0, "InvalidSpec");
    }
    let mut case = Case::new();
    case.world
        .seen
        .resource
        .spec
        .encryption
        .as_mut()
        .unwrap()
        .method = Method::Sm4Ctr;
    let other = blocked(&mut case.world);
    assert_eq!(other.0, "CompactionNeedsRestart");
    assert!(
        other.1.contains("aes256-ctr") && other.1.contains("sm4-ctr"),
        "{}",
        other.1
    );
}
