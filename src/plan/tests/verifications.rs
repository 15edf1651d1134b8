//! Verifications and re-encryptions by the clock, and on request.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::world::{World, spec};
use crate::api::report::{VerificationLevel, VerificationReport};
use crate::plan::keys::told;

fn verified(at: Timestamp) -> VerificationReport {
    VerificationReport {
        started_at: at,
        finished_at: Some(at),
        files: 1,
        bytes: 1,
        failed: 0,
        gone: 0,
        level: VerificationLevel::Structure,
        findings: Vec::new(),
    }
}

fn not_before(world: &World) -> Option<String> {
    let told = told(world.seen.agent_config.as_ref()).unwrap();
    told.state.proof.map(|proof| proof.not_before.to_string())
}

fn hours(world: &mut World, hours: i64) {
    world.now += SignedDuration::from_hours(hours);
    world.kubernetes();
    for _ in 0..8 {
        world.reconcile(None);
    }
}

#[test]
fn the_schedule_moves_what_is_wanted_and_restarts_nothing() {
    let mut spec = spec();
    // The world begins on a Thursday.
    spec["verification"] = json!({"schedule": "0 3 * * 0", "timeZone": "Europe/Berlin"});
    let mut world = World::new(spec, true);
    world.settle();
    let generation = told(world.seen.agent_config.as_ref())
        .unwrap()
        .state
        .generation;
    assert_eq!(not_before(&world).unwrap(), "2025-12-28T02:00:00Z");
    let from = world.log.len();
    hours(&mut world, 24 * 4);
    assert_eq!(not_before(&world).unwrap(), "2026-01-04T02:00:00Z");
    let state = told(world.seen.agent_config.as_ref()).unwrap().state;
    assert_eq!(
        state.generation, generation,
        "nothing else is tried again for it"
    );
    assert!(
        world.log[from..]
            .iter()
            .all(|line| line == "ApplyConfigMap")
    );
    world.settle();
}

#[test]
fn an_overdue_verification_is_said_and_a_done_one_is_kept_over_restarts() {
    let mut spec = spec();
    spec["verification"] = json!({"schedule": "0 3 * * *"});
    let mut world = World::new(spec, true);
    world.settle();
    hours(&mut world, 30);
    let status = |world: &World| world.seen.volumes["tikv-0"].status.clone().unwrap();
    // Every night asks anew, and the day after it is overdue only if the grace has passed.
    assert_eq!(status(&world).verification_overdue_since, None);
    let done = verified(world.now);
    world.verified.insert("tikv-0".into(), done.clone());
    hours(&mut world, 0);
    assert_eq!(status(&world).last_verification, Some(done.clone()));
    world.verified.clear();
    hours(&mut world, 0);
    assert_eq!(status(&world).last_verification, Some(done));
}

#[test]
fn a_request_asks_once() {
    let mut world = World::new(spec(), true);
    world.settle();
    assert_eq!(not_before(&world), None);
    world.seen.resource.spec.rotate.verification = Some("audit-7".into());
    let at = world.now;
    world.reconcile(None);
    let asked = not_before(&world).unwrap();
    assert_eq!(asked, at.to_string());
    hours(&mut world, 23);
    assert_eq!(not_before(&world).unwrap(), asked);
    let status = world.seen.volumes["tikv-0"].status.clone().unwrap();
    assert_eq!(status.verification_overdue_since, None);
    hours(&mut world, 2);
    let status = world.seen.volumes["tikv-0"].status.clone().unwrap();
    assert!(status.verification_overdue_since.is_some());
}

#[test]
fn a_schedule_of_re_encryption_is_a_request_by_the_clock() {
    let mut spec = spec();
    spec["encryption"]["reencryption"] = json!({"schedule": "0 2 15 * *"});
    let mut world = World::new(spec, true);
    world.settle();
    let key = |world: &World| {
        let told = told(world.seen.agent_config.as_ref()).unwrap();
        told.state.data_key_not_before
    };
    assert_eq!(
        key(&world),
        None,
        "moments before it was asked for ask for nothing"
    );
    hours(&mut world, 24 * 10);
    world.settle();
    assert_eq!(key(&world), None);
    hours(&mut world, 24 * 5);
    let plan = world.settle();
    let rotated = key(&world).unwrap();
    assert!(rotated >= "2026-01-15T02:00:00Z".parse().unwrap());
    let record = plan.status.rotations.last().unwrap();
    assert_eq!(
        (record.by.as_deref(), record.request.as_deref()),
        (Some("schedule"), None)
    );
    assert!(record.finished_at.is_some());
    hours(&mut world, 24 * 7);
    world.settle();
    assert_eq!(key(&world), Some(rotated), "once a month");
}

#[test]
fn schedules_that_make_no_sense_are_refused_before_anything_changes() {
    for (path, value, word) in [
        (
            "/verification",
            json!({"schedule": "0 25 * * *"}),
            "spec.verification.schedule",
        ),
        (
            "/encryption/reencryption",
            json!({"schedule": "0 2 1 * *", "policy": "Never"}),
            "policy Never forbids",
        ),
        (
            "/encryption/reencryption",
            json!({"schedule": "0 2 1 * *", "timeZone": "Europe/Atlantis"}),
            "spec.encryption.reencryption.schedule",
        ),
    ] {
        let mut spec = spec();
        spec["verification"] = json!({"schedule": "0 3 * * 0"});
        spec["encryption"]["reencryption"] = json!({});
        *spec.pointer_mut(path).unwrap() = value;
        let mut world = World::new(spec, true);
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty());
        let blocked = plan
            .status
            .conditions
            .iter()
            .find(|one| one.type_ == "Blocked");
        let message = &blocked.unwrap().message;
        assert!(message.contains(word), "{word}: {message}");
    }
}
