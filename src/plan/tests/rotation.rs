//! The master key becomes another one: forth, back, cut anywhere, with keys that fail.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::v1alpha1::{RotationKind, RotationPhase, RotationStatus};
use crate::plan::action::Plan;

fn aws(id: &str) -> Value {
    json!({"awsKms": {"keyId": id, "region": "eu-1", "credentialsSecret": {"name": "aws"}}})
}

fn file(secret: &str) -> Value {
    json!({"file": {"secret": {"name": secret, "key": "key"}}})
}

fn asks(world: &mut World, key: &Value) {
    let encryption = world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.master_key = serde_json::from_value(key.clone()).unwrap();
}

fn under(key: &Value) -> World {
    let mut spec = spec();
    spec["environment"] = json!("staging");
    spec["encryption"]["masterKey"] = key.clone();
    spec.as_object_mut().unwrap().remove("tls");
    World::new(spec, true)
}

fn restarts(world: &World, from: usize) -> usize {
    let deleted = |line: &&String| line.starts_with("DeletePod tikv");
    world.log[from..].iter().filter(deleted).count()
}

fn template(world: &World) -> String {
    serde_json::to_string(&world.seen.tikv.stateful_set.as_ref().unwrap().spec).unwrap()
}

fn mounted(world: &World) -> String {
    let template: Value = serde_json::from_str(&template(world)).unwrap();
    let volumes = template["template"]["spec"]["volumes"]
        .as_array()
        .unwrap()
        .clone();
    let config = volumes.iter().find(|one| one["name"] == "config").unwrap();
    let name = config["configMap"]["name"].as_str().unwrap();
    world.seen.tikv.config_maps[name].data.as_ref().unwrap()["tikv.toml"].clone()
}

fn all_under(world: &World, kind: &str, key: &str) {
    assert_eq!(world.sealed.len(), 3);
    for (pod, (name, _)) in &world.sealed {
        assert!(name.kind == kind && name.key.contains(key), "{pod}: {name}");
    }
}

fn rotation(plan: &Plan) -> &RotationStatus {
    plan.status.master_key_rotation.as_ref().unwrap()
}

fn events(plans: &[Plan]) -> Vec<String> {
    let notes = plans.iter().flat_map(|plan| &plan.events);
    let ours = notes.filter(|note| note.reason.contains("Rotation"));
    ours.map(|note| note.reason.clone()).collect()
}

#[test]
fn each_store_restarts_once_and_the_old_key_goes_without_a_restart() {
    for (from, to, kind, key) in [
        (aws("alias/k"), aws("alias/new"), "aws", "alias/new"),
        (file("old"), aws("alias/new"), "aws", "alias/new"),
        (aws("alias/k"), file("new"), "file", "master-key-2/key"),
        (file("old"), file("new"), "file", "master-key-2/key"),
    ] {
        let mut world = under(&from);
        world.settle();
        let before = world.log.len();
        asks(&mut world, &to);
        let mut plans = vec![world.reconcile(None)];
        assert_eq!(rotation(&plans[0]).phase, RotationPhase::Running);
        assert!(
            plans[0].persist_first,
            "the status knows before anything follows"
        );
        plans.push(world.settle());
        all_under(&world, kind, key);
        assert_eq!(
            (restarts(&world, before), world.most_away),
            (3, 1),
            "{from} {to}"
        );
        let toml = mounted(&world);
        assert!(!toml.contains("previous-master-key"), "{toml}");
        let text = template(&world);
        let old = from.to_string().contains("old");
        assert!(!old || !text.contains("\"old\""), "{text}");
        let aws_left = text.contains("AWS_ACCESS_KEY_ID");
        assert_eq!(aws_left, kind == "aws", "{text}");
        let status = world.seen.resource.status.clone().unwrap();
        assert_eq!(status.master_key_rotation, None);
        let done = &status.rotations;
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].kind, RotationKind::MasterKey);
        assert!(done[0].finished_at >= Some(done[0].started_at) && done[0].abandoned_at.is_none());
        for _ in 0..20 {
            let plan = world.reconcile(None);
            assert!(
                plan.actions.is_empty() && plan.events.is_empty(),
                "{:?}",
                plan.actions
            );
        }
    }
}

#[test]
fn both_keys_are_in_the_pods_until_the_end() {
    let mut world = under(&file("old"));
    world.settle();
    asks(&mut world, &file("new"));
    while restarts(&world, 0) < 5 {
        world.reconcile(None);
    }
    let toml = mounted(&world);
    let paths = [
        "/var/lib/tikv-security/master-key-2/key",
        "/var/lib/tikv-security/master-key/key",
    ];
    assert!(paths.iter().all(|path| toml.contains(path)), "{toml}");
    let text = template(&world);
    assert!(text.contains("\"old\"") && text.contains("\"new\""));
    assert!(
        text.contains("\"optional\":true"),
        "a lost old Secret must not stop a pod"
    );
    let plan = world.reconcile(None);
    assert!(
        rotation(&plan)
            .point_of_no_return
            .starts_with("not reached")
    );
    assert!(rotation(&plan).stores.ends_with("/3"));
}

