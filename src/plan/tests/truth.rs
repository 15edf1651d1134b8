//! Each condition says what is true of its own subject, whatever else is the matter.

use jiff::SignedDuration;
use serde_json::json;

use super::world::{World, spec};
use crate::api::report::{Finding, Severity};
use crate::api::v1alpha1::{Phase, TikvSecurityStatus};
use crate::plan::action::Plan;
use crate::plan::observed::{MasterKeyClass, MasterKeyProof};
use crate::tikv::pd::Task;

fn untrue(status: &TikvSecurityStatus) -> Vec<&str> {
    let bad = |one: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        (one.status == "True") == matches!(one.type_.as_str(), "Blocked" | "Drift")
    };
    status
        .conditions
        .iter()
        .filter(bad)
        .map(|one| one.type_.as_str())
        .collect()
}

fn said(plan: &Plan, kind: &str) -> (String, String) {
    let found = plan.status.conditions.iter().find(|one| one.type_ == kind);
    let found = found.unwrap();
    (found.reason.clone(), found.message.clone())
}

fn refused() -> MasterKeyProof {
    MasterKeyProof::Refused {
        class: MasterKeyClass::Unavailable,
        message: "KMS key alias/k does not answer".into(),
        remedy: "Check the way.".into(),
    }
}

fn problem(code: &str) -> Finding {
    Finding {
        code: code.into(),
        severity: Severity::Error,
        message: "file.dict is damaged: record 7".into(),
        remedy: "restore it from a snapshot".into(),
        path: None,
    }
}

#[test]
fn a_finished_cluster_without_its_kms_lacks_only_that() {
    let mut world = World::new(spec(), true);
    world.settle();
    world.seen.master_key = refused();
    let plan = world.reconcile(None);
    assert_eq!(untrue(&plan.status), ["Ready", "MasterKeyReachable"]);
    assert_eq!(said(&plan, "Ready").0, "MasterKeyUnavailable");
    assert_eq!(plan.status.phase, Some(Phase::Degraded));
    assert_eq!(plan.events.len(), 1, "{:?}", plan.events);
    assert!(world.reconcile(None).events.is_empty(), "told once");

    // Only what would need it is blocked by it.
    world.seen.resource.spec.rotate.data_key = Some("again".into());
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(said(&plan, "Blocked").0, "MasterKeyUnavailable");
    let truth = [
        "Ready",
        "ConfigurationCurrent",
        "MasterKeyReachable",
        "Blocked",
    ];
    assert_eq!(untrue(&plan.status), truth);
}

/// An outage may last for days: PD is not left with what was lent for the minutes of a restart.
#[test]
fn pd_has_everything_back_while_a_rollout_waits_for_its_kms() {
    let mut world = World::new(spec(), true);
    world.settle();
    let from = world.log.len();
    world.seen.resource.spec.rotate.data_key = Some("again".into());
    while !world.log[from..]
        .iter()
        .any(|line| line.starts_with("DeletePod"))
    {
        world.reconcile(None);
    }
    assert_ne!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
    world.seen.master_key = refused();
    for _ in 0..40 {
        world.reconcile(None);
    }
    assert!(world.pd().evicting.is_empty());
    assert_eq!(world.pd().maintenance, None);
    assert_eq!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
    let rollout = world.seen.resource.status.clone().unwrap().rollout;
    assert!(rollout.evicting.is_empty() && rollout.restore_max_store_down_time.is_none());
    world.seen.master_key = MasterKeyProof::Usable;
    world.settle();
    assert_eq!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
}

#[test]
fn leaves_are_renewed_without_the_kms() {
    let mut world = World::new(spec(), true);
    world.settle();
    world.seen.master_key = refused();
    world.now += SignedDuration::from_hours(500);
    world.kubernetes();
    let from = world.log.len();
    world.reconcile(None);
    assert_eq!(world.log[from..], ["IssueLeaf"; 4]);
}

#[test]
fn a_ca_that_ends_is_said_long_before_with_date_and_next_step() {
    let mut world = World::new(spec(), true);
    let start = world.now;
    world.settle();
    // Otherwise it would be rotated before.
    world.seen.resource.spec.rollout.paused = true;
    let end = start + SignedDuration::from_hours(87_600);
    let at = |world: &mut World, hours: i64| {
        world.now = end - SignedDuration::from_hours(hours);
        world.kubernetes();
        for _ in 0..5 {
            world.reconcile(None);
        }
        world.reconcile(None)
    };
    assert_eq!(
        said(&at(&mut world, 1010), "CertificatesReady").0,
        "AsDesired"
    );

    let plan = at(&mut world, 900);
    let (reason, message) = said(&plan, "CertificatesReady");
    assert_eq!((reason.as_str(), untrue(&plan.status).len()), ("CaEnds", 0));
    for word in ["db-ca", "2035-12-30", "delete the Secrets", "db-client-tls"] {
        assert!(message.contains(word), "{word}: {message}");
    }

    let plan = at(&mut world, 200);
    assert_eq!(untrue(&plan.status), ["Ready", "CertificatesReady"]);
    assert_eq!(said(&plan, "Ready").0, "CaEnds");

    let plan = at(&mut world, -1);
    assert_eq!(said(&plan, "Blocked").0, "CaExpired");
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
}

