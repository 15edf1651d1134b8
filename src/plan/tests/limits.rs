//! Bounds of re-encryption: how they get to the agents, and what follows when a run's time is over.

use serde_json::json;

use super::world::{World, spec};
use crate::api::v1alpha1::{Phase, ReencryptionLimits};
use crate::plan::keys::told;

fn bounded(limits: serde_json::Value) -> World {
    let mut spec = spec();
    spec["encryption"]["reencryption"] = json!({ "limits": limits });
    World::new(spec, true)
}

#[test]
fn bounds_get_to_the_agents_and_so_do_changes_of_them() {
    let mut world = bounded(json!({
        "threads": 2, "bytesPerSecond": 104_857_600, "requestsPerSecond": 500, "timeLimit": "25m"
    }));
    world.settle();
    let first = told(world.seen.agent_config.as_ref()).unwrap().state;
    let limits = first.limits;
    assert_eq!(limits.threads.map(u8::from), Some(2));
    assert_eq!(limits.bytes_per_second.map(u64::from), Some(104_857_600));
    assert_eq!(limits.requests_per_second.map(u64::from), Some(500));
    assert_eq!(limits.seconds.map(u64::from), Some(1500));

    let encryption = world.seen.resource.spec.encryption.as_mut().unwrap();
    encryption.reencryption.limits = ReencryptionLimits::default();
    world.settle();
    let second = told(world.seen.agent_config.as_ref()).unwrap().state;
    assert!(second.limits.is_none());
    assert_eq!(second.generation, first.generation + 1);
}

#[test]
fn a_store_whose_time_is_over_is_restarted_until_it_is_done() {
    let mut world = bounded(json!({ "timeLimit": "25m" }));
    world.short_runs = 3;
    world.settle();
    assert_eq!(world.short_runs, 0);
    let restarts = |pod: &str| {
        let line = format!("DeletePod {pod}");
        world.log.iter().filter(|one| **one == line).count()
    };
    let tikv: usize = ["tikv-0", "tikv-1", "tikv-2"].map(restarts).iter().sum();
    assert!(tikv >= 6, "{:?}", world.log);
}

#[test]
fn a_store_that_stops_half_way_without_a_time_limit_has_failed() {
    let mut world = bounded(json!({}));
    world.short_runs = 1;
    for _ in 0..300 {
        world.reconcile(None);
    }
    let status = world.seen.resource.status.clone().unwrap();
    assert_eq!(status.phase, Some(Phase::Degraded));
}

#[test]
fn a_bound_that_makes_no_sense_blocks() {
    let mut world = bounded(json!({ "bytesPerSecond": -1 }));
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked");
    assert_eq!(blocked.unwrap().reason, "InvalidSpec");
}
