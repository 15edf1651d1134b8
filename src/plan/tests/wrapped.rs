//! A master key that TiKV does not know: made once, before any template names it; in the pods only where it is needed.

use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::wrapped::{Unwrapper, WrappedKey};
use crate::plan::action::Action;
use crate::plan::observed::{SecretContent, SecretFacts};
use crate::plan::template::as_json;

fn vault(auth: &Value) -> Value {
    let mut spec = spec();
    spec["encryption"]["masterKey"] = json!({"vaultTransit": {
        "address": "https://vault:8200", "key": "tikv", "auth": auth, "offlineGrace": "1h",
        "caSecret": {"name": "vault-ca", "key": "ca.crt"},
    }});
    spec
}

fn by_account() -> Value {
    vault(&json!({"kubernetes": {"role": "tikv"}}))
}

fn secret(world: &World) -> String {
    let mut names = world.seen.secrets.keys();
    names
        .find(|name| name.starts_with("db-master-key-"))
        .unwrap()
        .clone()
}

fn settled(spec: Value) -> World {
    let mut world = World::new(spec, true);
    world.settle();
    world
}

fn pod_spec(world: &World) -> Value {
    let set = world.seen.tikv.stateful_set.as_ref().unwrap();
    as_json(set)["spec"]["template"]["spec"].clone()
}

fn blocked(world: &mut World) -> (String, String) {
    let plan = world.reconcile(None);
    let disturbed = plan.actions.iter().any(|action| {
        matches!(
            action,
            Action::DeletePod { .. }
                | Action::PatchStatefulSet { .. }
                | Action::WrapMasterKey { .. }
        )
    });
    assert!(!disturbed, "{:?}", plan.actions);
    let mut all = plan.status.conditions.into_iter();
    let one = all.find(|one| one.type_ == "Blocked").unwrap();
    assert_eq!(one.status, "True", "{}", one.message);
    (one.reason, one.message)
}

#[test]
fn the_key_is_made_once_and_before_a_template_names_it() {
    let world = settled(by_account());
    let at = |name: &str| world.log.iter().position(|one| one == name).unwrap();
    assert!(
        at("WrapMasterKey") < at("PatchStatefulSet"),
        "{:?}",
        world.log
    );
    let made = world.log.iter().filter(|one| *one == "WrapMasterKey");
    assert_eq!(made.count(), 1);
    let name = secret(&world);
    let owners = &world.seen.secrets[&name].metadata.owner_references;
    assert!(owners.is_none(), "the data would go with its owner");
}

#[test]
fn tikv_sees_the_key_in_memory_and_nothing_that_unwraps_it() {
    let world = settled(by_account());
    let (pod, name) = (pod_spec(&world), secret(&world));
    let id = name.strip_prefix("db-master-key-").unwrap();
    let config = world.seen.tikv.config_maps.values();
    let file = format!("/var/lib/tikv-security/keys/{id}");
    let mut texts = config.filter_map(|map| map.data.as_ref()?.get("tikv.toml").cloned());
    assert!(
        texts
            .next_back()
            .unwrap()
            .contains(&format!("path = \"{file}\""))
    );

    let volume = |name: &str| {
        let mut all = pod["volumes"].as_array().unwrap().iter();
        all.find(|volume| volume["name"] == name).unwrap().clone()
    };
    assert_eq!(volume("tikv-security-keys")["emptyDir"]["medium"], "Memory");
    let sources = volume(&format!("tikv-security-wrapped-{id}"))["projected"]["sources"].clone();
    assert_eq!(sources[0]["secret"]["name"], name);
    assert_eq!(sources[1]["secret"]["name"], "vault-ca");
    let token = &sources[2]["serviceAccountToken"];
    assert_eq!(token["audience"], "vault");
    assert_eq!(token["expirationSeconds"], 600);

    let mounted = |container: &Value| -> Vec<(String, Value)> {
        let all = container["volumeMounts"].as_array().unwrap().iter();
        all.map(|mount| {
            (
                mount["name"].as_str().unwrap().to_owned(),
                mount["readOnly"].clone(),
            )
        })
        .collect()
    };
    let tikv = mounted(&pod["containers"][0]);
    assert!(tikv.contains(&("tikv-security-keys".to_owned(), json!(true))));
    assert!(
        !tikv
            .iter()
            .any(|(name, _)| name.starts_with("tikv-security-wrapped"))
    );
    let agent = &pod["initContainers"][0];
    let mounts = mounted(agent);
    assert!(mounts.contains(&("tikv-security-keys".to_owned(), Value::Null)));
    assert!(mounts.contains(&(format!("tikv-security-wrapped-{id}"), json!(true))));

    let arguments = agent["args"].as_array().unwrap();
    let order = arguments.last().unwrap().as_str().unwrap();
    let order: WrappedKey = order
        .strip_prefix("--wrapped-key=")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        (order.file, order.offline_grace_seconds),
        (file, Some(3600))
    );
    let Unwrapper::VaultTransit(by) = order.by else {
        panic!("{:?}", order.by);
    };
    assert_eq!((by.mount.as_str(), by.key.as_str()), ("transit", "tikv"));
}

#[test]
fn a_secret_that_is_lost_is_never_made_anew() {
    let mut world = settled(by_account());
    let name = secret(&world);
    let kept = world.seen.secrets.remove(&name).unwrap();
    let (reason, message) = blocked(&mut world);
    assert_eq!(reason, "WrappedKeyMissing");
    assert!(
        message.contains(&name) && message.contains("backup"),
        "{message}"
    );
    // Restored: everything goes on.
    world.seen.secrets.insert(name, kept);
    world.settle();
}

#[test]
fn a_secret_that_is_not_ours_or_holds_something_else_is_left_alone() {
    let mut first = World::new(by_account(), true);
    first.settle();
    let name = secret(&first);
    let facts = first.seen.secrets.remove(&name).unwrap();
    for (mut metadata, content, reason) in [
        (Default::default(), SecretContent::Wrapped, "ForeignObject"),
        (
            facts.metadata,
            SecretContent::Unusable("it has no key wrapped".to_owned()),
            "WrappedKeyUnusable",
        ),
    ] {
        let mut world = World::new(by_account(), true);
        metadata.name = Some(name.clone());
        let facts = SecretFacts { metadata, content };
        world.seen.secrets.insert(name.clone(), facts);
        assert_eq!(blocked(&mut world).0, reason);
    }
}

#[test]
fn another_way_to_the_same_key_is_the_same_key() {
    let one = secret(&settled(by_account()));
    let role = json!({"appRole": {"roleId": "r", "secretId": {"name": "s", "key": "k"}}});
    let mut other = vault(&role);
    other["encryption"]["masterKey"]["vaultTransit"]["address"] = json!("https://elsewhere");
    assert_eq!(secret(&settled(other)), one);
    let mut another = by_account();
    another["encryption"]["masterKey"]["vaultTransit"]["key"] = json!("tikv-2");
    assert_ne!(secret(&settled(another)), one);
}

#[test]
fn production_forbids_a_token() {
    let token = json!({"token": {"name": "s", "key": "k"}});
    let mut world = World::new(vault(&token), true);
    let (reason, message) = blocked(&mut world);
    assert_eq!(reason, "ForbiddenInProduction");
    assert!(message.contains("auth.kubernetes"), "{message}");
    let mut world = World::new(vault(&json!({})), true);
    assert_eq!(blocked(&mut world).0, "InvalidSpec");
}
