//! Policies: what violates one, where it holds, and that a cluster that runs is not hurt by a new one.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::v1alpha1::condition;
use crate::api::v1alpha1::{Phase, TikvSecurityPolicy};
use crate::plan::policy::satisfied;

fn policy(name: &str, spec: Value) -> TikvSecurityPolicy {
    let mut policy = TikvSecurityPolicy::new(name, serde_json::from_value(spec).unwrap());
    policy.metadata.name = Some(name.to_owned());
    policy
}

/// What a policy says to the usual specification.
fn said(demands: Value) -> Option<String> {
    let mut world = World::new(spec(), false);
    world.seen.policies.push(policy("p", demands));
    satisfied(&world.seen).err().map(|blocker| {
        assert_eq!(blocker.reason, "PolicyViolated");
        blocker.message
    })
}

#[test]
fn a_copy_goes_only_where_it_may() {
    let mut world = World::new(spec(), false);
    let export = json!([{"awsSecretsManager": {"name": "x", "region": "eu-central-1"}}]);
    world.seen.resource.spec.tls.as_mut().unwrap().export = serde_json::from_value(export).unwrap();
    for (allowed, message) in [
        (json!(["vault", "awsSecretsManager"]), None),
        (
            json!(["vault"]),
            Some("spec.tls.export is awsSecretsManager, allowed: vault"),
        ),
        (
            json!([]),
            Some("spec.tls.export is awsSecretsManager, allowed: none"),
        ),
    ] {
        let demands = json!({"tls": {"exportTargets": allowed}});
        world.seen.policies = vec![policy("p", demands)];
        let said = satisfied(&world.seen).err().map(|blocker| blocker.message);
        let message = message.map(|message| format!("TikvSecurityPolicy p: {message}"));
        assert_eq!(said, message);
    }
    assert_eq!(said(json!({"tls": {"exportTargets": []}})), None);
}

#[test]
fn each_demand_is_made_with_what_was_found_and_what_is_allowed() {
    for (demands, message) in [
        (json!({}), None),
        (
            json!({"tls": {"required": true}, "encryption": {"required": true}}),
            None,
        ),
        (
            json!({"environments": ["staging", "development"]}),
            Some("spec.environment is production, allowed: staging, development"),
        ),
        (json!({"environments": ["production"]}), None),
        (
            json!({"tls": {"maxDuration": "719h"}}),
            Some("spec.tls.duration is 720h, allowed: at most 719h"),
        ),
        (json!({"tls": {"maxDuration": "720h"}}), None),
        (
            json!({"tls": {"issuers": ["vault", "caSecret"]}}),
            Some("spec.tls.issuer is selfSigned, allowed: vault, caSecret"),
        ),
        (json!({"tls": {"issuers": ["selfSigned"]}}), None),
        (
            json!({"tls": {"keyAlgorithms": ["Rsa4096"]}}),
            Some("spec.tls.keyAlgorithm is EcdsaP256, allowed: Rsa4096"),
        ),
        (
            json!({"encryption": {"methods": ["sm4-ctr", "aes128-ctr"]}}),
            Some("spec.encryption.method is aes256-ctr, allowed: sm4-ctr, aes128-ctr"),
        ),
        (json!({"encryption": {"methods": ["aes256-ctr"]}}), None),
        (
            json!({"encryption": {"masterKeys": ["gcpKms", "azureKeyVault", "file"]}}),
            Some("spec.encryption.masterKey is awsKms, allowed: gcpKms, azureKeyVault, file"),
        ),
        (json!({"encryption": {"masterKeys": ["awsKms"]}}), None),
        (
            json!({"encryption": {"maxDataKeyRotationPeriod": "24h"}}),
            Some("spec.encryption.dataKeyRotationPeriod is 168h, allowed: at most 24h"),
        ),
        (
            json!({"encryption": {"reencryptionPolicies": ["Always"]}}),
            Some("spec.encryption.reencryption.policy is OnRotation, allowed: Always"),
        ),
    ] {
        let expected = message.map(|message| format!("TikvSecurityPolicy p: {message}"));
        assert_eq!(said(demands.clone()), expected, "{demands}");
    }
}

#[test]
fn what_is_required_must_be_there_and_nothing_is_asked_of_what_is_not() {
    let mut world = World::new(spec(), false);
    world.seen.resource.spec.encryption = None;
    let demands = json!({"encryption": {"methods": ["sm4-ctr"]}});
    world.seen.policies = vec![policy("p", demands)];
    assert_eq!(satisfied(&world.seen), Ok(()));
    let demands = json!({"encryption": {"required": true}});
    world.seen.policies = vec![policy("p", demands)];
    let message = satisfied(&world.seen).unwrap_err().message;
    assert!(message.contains("spec.encryption is required"), "{message}");
}

#[test]
fn a_policy_holds_where_all_its_labels_are() {
    let mut world = World::new(spec(), false);
    let labels = json!({"data": "payments", "stage": "live"});
    let demands = json!({"namespaceLabels": labels, "environments": ["staging"]});
    world.seen.policies = vec![policy("p", demands)];
    let mut holds = |labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(key, value)| (String::from(*key), String::from(*value)));
        world.seen.namespace_labels = labels.collect();
        satisfied(&world.seen).is_err()
    };
    assert!(!holds(&[]));
    assert!(!holds(&[("data", "payments")]));
    assert!(!holds(&[("data", "payments"), ("stage", "test")]));
    assert!(holds(&[
        ("data", "payments"),
        ("stage", "live"),
        ("more", "")
    ]));
}

#[test]
fn several_policies_hold_together() {
    let mut world = World::new(spec(), false);
    world.seen.policies = vec![
        policy(
            "one",
            json!({"environments": ["staging"], "tls": {"maxDuration": "24h"}}),
        ),
        policy("two", json!({"encryption": {"methods": ["sm4-ctr"]}})),
    ];
    let message = satisfied(&world.seen).unwrap_err().message;
    assert!(
        message.starts_with("TikvSecurityPolicy one: spec.environment"),
        "{message}"
    );
    assert!(message.ends_with("(and 2 more)"), "{message}");
}

#[test]
fn a_new_policy_begins_nothing_and_hurts_nothing() {
    let mut world = World::new(spec(), true);
    world.settle();
    let demands = json!({"encryption": {"methods": ["sm4-ctr"]}});
    world.seen.policies = vec![policy("p", demands)];
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(plan.status.phase, Some(Phase::Blocked));
    let untrue = plan
        .status
        .conditions
        .iter()
        .filter(|one| one.status == "False" && one.type_ != condition::DRIFT);
    let untrue: Vec<_> = untrue.map(|one| one.type_.as_str()).collect();
    assert_eq!(untrue, ["Ready"], "what is true stays said");
    assert_eq!(plan.events.len(), 1, "{:?}", plan.events);
    assert!(world.reconcile(None).events.is_empty(), "told once");

    // Nothing new, but certificates do not end because of it.
    world.seen.resource.spec.rotate.data_key = Some("again".into());
    assert!(world.reconcile(None).actions.is_empty());
    world.now += SignedDuration::from_hours(500);
    world.kubernetes();
    let from = world.log.len();
    world.reconcile(None);
    assert_eq!(world.log[from..], ["IssueLeaf"; 4]);

    // What satisfies it goes on.
    world.seen.policies.clear();
    world.reconcile(None);
    world.settle();
}