#[test]
fn cut_before_any_action_it_ends_the_same() {
    let mut ready = under(&file("old"));
    ready.settle();
    for cut in 0..3 {
        for at in 0..45 {
            let mut world = ready.clone();
            let before = world.log.len();
            asks(&mut world, &aws("alias/new"));
            for _ in 0..at {
                world.reconcile(None);
            }
            world.reconcile(Some(cut));
            let mut plan = world.settle();
            all_under(&world, "aws", "alias/new");
            // A cut status is written again by the next look.
            for _ in 0..2 {
                plan = world.reconcile(None);
            }
            assert_eq!(plan.status.rotations.len(), 1, "cut {cut} at {at}");
            assert_eq!(
                restarts(&world, before),
                3,
                "cut {cut} at {at}: {:?}",
                world.log
            );
            assert_eq!(world.most_away, 1);
        }
    }
}

#[test]
fn turned_around_at_any_moment_every_store_comes_back() {
    let mut ready = under(&aws("alias/k"));
    ready.settle();
    for at in 0..40 {
        let mut world = ready.clone();
        asks(&mut world, &aws("alias/new"));
        let mut plans: Vec<Plan> = (0..at).map(|_| world.reconcile(None)).collect();
        asks(&mut world, &aws("alias/k"));
        plans.push(world.reconcile(None));
        let open = plans.last().unwrap().status.master_key_rotation.clone();
        plans.push(world.settle());
        all_under(&world, "aws", "alias/k");
        assert!(!mounted(&world).contains("alias/new"), "at {at}");
        let seen = events(&plans);
        let rotations = &plans.last().unwrap().status.rotations;
        match open {
            // Not begun, or over before.
            None => assert!(rotations.is_empty(), "at {at}: {rotations:?}"),
            Some(open) if open.phase == RotationPhase::Abandoning => {
                assert!(
                    seen.contains(&"MasterKeyRotationAbandoned".to_owned()),
                    "{seen:?}"
                );
                assert!(rotations[0].abandoned_at.is_some(), "at {at}");
            }
            Some(_) => assert_eq!(rotations.len(), 2, "at {at}: a rotation there and one back"),
        }
    }
}

#[test]
fn a_new_key_that_fails_changes_nothing() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    let (before, text) = (world.log.len(), template(&world));
    asks(&mut world, &aws("alias/new"));
    world.lost.insert("awsKms alias/new in eu-1".into());
    for _ in 0..20 {
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        assert_eq!(rotation(&plan).phase, RotationPhase::Asked);
    }
    assert_eq!((restarts(&world, before), template(&world)), (0, text));
    world.lost.clear();
    world.seen.master_key = crate::plan::observed::MasterKeyProof::Usable;
    world.settle();
    all_under(&world, "aws", "alias/new");
}

#[test]
fn an_old_key_that_fails_half_way_stops_the_restarts_until_it_is_back() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    let before = world.log.len();
    asks(&mut world, &aws("alias/new"));
    while restarts(&world, before) < 1 {
        world.reconcile(None);
    }
    world.lost.insert("awsKms alias/k in eu-1".into());
    for _ in 0..50 {
        world.reconcile(None);
    }
    assert_eq!(restarts(&world, before), 1);
    assert!(mounted(&world).contains("previous-master-key"));
    let status = world.seen.resource.status.clone().unwrap();
    let reachable = status
        .conditions
        .iter()
        .find(|one| one.type_ == "MasterKeyReachable")
        .unwrap();
    assert_eq!(reachable.reason, "MasterKeyDisabled");
    assert!(world.pd().evicting.is_empty());
    world.lost.clear();
    world.seen.master_key = crate::plan::observed::MasterKeyProof::Usable;
    world.settle();
    all_under(&world, "aws", "alias/new");
}

#[test]
fn with_a_dead_new_key_there_is_a_way_back() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    let before = world.log.len();
    asks(&mut world, &aws("alias/new"));
    // The template names both, no store was restarted yet.
    world.reconcile(None);
    world.reconcile(None);
    assert_eq!(restarts(&world, before), 0);
    world.lost.insert("awsKms alias/new in eu-1".into());
    asks(&mut world, &aws("alias/k"));
    world.settle();
    all_under(&world, "aws", "alias/k");
    assert!(!mounted(&world).contains("alias/new"));
}

#[test]
fn paused_it_stands_and_then_goes_on() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    let before = world.log.len();
    asks(&mut world, &aws("alias/new"));
    while restarts(&world, before) < 2 {
        world.reconcile(None);
    }
    world.seen.resource.spec.rollout.paused = true;
    let mut last = world.reconcile(None);
    for _ in 0..50 {
        last = world.reconcile(None);
    }
    assert_eq!(restarts(&world, before), 2);
    assert_eq!(rotation(&last).phase, RotationPhase::Paused);
    assert_eq!(rotation(&last).stores, "2/3");
    world.seen.resource.spec.rollout.paused = false;
    world.settle();
    assert_eq!(restarts(&world, before), 3);
}

