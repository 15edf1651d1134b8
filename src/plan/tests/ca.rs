//! Rotation of the CA. The world itself sees to it that everybody can connect at each moment, and that no store is stranded.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::v1alpha1::{CaPhase, CertificateAuthorityStatus, Phase, RotationKind};
use crate::plan::action::Plan;
use crate::plan::names::Part;
use crate::plan::observed::SecretContent;
use crate::plan::plan;
use crate::tikv::pd::types::StoreState;
use crate::tls::parse::CertificateInfo;

pub(super) fn world(overlap: &str) -> World {
    let mut spec: Value = spec();
    spec["tls"]["ca"] = json!({"overlap": overlap});
    let mut world = World::new(spec, true);
    world.settle();
    world
}

fn ask(world: &mut World, word: Option<&str>) {
    world.seen.resource.spec.rotate.ca = word.map(str::to_owned);
}

fn hurry(world: &mut World, word: Option<&str>) {
    world.seen.resource.spec.rotate.ca_emergency = word.map(str::to_owned);
    world.emergency = true;
}

fn ca(world: &World, secret: &str) -> Option<CertificateInfo> {
    match &world.seen.secrets.get(secret)?.content {
        SecretContent::Authority(ca) => Some(ca.anchor.clone()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn present(world: &World) -> CertificateInfo {
    ca(world, "db-ca").unwrap()
}

pub(super) fn under_way(world: &World) -> bool {
    world.seen.secrets.contains_key("db-ca-next")
}

pub(super) fn begin(world: &mut World) {
    for _ in 0..100 {
        if under_way(world) {
            return;
        }
        world.reconcile(None);
    }
    panic!("it does not begin");
}

pub(super) fn told(plan: &Plan) -> CertificateAuthorityStatus {
    plan.status.certificate_authority.clone().unwrap()
}

pub(super) fn deleted(world: &World, from: usize, part: &str) -> Vec<String> {
    let lines = world.log[from..].iter();
    let pods = lines.filter_map(|line| line.strip_prefix("DeletePod "));
    pods.filter(|pod| pod.starts_with(part))
        .map(str::to_owned)
        .collect()
}

pub(super) fn events(plans: &[Plan]) -> Vec<&str> {
    let notes = plans.iter().flat_map(|plan| &plan.events);
    let reasons = notes.map(|note| note.reason.as_str());
    reasons.filter(|reason| reason.starts_with("Ca")).collect()
}

/// One CA, known everywhere alone, that signs everything.
pub(super) fn only(world: &World, ca: &CertificateInfo) {
    assert_eq!(present(world).serial, ca.serial);
    assert!(!under_way(world));
    for part in Part::CORE {
        match &world.seen.secrets[&part.secret("db")].content {
            SecretContent::Leaf {
                certificate,
                trusts,
                ..
            } => {
                assert_eq!(certificate.issuer, ca.subject, "{part:?}");
                assert_eq!(trusts.len(), 1, "{part:?}");
                assert_eq!(trusts[0].serial, ca.serial, "{part:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    for process in world.processes.values().filter(|one| one.part == Part::Pd) {
        let loaded = &process.trusts_at_start;
        assert!(
            loaded.len() == 1 && loaded[0].serial == ca.serial,
            "{} still trusts {loaded:?}",
            process.pod
        );
    }
}

/// Until nothing is under way and nothing is to be done, whatever is waited for.
pub(super) fn finish(world: &mut World) -> Vec<Plan> {
    let mut plans = Vec::new();
    for _ in 0..1000 {
        let plan = world.reconcile(None);
        let over = plan.status.certificate_authority.is_none() && plan.actions.is_empty();
        let ready = plan.status.phase == Some(Phase::Ready);
        plans.push(plan);
        if over && ready {
            return plans;
        }
    }
    let last = plans.last().unwrap();
    panic!(
        "{:#?}\n{:#?}\n{:#?}",
        last.status.certificate_authority, last.status.conditions, last.status.rollout
    );
}

#[test]
fn it_goes_from_one_ca_to_the_next_and_everybody_can_connect_all_the_time() {
    let mut world = world("0s");
    let (old, from) = (present(&world), world.log.len());
    ask(&mut world, Some("2026-02"));
    let plans = finish(&mut world);
    let new = present(&world);
    assert!(new.serial != old.serial && new.subject != old.subject);
    only(&world, &new);
    assert_eq!(world.most_away, 1);

    let mut phases: Vec<CaPhase> = plans
        .iter()
        .filter_map(|plan| Some(plan.status.certificate_authority.as_ref()?.phase))
        .collect();
    phases.dedup();
    assert_eq!(
        phases,
        [
            CaPhase::Asked,
            CaPhase::Bundle,
            CaPhase::Leaves,
            CaPhase::Drop
        ]
    );
    assert_eq!(
        deleted(&world, from, "tikv"),
        ["tikv-2", "tikv-1", "tikv-0"]
    );
    let members = deleted(&world, from, "pd");
    assert_eq!(members.len(), 6, "{members:?}");
    assert_eq!(
        events(&plans),
        ["CaRotationStarted", "CaDropped", "CaRotationFinished"]
    );
    let status = &plans.last().unwrap().status;
    let record = status.rotations.last().unwrap();
    assert_eq!(record.kind, RotationKind::CertificateAuthority);
    assert_eq!(record.request.as_deref(), Some("2026-02"));
    assert_eq!(record.from.as_ref(), Some(&old.serial));
    assert_eq!(record.to.as_ref(), Some(&new.serial));
    assert!(record.finished_at.is_some() && record.abandoned_at.is_none());

    // The same word asks for nothing more, nor does its end.
    for word in [Some("2026-02"), None] {
        ask(&mut world, word);
        for _ in 0..20 {
            let plan = world.reconcile(None);
            assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        }
    }
}

#[test]
fn it_says_what_it_waits_for_and_how_to_go_back() {
    let mut world = world("0s");
    ask(&mut world, Some("w"));
    begin(&mut world);
    let plan = world.reconcile(None);
    let status = told(&plan);
    assert_eq!(status.phase, CaPhase::Bundle);
    assert!(
        status.point_of_no_return.contains("rotate.ca"),
        "{status:?}"
    );
    assert!(status.started_at.is_some() && !status.waits_for.is_empty());
    let ready = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "CertificatesReady");
    assert_eq!(ready.unwrap().status, "False");
}

#[test]
fn cut_before_any_action_it_ends_the_same() {
    let mut start = world("0s");
    ask(&mut start, Some("w"));
    let rounds = finish(&mut start.clone()).len();
    assert!(rounds > 20, "{rounds}");
    let mut at = start;
    for round in 0..rounds {
        let actions = plan(&at.seen, at.now).actions.len();
        for cut in 0..actions {
            let mut world = at.clone();
            world.reconcile(Some(cut));
            finish(&mut world);
            only(&world, &present(&world));
            assert!(world.most_away <= 1, "cut {cut} at {round}");
        }
        at.reconcile(None);
    }
}

#[test]
fn taken_back_it_goes_back_until_the_old_ca_is_dropped() {
    let mut start = world("0s");
    let old = present(&start);
    ask(&mut start, Some("w"));
    let rounds = finish(&mut start.clone()).len();
    let (mut abandoned, mut at) = (0, start);
    for round in 0..rounds {
        let mut world = at.clone();
        let dropped = present(&world).serial != old.serial;
        let begun = under_way(&world);
        ask(&mut world, None);
        let plans = finish(&mut world);
        let now = present(&world);
        assert_eq!(now.serial == old.serial, !dropped, "taken back at {round}");
        only(&world, &now);
        if begun && !dropped {
            abandoned += 1;
            assert_eq!(events(&plans), ["CaRotationAbandoned"], "{round}");
            let status = &plans.last().unwrap().status;
            let record = status.rotations.last().unwrap();
            assert!(record.abandoned_at.is_some() && record.finished_at.is_some());
        }
        at.reconcile(None);
    }
    assert!(abandoned > 10, "{abandoned}");
}

#[test]
fn asked_for_again_while_it_goes_back_it_goes_on() {
    let mut start = world("0s");
    let old = present(&start);
    ask(&mut start, Some("w"));
    let rounds = finish(&mut start.clone()).len();
    let mut at = start;
    for round in 0..rounds {
        at.reconcile(None);
        if round % 2 > 0 {
            continue;
        }
        let mut world = at.clone();
        ask(&mut world, None);
        for _ in 0..=2 * (round % 7) {
            world.reconcile(None);
        }
        ask(&mut world, Some("w"));
        finish(&mut world);
        only(&world, &present(&world));
        assert_ne!(present(&world).serial, old.serial);
    }
}

#[test]
fn a_store_that_is_down_holds_every_step_and_is_never_stranded() {
    let mut start = world("0s");
    ask(&mut start, Some("w"));
    let rounds = finish(&mut start.clone()).len();
    let mut at = start;
    let mut held = 0;
    for round in 0..rounds {
        at.reconcile(None);
        if round % 3 > 0 {
            continue;
        }
        let mut world = at.clone();
        world.pd().stores[1].state = StoreState::Disconnected;
        let before = present(&world).serial;
        let phase = |world: &World| {
            let memory = crate::plan::ca::memory(&world.seen);
            memory.map(|memory| memory.step)
        };
        // Effects of what was decided before it went.
        world.kubernetes();
        world.reconcile(None);
        let step = phase(&world);
        for _ in 0..15 {
            world.now += SignedDuration::from_hours(1);
            let plan = world.reconcile(None);
            assert_eq!(
                phase(&world),
                step,
                "at {round}: {:?}",
                plan.status.certificate_authority
            );
            if let Some(status) = &plan.status.certificate_authority {
                held += 1;
                assert!(!status.waits_for.is_empty());
            }
        }
        if step.is_some() && step != Some(crate::api::v1alpha1::CaStep::Drop) {
            assert_eq!(present(&world).serial, before, "at {round}");
        }
        world.pd().stores[1].state = StoreState::Up;
        finish(&mut world);
        only(&world, &present(&world));
    }
    assert!(held > 100, "{held}");
}

#[test]
fn no_step_before_every_pod_has_the_files() {
    let mut world = world("0s");
    ask(&mut world, Some("w"));
    world.stuck.insert("tikv-1".into());
    for _ in 0..50 {
        world.reconcile(None);
    }
    let plan = world.reconcile(None);
    let status = told(&plan);
    assert_eq!((status.phase, status.published_at), (CaPhase::Bundle, None));
    assert!(status.waits_for.contains("tikv-1:20160"), "{status:?}");
    world.stuck.clear();
    finish(&mut world);
    only(&world, &present(&world));
}

#[test]
fn clients_get_time_twice_and_it_is_ready_meanwhile() {
    let mut world = world("24h");
    let begun = world.now;
    ask(&mut world, Some("w"));
    let mut waited = Vec::new();
    for _ in 0..400 {
        let plan = world.reconcile(None);
        let Some(status) = plan.status.certificate_authority.clone() else {
            if !under_way(&world) && waited.len() > 1 {
                break;
            }
            continue;
        };
        if status.waits_for.contains("clients outside") && waited.last() != Some(&status.phase) {
            assert_eq!(
                plan.status.phase,
                Some(Phase::Ready),
                "{:?}",
                plan.status.conditions
            );
            assert!(status.published_at.is_some());
            waited.push(status.phase);
            world.now += SignedDuration::from_hours(23);
            world.kubernetes();
            assert!(
                told(&world.reconcile(None))
                    .waits_for
                    .contains("clients outside")
            );
            world.now += SignedDuration::from_hours(1);
            world.kubernetes();
        }
    }
    assert_eq!(waited, [CaPhase::Bundle, CaPhase::Leaves]);
    finish(&mut world);
    only(&world, &present(&world));
    assert!(world.now.duration_since(begun) > SignedDuration::from_hours(48));
}

#[test]
fn an_emergency_waits_for_no_client_and_says_what_it_costs_before() {
    let mut world = world("24h");
    let (old, from, begun) = (present(&world), world.log.len(), world.now);
    world.seen.resource.spec.rollout.paused = true;
    hurry(&mut world, Some("leak-1"));
    world.reconcile(None);
    let plan = world.reconcile(None);
    let status = told(&plan);
    assert_eq!(status.phase, CaPhase::Paused);
    assert!(
        status.costs.unwrap().contains("refused"),
        "before it begins"
    );
    assert!(!under_way(&world));

    world.seen.resource.spec.rollout.paused = false;
    let plans = finish(&mut world);
    only(&world, &present(&world));
    assert_ne!(present(&world).serial, old.serial);
    assert!(world.now.duration_since(begun) < SignedDuration::from_hours(1));
    let first = plans.iter().flat_map(|plan| &plan.events);
    let mut first = first.filter(|note| note.reason == "CaRotationStarted");
    assert!(first.next().unwrap().message.contains("refused"));
    // Stores restart once, after the old CA was dropped.
    let log = &world.log[from..];
    let dropped = log.iter().position(|line| line == "PromoteCa").unwrap();
    let restarts = |log: &[String]| {
        let stores = log.iter().filter(|line| line.starts_with("DeletePod tikv"));
        stores.count()
    };
    assert_eq!(
        (restarts(&log[..dropped]), restarts(&log[dropped..])),
        (0, 3)
    );
    for _ in 0..20 {
        assert!(world.reconcile(None).actions.is_empty());
    }
}

#[test]
fn an_emergency_hurries_what_is_under_way() {
    let mut world = world("24h");
    ask(&mut world, Some("w"));
    while !world
        .reconcile(None)
        .status
        .certificate_authority
        .is_some_and(|status| status.waits_for.contains("clients outside"))
    {}
    let next = ca(&world, "db-ca-next").unwrap();
    hurry(&mut world, Some("leak-1"));
    let plans = finish(&mut world);
    assert_eq!(present(&world).serial, next.serial, "not a second one");
    assert!(events(&plans).contains(&"CaRotationHurried"));
    only(&world, &next);
}

#[test]
fn near_its_end_the_ca_is_rotated_by_itself() {
    let mut world = world("24h");
    let old = present(&world);
    world.now = old.not_after - SignedDuration::from_hours(1009);
    world.kubernetes();
    for _ in 0..20 {
        let plan = world.reconcile(None);
        assert_eq!(plan.status.certificate_authority, None);
    }
    world.now += SignedDuration::from_hours(1);
    world.kubernetes();
    let mut said = Vec::new();
    for _ in 0..400 {
        let plan = world.reconcile(None);
        let ready = plan
            .status
            .conditions
            .iter()
            .find(|one| one.type_ == "CertificatesReady");
        said.push(ready.unwrap().reason.clone());
        let waits = plan.status.certificate_authority.as_ref();
        if waits.is_some_and(|status| status.waits_for.contains("clients outside")) {
            assert_eq!(waits.unwrap().by.as_deref(), Some("schedule"));
            world.now += SignedDuration::from_hours(24);
            world.kubernetes();
        } else if present(&world).serial != old.serial && !under_way(&world) {
            break;
        }
    }
    finish(&mut world);
    only(&world, &present(&world));
    assert_ne!(present(&world).serial, old.serial);
    assert!(!said.contains(&"CaEnds".to_owned()), "it was in time");
    let status = world.seen.resource.status.clone().unwrap();
    let record = status.rotations.last().unwrap();
    assert_eq!(
        (record.by.as_deref(), &record.request),
        (Some("schedule"), &None)
    );
}

#[test]
fn a_store_that_its_peers_do_not_reach_gets_a_certificate_of_the_old_ca_again() {
    let mut world = world("0s");
    ask(&mut world, Some("w"));
    let signed = |world: &World| {
        let leaves = world.processes.values();
        let mut leaves = leaves.filter(|one| one.part == Part::Tikv);
        leaves.any(|one| one.leaf.issuer.contains(" CA "))
    };
    while !signed(&world) {
        world.reconcile(None);
    }
    world.now += SignedDuration::from_mins(10);
    world.kubernetes();
    world.seen.unready.insert("tikv-1".into());
    let from = world.log.len();
    let plans: Vec<Plan> = (0..30).map(|_| world.reconcile(None)).collect();
    assert_eq!(events(&plans), ["CaStoreStranded"]);
    assert!(!signed(&world));
    let status = told(plans.last().unwrap());
    assert_eq!(status.phase, CaPhase::Bundle);
    assert!(status.waits_for.contains("tikv-1"), "{status:?}");
    assert!(deleted(&world, from, "").is_empty());
    world.seen.unready.clear();
    finish(&mut world);
    only(&world, &present(&world));
}

#[test]
fn paused_nothing_begins_and_nothing_goes_on() {
    let mut start = world("0s");
    ask(&mut start, Some("w"));
    let rounds = finish(&mut start.clone()).len();
    let mut at = start;
    for round in 0..rounds {
        at.reconcile(None);
        if round % 4 > 0 {
            continue;
        }
        let mut world = at.clone();
        world.seen.resource.spec.rollout.paused = true;
        for _ in 0..3 {
            world.reconcile(None);
        }
        let (ca, step) = (present(&world).serial, crate::plan::ca::memory(&world.seen));
        let pods = world
            .log
            .iter()
            .filter(|line| line.starts_with("DeletePod"))
            .count();
        for _ in 0..20 {
            let plan = world.reconcile(None);
            if let Some(status) = plan.status.certificate_authority {
                assert_eq!(status.phase, CaPhase::Paused);
            }
        }
        assert_eq!(present(&world).serial, ca);
        assert_eq!(crate::plan::ca::memory(&world.seen), step);
        let now = world
            .log
            .iter()
            .filter(|line| line.starts_with("DeletePod"))
            .count();
        assert!(now <= pods + 1, "what is begun is finished");
        world.seen.resource.spec.rollout.paused = false;
        finish(&mut world);
    }
}

#[test]
fn a_next_ca_that_is_lost_after_it_signed_blocks_and_nothing_is_issued() {
    let mut world = world("0s");
    ask(&mut world, Some("w"));
    while !world
        .processes
        .values()
        .any(|one| one.leaf.issuer.contains(" CA "))
    {
        world.reconcile(None);
    }
    let kept = world.seen.secrets.remove("db-ca-next").unwrap();
    let plan = world.reconcile(None);
    let blocked = plan
        .status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked");
    assert_eq!(blocked.unwrap().reason, "CaLost");
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    world.seen.secrets.insert("db-ca-next".into(), kept);
    finish(&mut world);
    only(&world, &present(&world));
}

#[test]
fn a_next_ca_that_was_deleted_before_it_signed_is_made_anew() {
    let mut world = world("0s");
    ask(&mut world, Some("w"));
    begin(&mut world);
    world.seen.secrets.remove("db-ca-next");
    finish(&mut world);
    only(&world, &present(&world));
}

#[test]
fn a_word_that_was_there_from_the_beginning_asks_for_nothing() {
    let mut spec = spec();
    spec["rotate"] = json!({"ca": "first", "caEmergency": "never"});
    let mut world = World::new(spec, true);
    world.settle();
    let first = present(&world);
    for _ in 0..20 {
        assert!(world.reconcile(None).actions.is_empty());
    }
    only(&world, &first);
}
