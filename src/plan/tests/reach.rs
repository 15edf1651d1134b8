//! A store that could not start again is not restarted; and what the status says of the master key.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::world::{World, spec};
use crate::api::report::{Finding, KeyCheck, Severity};
use crate::api::v1alpha1::MasterKeyStatus;
use crate::plan::action::Plan;
use crate::plan::observed::{KeyProbe, MasterKeyClass, MasterKeyProof};

fn lost(code: &str, now: Timestamp) -> KeyCheck {
    KeyCheck {
        checked_at: now,
        last_success: None,
        latency_milliseconds: None,
        error: Some(Finding {
            code: code.into(),
            severity: Severity::Error,
            message: "KMS key alias/k does not answer".into(),
            remedy: "Check the way.".into(),
            path: None,
        }),
    }
}

fn reachable(plan: &Plan) -> (String, String, String) {
    let all = &plan.status.conditions;
    let one = all
        .iter()
        .find(|one| one.type_ == "MasterKeyReachable")
        .unwrap();
    (one.status.clone(), one.reason.clone(), one.message.clone())
}

#[test]
fn a_store_whose_agent_lost_the_key_is_shown_before_and_not_restarted() {
    let mut world = World::new(spec(), true);
    world.settle();
    let now = world.now;
    world
        .keys
        .insert("tikv-1".into(), lost("MasterKeyUnavailable", now));
    world.reconcile(None);
    let plan = world.reconcile(None);
    let (status, reason, message) = reachable(&plan);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "StoreCutOff"));
    for word in [
        "tikv-1",
        "could not start again",
        "KMS key alias/k does not answer",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }

    // The others are restarted for it; this one is not.
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    let from = world.log.len();
    for _ in 0..200 {
        world.reconcile(None);
    }
    let restarted = |world: &World| -> Vec<String> {
        let lines = world.log[from..].iter();
        lines
            .filter(|line| line.starts_with("DeletePod"))
            .cloned()
            .collect()
    };
    assert_eq!(restarted(&world), ["DeletePod tikv-2", "DeletePod tikv-0"]);
    assert!(world.pd().evicting.is_empty(), "its leaders stay");
    let waiting = world
        .seen
        .resource
        .status
        .as_ref()
        .unwrap()
        .rollout
        .waiting_for
        .clone();
    assert!(waiting.unwrap().contains("tikv-1 to open its keys"));

    world.keys.clear();
    world.settle();
    assert_eq!(restarted(&world).len(), 3);
}

#[test]
fn an_agent_with_old_credentials_does_not_forbid_the_restart_that_brings_new_ones() {
    let mut world = World::new(spec(), true);
    world.settle();
    let now = world.now;
    world
        .keys
        .insert("tikv-1".into(), lost("MasterKeyDenied", now));
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    world.settle();
}

fn vault(address: &str) -> serde_json::Value {
    json!({"vaultTransit": {"address": address, "key": "k", "auth": {"kubernetes": {"role": "tikv"}}}})
}

fn pods_deleted(world: &World, from: usize) -> usize {
    let lines = world.log[from..].iter();
    lines.filter(|line| line.starts_with("DeletePod")).count()
}

/// The agent asks Vault, and not only the key in memory: a store that runs from memory alone is left running.
#[test]
fn a_store_that_vault_is_closed_to_is_not_restarted_unless_it_would_ask_elsewhere() {
    let mut spec = spec();
    spec["encryption"]["masterKey"] = vault("https://vault:8200");
    let mut world = World::new(spec, true);
    world.settle();
    let now = world.now;
    for pod in ["tikv-0", "tikv-1", "tikv-2"] {
        world
            .keys
            .insert(pod.into(), lost("MasterKeyUnavailable", now));
    }
    let from = world.log.len();
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    let grace = &mut world
        .seen
        .resource
        .spec
        .encryption
        .as_mut()
        .unwrap()
        .master_key;
    grace.vault_transit.as_mut().unwrap().offline_grace = Some("1h".parse().unwrap());
    for _ in 0..100 {
        world.reconcile(None);
    }
    assert_eq!(
        pods_deleted(&world, from),
        0,
        "the same Vault would be asked"
    );
    let (_, reason, _) = reachable(&world.reconcile(None));
    assert_eq!(reason, "StoreCutOff");

    // Vault has moved, and the operator has proven the key at its new address.
    let encryption = world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.master_key = serde_json::from_value(vault("https://elsewhere:8200")).unwrap();
    for _ in 0..200 {
        world.reconcile(None);
        let moved = world.seen.tikv.pods.iter().filter(|pod| {
            let spec = format!("{:?}", pod.spec);
            spec.contains("elsewhere")
        });
        let names: Vec<String> = moved.filter_map(|pod| pod.metadata.name.clone()).collect();
        for name in names {
            world.keys.remove(&name);
        }
    }
    assert_eq!(pods_deleted(&world, from), 3);
    world.settle();
}

#[test]
fn a_rest_is_written_to_once_in_five_minutes_and_a_change_at_once() {
    let mut world = World::new(spec(), true);
    world.settle();
    let mut writes = 0;
    let mut last: Option<MasterKeyStatus> = None;
    let begun = world.now;
    while world.now.duration_since(begun) < SignedDuration::from_hours(1) {
        world.seen.key_probe = Some(KeyProbe {
            checked_at: world.now,
            latency_milliseconds: 12,
        });
        let plan = world.reconcile(None);
        writes += u32::from(plan.status.master_key != last);
        last = plan.status.master_key;
    }
    assert!((10..=13).contains(&writes), "{writes} writes an hour");
    let good = last.unwrap();
    assert_eq!(
        (good.kind.as_str(), good.key.as_str()),
        ("awsKms", "alias/k in eu-1")
    );
    assert_eq!(good.latency_milliseconds, Some(12));
    assert!(good.last_success.is_some() && good.last_success == good.checked_at);

    world.seen.master_key = MasterKeyProof::Refused {
        class: MasterKeyClass::Unavailable,
        message: "no answer".into(),
        remedy: "Wait.".into(),
    };
    let now = world.now;
    world.seen.key_probe = Some(KeyProbe {
        checked_at: now,
        latency_milliseconds: 15000,
    });
    let bad = world.reconcile(None).status.master_key.unwrap();
    assert_eq!(bad.last_success, good.last_success);
    assert!(bad.checked_at > good.checked_at);
}
