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
    let endpoint = json!({"gcpKms": {"keyId": GOOGLE_KEY, "endpoint": "http://e"}});
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
            "endpoint",
            "/encryption/masterKey",
            endpoint,
            "InvalidSpec",
            "gcp_v2",
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

fn google(kms: serde_json::Value) -> serde_json::Value {
    let mut spec = spec();
    spec["encryption"]["masterKey"] = json!({"gcpKms": kms});
    spec
}

const GOOGLE_KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

#[test]
fn a_tikv_that_does_not_know_the_kms() {
    for (vendor, version, word) in [
        ("gcp", "7.5.3", "from 8.0.0 on"),
        ("gcp_v2", "8.5.6", "from 8.5.7 on"),
        ("gcp_v2", "9.0.0-beta.1", "not yet 9.0.0"),
    ] {
        let mut world = World::new(google(json!({"keyId": GOOGLE_KEY, "vendor": vendor})), true);
        world.pd().stores[1].version = version.into();
        refused(version, &mut world, "TikvTooOld", word);
    }
    // A cluster that never ran says nothing to PD: the tag of its image does.
    let mut world = World::new(google(json!({"keyId": GOOGLE_KEY})), false);
    let set = world.seen.tikv.stateful_set.as_mut().unwrap();
    let pod = set.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    pod.containers[0].image = Some("registry.example:5000/tikv:v7.1.0@sha256:0".into());
    refused("image", &mut world, "TikvTooOld", "registry.example");
}

#[test]
fn a_tikv_that_knows_the_kms_gets_its_credentials_by_file() {
    for (vendor, version) in [
        ("gcp", "8.0.0"),
        ("gcp_v2", "8.5.7"),
        ("gcp_v2", "9.0.0-beta.2"),
    ] {
        let secret = json!({"name": "google", "key": "account.json"});
        let kms = json!({"keyId": GOOGLE_KEY, "vendor": vendor, "credentialsSecret": secret});
        let mut world = World::new(google(kms), true);
        for store in &mut world.pd().stores {
            store.version = version.into();
        }
        let text = format!("{:?}", world.reconcile(None).actions);
        for part in [
            "credential-file-path = \\\"/var/lib/tikv-security/credentials/google.json\\\"",
            "tikv-security-credentials",
            "account.json",
        ] {
            assert!(
                text.contains(part),
                "{vendor} {version}: {part} is not in {text}"
            );
        }
    }
}

#[test]
fn azure_gets_a_certificate_by_file_and_a_tikv_that_knows_it() {
    let mut spec = spec();
    spec["encryption"]["masterKey"] = json!({"azureKeyVault": {
        "keyName": "stores", "keyvaultUrl": "https://v.vault.azure.net", "hsmName": "h", "tenantId": "t", "clientId": "c",
        "clientCertificateSecret": {"name": "azure", "key": "app.pfx"},
    }});
    let mut world = World::new(spec.clone(), true);
    world.pd().stores[0].version = "7.1.6".into();
    refused("azure", &mut world, "TikvTooOld", "from 7.2.0 on");
    let text = format!("{:?}", World::new(spec, true).reconcile(None).actions);
    for part in [
        "client-certificate-path = \\\"/var/lib/tikv-security/credentials/azure.pfx\\\"",
        "hsm-url = \\\"https://h.managedhsm.azure.net/\\\"",
        "app.pfx",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
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
