//! A master key in a hardware security module: its PIN and its library's configuration are for the agent alone.

use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::wrapped::{Unwrapper, WrappedKey};
use crate::plan::observed::{MasterKeyClass, MasterKeyProof};
use crate::plan::template::as_json;

fn hsm(key: &str) -> Value {
    json!({"pkcs11": {
        "module": "/opt/vendor/libpkcs11.so", "token": "tikv", "key": key,
        "pinSecret": {"name": "hsm-pin", "key": "pin"},
        "configSecret": {"name": "hsm-config"},
        "offlineGrace": "1h",
    }})
}

fn with(key: Value) -> Value {
    let mut spec = spec();
    spec["encryption"]["masterKey"] = key;
    spec
}

fn settled(key: Value) -> World {
    let mut world = World::new(with(key), true);
    world.settle();
    world
}

fn asks(world: &mut World, key: Value) {
    let encryption = world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.master_key = serde_json::from_value(key).unwrap();
}

fn pod_spec(world: &World) -> Value {
    let set = world.seen.tikv.stateful_set.as_ref().unwrap();
    as_json(set)["spec"]["template"]["spec"].clone()
}

fn volume(pod: &Value, name: &str) -> Option<Value> {
    let mut all = pod["volumes"].as_array().unwrap().iter();
    all.find(|volume| volume["name"] == name).cloned()
}

fn mounted(container: &Value) -> Vec<&str> {
    let all = container["volumeMounts"].as_array().unwrap().iter();
    all.map(|mount| mount["name"].as_str().unwrap()).collect()
}

fn secrets(world: &World) -> Vec<&String> {
    let names = world.seen.secrets.keys();
    names
        .filter(|name| name.starts_with("db-master-key-"))
        .collect()
}

fn blocked(world: &mut World) -> (String, String) {
    let plan = world.reconcile(None);
    let mut all = plan.status.conditions.into_iter();
    let one = all.find(|one| one.type_ == "Blocked").unwrap();
    assert_eq!(one.status, "True", "{}", one.message);
    (one.reason, one.message)
}

#[test]
fn the_pin_and_the_configuration_are_files_that_the_agent_alone_sees() {
    let world = settled(hsm("stores"));
    let pod = pod_spec(&world);
    let name = secrets(&world)[0];
    let id = name.strip_prefix("db-master-key-").unwrap();
    let wrapped = format!("tikv-security-wrapped-{id}");

    let sources = volume(&pod, &wrapped).unwrap()["projected"]["sources"].clone();
    assert_eq!(sources[0]["secret"]["name"], *name);
    assert_eq!(sources[1]["secret"]["name"], "hsm-pin");
    assert_eq!(
        sources[1]["secret"]["items"][0],
        json!({"key": "pin", "path": "pin"})
    );
    let configuration = volume(&pod, "tikv-security-hsm").unwrap();
    assert_eq!(configuration["secret"]["secretName"], "hsm-config");

    let (tikv, agent) = (&pod["containers"][0], &pod["initContainers"][0]);
    assert!(mounted(tikv).contains(&"tikv-security-keys"));
    for name in [wrapped.as_str(), "tikv-security-hsm"] {
        assert!(mounted(agent).contains(&name), "{name}");
        assert!(!mounted(tikv).contains(&name), "{name}");
    }
    let env = agent["env"].to_string() + &tikv["env"].to_string();
    assert!(!env.contains("hsm"), "{env}");

    let order = agent["args"].as_array().unwrap().last().unwrap();
    let order = order.as_str().unwrap().strip_prefix("--wrapped-key=");
    let order: WrappedKey = order.unwrap().parse().unwrap();
    assert_eq!(order.file, format!("/var/lib/tikv-security/keys/{id}"));
    assert_eq!(order.offline_grace_seconds, Some(3600));
    let Unwrapper::Pkcs11(by) = order.by else {
        panic!("{:?}", order.by);
    };
    assert_eq!(
        (by.module.as_str(), by.token.as_str(), by.key.as_str()),
        ("/opt/vendor/libpkcs11.so", "tikv", "stores")
    );
    assert_eq!(by.pin, format!("/var/lib/tikv-security/wrapped/{id}/pin"));
}

#[test]
fn the_key_is_made_once_and_another_library_reaches_the_same_one() {
    let mut world = settled(hsm("stores"));
    let before = secrets(&world)[0].clone();
    let mut moved = hsm("stores");
    moved["pkcs11"]["module"] = json!("/opt/vendor-2/libpkcs11.so");
    asks(&mut world, moved);
    world.settle();
    assert_eq!(secrets(&world), [&before]);
    let made = world.log.iter().filter(|one| *one == "WrapMasterKey");
    assert_eq!(made.count(), 1);
    assert!(pod_spec(&world).to_string().contains("/opt/vendor-2/"));
}

#[test]
fn a_rotation_to_it_and_away_from_it_leaves_nothing_behind() {
    let aws = json!({"awsKms": {"keyId": "alias/k", "region": "eu-1", "credentialsSecret": {"name": "aws"}}});
    let mut world = settled(aws.clone());
    asks(&mut world, hsm("one"));
    world.settle();
    assert!(volume(&pod_spec(&world), "tikv-security-hsm").is_some());
    // To another key of the module: both are there until all stores are under the new one.
    let mut two = hsm("two");
    two["pkcs11"]
        .as_object_mut()
        .unwrap()
        .remove("configSecret");
    asks(&mut world, two);
    world.settle();
    assert_eq!(secrets(&world).len(), 2, "what snapshots may need stays");
    asks(&mut world, aws);
    world.settle();
    for (pod, (under, _)) in &world.sealed {
        assert_eq!(under.kind, "aws", "{pod}: {under}");
    }
    let text = pod_spec(&world).to_string();
    for word in [
        "tikv-security-hsm",
        "tikv-security-wrapped",
        "tikv-security-keys",
        "hsm-pin",
    ] {
        assert!(!text.contains(word), "{word} is in {text}");
    }
}

#[test]
fn two_libraries_with_different_configurations_are_refused_before_anything_changes() {
    let mut world = settled(hsm("one"));
    let mut other = hsm("two");
    other["pkcs11"]["configSecret"]["name"] = json!("other-config");
    asks(&mut world, other);
    let from = world.log.len();
    let (reason, message) = blocked(&mut world);
    assert_eq!(reason, "MasterKeysNeedDifferentConfigurations");
    for word in ["hsm-config", "other-config", "one Secret"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let disturbed = world.log[from..]
        .iter()
        .any(|line| line.starts_with("DeletePod"));
    assert!(!disturbed, "{:?}", &world.log[from..]);
}

#[test]
fn an_operator_that_can_not_load_a_module_says_which_image_can() {
    let mut world = World::new(with(hsm("stores")), true);
    world.seen.master_key = MasterKeyProof::Refused {
        class: MasterKeyClass::NeedsHsmImage,
        message: "the operator runs in the static image".into(),
        remedy: "Install the image whose tag ends with -hsm.".into(),
    };
    let (reason, message) = blocked(&mut world);
    assert_eq!(reason, "HsmImageNeeded");
    assert!(message.contains("-hsm"), "{message}");
    assert!(secrets(&world).is_empty(), "no key was made");
}

#[test]
fn a_period_for_new_keys_is_refused_because_it_makes_none() {
    let mut bad = with(hsm("stores"));
    bad["encryption"]["masterKeyRotationPeriod"] = json!("2160h");
    let (reason, message) = blocked(&mut World::new(bad, true));
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("masterKeyRotationPeriod"), "{message}");
}