#[test]
fn a_third_key_waits_for_the_second() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    asks(&mut world, &aws("alias/two"));
    while restarts(&world, 0) < 4 {
        world.reconcile(None);
    }
    asks(&mut world, &aws("alias/three"));
    world.settle();
    all_under(&world, "aws", "alias/three");
    let status = world.seen.resource.status.clone().unwrap();
    let to: Vec<_> = status
        .rotations
        .iter()
        .filter_map(|one| one.to.clone())
        .collect();
    assert_eq!(
        to,
        ["awsKms alias/two in eu-1", "awsKms alias/three in eu-1"]
    );
}

#[test]
fn a_store_that_is_away_holds_the_old_key() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    asks(&mut world, &aws("alias/new"));
    while restarts(&world, 0) < 6 {
        world.reconcile(None);
    }
    // What is on a claim without a pod nobody knows.
    let set = world.seen.tikv.stateful_set.as_mut().unwrap();
    let claim = json!([{"metadata": {"name": "data"}}]);
    set.spec.as_mut().unwrap().volume_claim_templates = serde_json::from_value(claim).unwrap();
    world.seen.tikv.claims = 4;
    for _ in 0..40 {
        world.reconcile(None);
    }
    let plan = world.reconcile(None);
    assert!(mounted(&world).contains("previous-master-key"));
    assert!(
        rotation(&plan).reason.contains("1 volume claims"),
        "{:?}",
        rotation(&plan)
    );
    world.seen.tikv.claims = 3;
    world.settle();
    assert!(!mounted(&world).contains("previous-master-key"));
}

#[test]
fn a_new_envelope_is_asked_for_by_a_word_and_by_the_clock() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    let envelopes = |world: &World| -> Vec<String> {
        world
            .sealed
            .values()
            .map(|sealed| sealed.1.clone())
            .collect()
    };
    let (old, before) = (envelopes(&world), world.log.len());
    world.seen.resource.spec.rotate.master_key = Some("2026-02".into());
    let plan = world.reconcile(None);
    assert_eq!(rotation(&plan).what, RotationKind::Envelope);
    world.settle();
    let new = envelopes(&world);
    assert!(
        new.iter().all(|envelope| !old.contains(envelope)),
        "{old:?} {new:?}"
    );
    assert_eq!(restarts(&world, before), 3);
    all_under(&world, "aws", "alias/k");
    for _ in 0..20 {
        assert!(world.reconcile(None).actions.is_empty());
    }
    let encryption = world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.master_key_rotation_period = Some("100h".parse().unwrap());
    assert!(world.reconcile(None).actions.is_empty(), "not yet");
    world.now += SignedDuration::from_hours(101);
    world.kubernetes();
    world.reconcile(None);
    world.settle();
    assert!(
        envelopes(&world)
            .iter()
            .all(|envelope| !new.contains(envelope))
    );
    let status = world.seen.resource.status.clone().unwrap();
    assert_eq!(status.rotations.len(), 2);
    assert_eq!(status.rotations[1].by.as_deref(), Some("schedule"));
}

#[test]
fn another_key_waits_for_the_new_envelope_and_then_comes() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    world.seen.resource.spec.rotate.master_key = Some("2026-02".into());
    let plan = world.reconcile(None);
    assert_eq!(rotation(&plan).what, RotationKind::Envelope);
    asks(&mut world, &aws("alias/new"));
    world.settle();
    all_under(&world, "aws", "alias/new");
    let status = world.seen.resource.status.clone().unwrap();
    let kinds: Vec<_> = status.rotations.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [RotationKind::Envelope, RotationKind::MasterKey]);
}

#[test]
fn what_can_not_work_is_refused_before_anything_changes() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    asks(
        &mut world,
        &json!({"awsKms": {"keyId": "alias/new", "region": "eu-1"}}),
    );
    let plan = world.reconcile(None);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(blocked.reason, "MasterKeysNeedDifferentCredentials");
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);

    let mut world = under(&file("old"));
    world.settle();
    world.seen.resource.spec.rotate.master_key = Some("now".into());
    let plan = world.reconcile(None);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(blocked.reason, "MasterKeyNotInKms");
    assert!(
        blocked.message.contains("another Secret"),
        "{}",
        blocked.message
    );
}

#[test]
fn the_ring_survives_its_config_map() {
    let mut world = under(&aws("alias/k"));
    world.settle();
    asks(&mut world, &aws("alias/new"));
    while restarts(&world, 0) < 4 {
        world.reconcile(None);
    }
    let map = world.seen.agent_config.as_mut().unwrap();
    map.metadata
        .annotations
        .as_mut()
        .unwrap()
        .remove(crate::api::ANNOTATION_MASTER_KEYS);
    world.settle();
    all_under(&world, "aws", "alias/new");

    // Neither memory: what the pods mount speaks against another key.
    let map = world.seen.agent_config.as_mut().unwrap();
    map.metadata
        .annotations
        .as_mut()
        .unwrap()
        .remove(crate::api::ANNOTATION_MASTER_KEYS);
    world.seen.resource.status = None;
    asks(&mut world, &aws("alias/other"));
    let plan = world.reconcile(None);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(blocked.reason, "MasterKeyUnknown");
    assert!(plan.actions.is_empty());
}
