//! Bad input: refused before anything changes, with object, cause and next step.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::world::{World, spec};
use crate::plan::observed::{MasterKeyClass, MasterKeyProof, SecretContent, SecretFacts};

/// What was refused: name of the case, expected reason, and a word that the message must have.
fn refused(case: &str, world: &mut World, reason: &str, word: &str) {
    let plan = world.reconcile(None);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(
        (blocked.status.as_str(), blocked.reason.as_str()),
        ("True", reason),
        "{case}: {}",
        blocked.message
    );
    assert!(
        blocked.message.contains(word),
        "{case}: {}",
        blocked.message
    );
    assert!(plan.actions.is_empty(), "{case}: {:?}", plan.actions);
    assert_eq!(plan.events.len(), 1, "{case}");
    assert!(world.reconcile(None).events.is_empty(), "{case}: told once");
}

#[test]
fn what_the_specification_forbids() {
    let file = json!({"file": {"secret": {"name": "mk", "key": "k"}}});
    let kms = json!({"awsKms": {"keyId": "k", "region": "r"}, "file": file["file"]});
    for (case, path, value, reason, word) in [
        (
            "file key",
            "/encryption/masterKey",
            file,
            "ForbiddenInProduction",
            "awsKms",
        ),
        (
            "two keys",
            "/encryption/masterKey",
            kms,
            "InvalidSpec",
            "exactly one",
        ),
        (
            "plaintext",
            "/encryption/method",
            json!("plaintext"),
            "ForbiddenInProduction",
            "aes256-ctr",
        ),
        (
            "name",
            "/tls/extraSans",
            json!(["https://x"]),
            "InvalidSpec",
            "https://x",
        ),
        (
            "target",
            "/cluster/tikv/statefulSet/container",
            json!("nope"),
            "ContainerNotFound",
            "nope",
        ),
    ] {
        let mut spec = spec();
        let (parent, key) = path.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[key] = value;
        refused(case, &mut World::new(spec, true), reason, word);
    }
}

#[test]
fn what_the_cluster_lacks() {
    let mut world = World::new(spec(), true);
    world.seen.tikv.stateful_set = None;
    refused("no target", &mut world, "TargetNotFound", "tikv");

    let mut world = World::new(spec(), true);
    world
        .seen
        .tikv
        .config_maps
        .get_mut("tikv-config")
        .unwrap()
        .data = Some([("x".into(), "y".into())].into());
    refused("no TOML", &mut world, "ConfigMapWithoutToml", "tikv");

    let mut world = World::new(spec(), true);
    world
        .seen
        .tikv
        .config_maps
        .get_mut("tikv-config")
        .unwrap()
        .data = Some([("tikv.toml".into(), "a = = 1".into())].into());
    refused("broken TOML", &mut world, "ConfigMapUnreadable", "line 1");

    let mut world = World::new(spec(), true);
    world.seen.secrets.insert(
        "db-ca".into(),
        SecretFacts {
            metadata: ObjectMeta::default(),
            content: SecretContent::Unusable("empty".into()),
        },
    );
    refused("foreign", &mut world, "ForeignObject", "db-ca");

    let mut world = World::new(spec(), true);
    world.seen.master_key = MasterKeyProof::Refused {
        class: MasterKeyClass::Denied,
        message: "KMS key alias/k: access denied".into(),
        remedy: "Grant kms:Decrypt".into(),
    };
    refused("denied", &mut world, "MasterKeyDenied", "Grant");

    let mut world = World::new(spec(), true);
    world.seen.pd_state = crate::plan::observed::PdState::NotAsked;
    world.seen.tikv.pods.clear();
    let mut other = world.seen.resource.clone();
    other.metadata.uid = Some("another".into());
    other.metadata.name = Some("older".into());
    other.metadata.uid = Some("a".into());
    world.seen.others.push(other);
    refused("claimed", &mut world, "TargetClaimed", "older");
}