#[test]
fn an_agent_that_can_not_measure_says_why() {
    let mut world = World::new(spec(), true);
    world.settle();
    world.seen.resource.spec.encryption.as_mut().unwrap().method =
        crate::api::method::Method::Sm4Ctr;
    world.reconcile(None);
    let mut error = problem("MasterKeyUnavailable");
    error.message = "KMS key alias/k does not answer: timeout".into();
    error.remedy = "check the network policy".into();
    world.says.insert("tikv-1".into(), error);
    for _ in 0..40 {
        world.reconcile(None);
    }
    let plan = world.reconcile(None);
    let (reason, message) = said(&plan, "DataEncrypted");
    assert_eq!(reason, "AgentError");
    assert_eq!(
        message,
        "tikv-1: KMS key alias/k does not answer: timeout. Check the network policy."
    );
    assert_eq!(plan.status.phase, Some(Phase::Degraded));
}

#[test]
fn a_damaged_store_that_runs_is_not_restarted() {
    let mut world = World::new(spec(), true);
    world.settle();
    world
        .says
        .insert("tikv-0".into(), problem("FileDictionaryDamaged"));
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    let from = world.log.len();
    for _ in 0..50 {
        world.reconcile(None);
    }
    assert!(
        !world.log[from..]
            .iter()
            .any(|line| line.contains("DeletePod"))
    );
    assert!(world.pd().evicting.is_empty() && world.pd().maintenance.is_none());
    let plan = world.reconcile(None);
    let (reason, message) = said(&plan, "Blocked");
    assert_eq!(reason, "StoreDamaged");
    for word in [
        "tikv-0 (store 1)",
        "record 7",
        "Restore it from a snapshot.",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    // The TLS of the cluster and its configuration have nothing to do with it.
    assert_eq!(said(&plan, "CertificatesReady").0, "AsDesired");
    assert_eq!(said(&plan, "ConfigurationCurrent").0, "AsDesired");

    world.says.clear();
    world.settle();
}

#[test]
fn somebody_elses_maintenance_is_waited_for() {
    let mut world = World::new(spec(), true);
    world.pd().maintenance = Some(Task {
        kind: "tikv".into(),
        id: "backup-7".into(),
        description: "nightly".into(),
    });
    for _ in 0..50 {
        world.reconcile(None);
    }
    assert!(world.pd().evicting.is_empty());
    assert!(!world.log.iter().any(|line| line.contains("DeletePod tikv")));
    let status = world.seen.resource.status.clone().unwrap();
    let waiting = status.rollout.waiting_for.unwrap();
    assert!(waiting.contains("tikv/backup-7 (nightly)"), "{waiting}");
    assert!(status.rollout.evicting.is_empty());
    world.pd().maintenance = None;
    world.settle();
}

#[test]
fn a_lock_that_a_crash_left_is_given_back() {
    let mut world = World::new(spec(), true);
    world.settle();
    world.pd().maintenance = Some(Task {
        kind: "tikv".into(),
        id: "db.prod.tikv-security".into(),
        description: String::new(),
    });
    world.reconcile(None);
    assert_eq!(world.pd().maintenance, None);
}

#[test]
fn a_hook_that_speaks_plaintext_is_refused_by_name() {
    let mut world = World::new(spec(), true);
    let set = world.seen.tikv.stateful_set.as_mut().unwrap();
    let mut value = serde_json::to_value(&*set).unwrap();
    value["spec"]["template"]["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["curl", "http://127.0.0.1:20180/pause"]}}});
    *set = serde_json::from_value(value).unwrap();
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    let (reason, message) = said(&plan, "Blocked");
    assert_eq!(reason, "HookSpeaksPlaintext");
    for word in [
        "preStop",
        "container tikv",
        "StatefulSet tikv",
        "/var/lib/tikv-tls",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn urls_in_a_script_elsewhere_are_told_where_to_go() {
    let mut world = World::new(spec(), true);
    let set = world.seen.pd.stateful_set.as_mut().unwrap();
    let mut value = serde_json::to_value(&*set).unwrap();
    value["spec"]["template"]["spec"]["containers"][0]["args"] =
        json!(["/scripts/start.sh", "--config=/etc/pd/pd.toml"]);
    *set = serde_json::from_value(value).unwrap();
    let script = json!({
        "metadata": {"name": "pd-scripts"},
        "data": {"start.sh": "exec /pd-server --client-urls=http://0.0.0.0:2379 --peer-urls=http://0.0.0.0:2380"},
    });
    let script = serde_json::from_value(script).unwrap();
    world
        .seen
        .pd
        .config_maps
        .insert("pd-scripts".into(), script);
    let plan = world.reconcile(None);
    let (reason, message) = said(&plan, "Blocked");
    assert_eq!(reason, "PdUrlsUnknown");
    for word in [
        "StatefulSet pd",
        "ConfigMap pd-scripts",
        "pd.toml of ConfigMap pd-config",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
}
