//! From the first look to Ready, and on.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::world::{World, spec};
use crate::api::v1alpha1::Phase;
use crate::plan::names::Part;
use crate::plan::observed::SecretContent;

fn serials(world: &World) -> Vec<String> {
    let leaf = |part: &Part| match &world.seen.secrets[&part.secret("db")].content {
        SecretContent::Leaf { certificate, .. } => certificate.serial.clone(),
        other => panic!("{other:?}"),
    };
    Part::CORE.iter().map(leaf).collect()
}

fn deleted(world: &World, from: usize) -> Vec<String> {
    world.log[from..]
        .iter()
        .filter_map(|line| line.strip_prefix("DeletePod "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_live_plaintext_cluster_gets_both() {
    let mut world = World::new(spec(), true);
    let plan = world.settle();
    assert_eq!(plan.status.encryption.as_ref().unwrap().encrypted, "100%");
    let order = deleted(&world, 0);
    assert_eq!(
        order[..3],
        ["tikv-2", "tikv-1", "tikv-0"],
        "first the agents, one by one"
    );
    assert_eq!(order.len(), 9, "then all six at once: {order:?}");
    assert_eq!(world.most_away, 1);
    assert!(world.pd().evicting.is_empty());
    assert_eq!(world.pd().maintenance, None);
    assert_eq!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
}

#[test]
fn when_done_nothing_is_done() {
    let mut world = World::new(spec(), true);
    world.settle();
    for _ in 0..50 {
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        assert!(plan.events.is_empty(), "{:?}", plan.events);
    }
}

#[test]
fn without_permission_only_tls_waits() {
    let mut spec = spec();
    spec["rollout"]["allowDowntime"] = json!(false);
    let mut world = World::new(spec, true);
    for _ in 0..200 {
        world.reconcile(None);
    }
    let status = world.seen.resource.status.clone().unwrap();
    let blocked = status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(blocked.reason, "DowntimeNotAllowed");
    assert_eq!(status.encryption.unwrap().encrypted, "100%");
    assert_eq!(deleted(&world, 0).len(), 3);
}

#[test]
fn cut_before_any_action_it_ends_the_same() {
    let mut plain = World::new(spec(), true);
    plain.settle();
    for cut in 0..3 {
        for at in 0..60 {
            let mut world = World::new(spec(), true);
            for _ in 0..at {
                world.reconcile(None);
            }
            world.reconcile(Some(cut));
            world.settle();
            assert!(world.most_away <= 1, "cut {cut} at {at}: {:?}", world.log);
            assert!(world.pd().evicting.is_empty(), "cut {cut} at {at}");
            assert_eq!(world.pd().maintenance, None, "cut {cut} at {at}");
            assert_eq!(
                world.seen.tikv.stateful_set.as_ref().unwrap().spec,
                plain.seen.tikv.stateful_set.as_ref().unwrap().spec
            );
        }
    }
}

#[test]
fn a_new_cluster_needs_no_permission() {
    let mut spec = spec();
    spec["rollout"]["allowDowntime"] = json!(false);
    let mut world = World::new(spec, false);
    world.kubernetes();
    for _ in 0..5 {
        world.reconcile(None);
    }
    let set = serde_json::to_string(&world.seen.tikv.stateful_set).unwrap();
    assert!(set.contains("tikv-security-tls") && set.contains("tikv-security-agent"));
    let pd = serde_json::to_string(&world.seen.pd.stateful_set).unwrap();
    assert!(!pd.contains("http://") && !pd.contains("httpGet"), "{pd}");
}

#[test]
fn leaves_are_renewed_without_a_restart() {
    let mut world = World::new(spec(), true);
    world.settle();
    let (before, from) = (serials(&world), world.log.len());
    world.now += SignedDuration::from_hours(500);
    world.kubernetes();
    world.settle();
    assert!(
        serials(&world)
            .iter()
            .zip(&before)
            .all(|(new, old)| new != old)
    );
    assert!(deleted(&world, from).is_empty());
}

#[test]
fn a_rotation_is_asked_once() {
    let mut world = World::new(spec(), true);
    world.settle();
    let from = world.log.len();
    world.seen.resource.spec.rotate.data_key = Some("2026-02".into());
    world.reconcile(None);
    world.settle();
    assert_eq!(deleted(&world, from), ["tikv-2", "tikv-1", "tikv-0"]);
    for _ in 0..50 {
        assert!(world.reconcile(None).actions.is_empty());
    }
}

#[test]
fn each_rotation_restarts_every_store_again() {
    let mut world = World::new(spec(), true);
    world.settle();
    for word in ["2026-02", "2026-03", "2026-04"] {
        let from = world.log.len();
        world.seen.resource.spec.rotate.data_key = Some(word.into());
        world.reconcile(None);
        world.settle();
        assert_eq!(
            deleted(&world, from),
            ["tikv-2", "tikv-1", "tikv-0"],
            "{word}"
        );
    }
}

#[test]
fn a_pod_that_was_made_a_moment_before_has_tried_nothing() {
    let mut world = World::new(spec(), true);
    world.settle();
    let (from, pods) = (world.log.len(), &mut world.seen.tikv.pods);
    pods.retain(|pod| pod.metadata.name.as_deref() != Some("tikv-1"));
    world.kubernetes();
    world.seen.resource.spec.rotate.master_key = Some("2026-02".into());
    world.reconcile(None);
    world.settle();
    assert_eq!(deleted(&world, from), ["tikv-2", "tikv-1", "tikv-0"]);
}

#[test]
fn an_agent_that_fails_is_tried_once() {
    let mut world = World::new(spec(), true);
    world.agents_fail = true;
    for _ in 0..300 {
        world.reconcile(None);
    }
    let status = world.seen.resource.status.clone().unwrap();
    assert_eq!(status.phase, Some(Phase::Degraded));
    assert_eq!(
        deleted(&world, 0),
        ["tikv-2"],
        "the others stay as they are"
    );
    assert!(
        world.pd().evicting.is_empty(),
        "and the first one gets its leaders back"
    );
}

#[test]
fn deletion_puts_back_and_keeps_what_pods_mount() {
    let mut world = World::new(spec(), true);
    while !world.log.iter().any(|line| line == "EvictLeaders 3") {
        world.reconcile(None);
    }
    world.seen.resource.metadata.deletion_timestamp = Some(
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now),
    );
    world.reconcile(None);
    assert!(world.pd().evicting.is_empty());
    assert_eq!(world.pd().maintenance, None);
    assert_eq!(world.pd().max_store_down_time.as_deref(), Some("30m0s"));
    assert!(world.seen.resource.metadata.finalizers.is_none());
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone();
    let secrets = world.seen.secrets.values().map(|secret| &secret.metadata);
    let maps = world
        .seen
        .tikv
        .config_maps
        .values()
        .map(|map| &map.metadata);
    let agent = world.seen.agent_config.iter().map(|map| &map.metadata);
    let kept: Vec<_> = secrets.chain(maps).chain(agent).map(owners).collect();
    assert!(
        kept.len() >= 6 && kept.iter().all(Option::is_none),
        "{kept:?}"
    );
}

#[test]
fn paused_disturbs_nothing() {
    let mut spec = spec();
    spec["rollout"]["paused"] = json!(true);
    let mut world = World::new(spec, true);
    for _ in 0..50 {
        world.reconcile(None);
    }
    assert!(deleted(&world, 0).is_empty());
    assert!(world.pd().evicting.is_empty());
}
