//! Other issuers: going from one to the next, and what happens when one has another CA, or gives nothing.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::ca::{begin, deleted, events, finish, only, present, told, under_way, world};
use super::world::{World, spec};
use crate::api::v1alpha1::{CaPhase, Phase, condition};
use crate::plan::action::Action;
use crate::plan::names::Part;
use crate::plan::observed::{IssuerLook, SecretContent};
use crate::plan::plan;
use crate::tls::parse::CertificateInfo;

fn vault() -> Value {
    json!({"vault": {
        "address": "https://vault.example.com:8200", "role": "tikv",
        "auth": {"kubernetes": {"role": "tikv-security"}},
    }})
}

fn name(world: &mut World, issuer: Value) {
    let tls = world.seen.resource.spec.tls.as_mut().unwrap();
    tls.issuer = serde_json::from_value(issuer).unwrap();
    *world.seen.resource.metadata.generation.get_or_insert(1) += 1;
}

/// The issuer has this CA from now on.
fn offer(world: &mut World, common_name: &str) -> CertificateInfo {
    let ca = world.certificate(common_name, common_name, SignedDuration::from_hours(80_000));
    let (anchor, signer) = (Box::new(ca.clone()), Box::new(ca.clone()));
    world.seen.issuer = IssuerLook::Offers { anchor, signer };
    ca
}

fn refuse(world: &mut World) {
    world.seen.issuer = IssuerLook::Refused {
        message: "issuer vault pki/tikv does not answer: Vault is sealed".to_owned(),
        remedy: "Unseal it.".to_owned(),
    };
}

fn by_vault() -> (World, CertificateInfo) {
    let mut world = world("0s");
    name(&mut world, vault());
    let ca = offer(&mut world, "corporate");
    finish(&mut world);
    only(&world, &ca);
    (world, ca)
}

#[test]
fn another_issuer_is_a_rotation_in_which_everybody_can_connect() {
    let mut world = world("0s");
    let (old, from) = (present(&world), world.log.len());
    name(&mut world, vault());
    let new = offer(&mut world, "corporate");
    let plans = finish(&mut world);
    only(&world, &new);
    assert_eq!(world.most_away, 1);
    assert_ne!(old.serial, new.serial);
    assert_eq!(
        events(&plans),
        ["CaRotationStarted", "CaDropped", "CaRotationFinished"]
    );
    // The CA before signed for the time with both: a port shows that it has read them, and each store restarts once.
    assert_eq!(deleted(&world, from, "tikv").len(), 3);
    for _ in 0..20 {
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    }
}

#[test]
fn an_issuer_that_is_gone_is_left_without_its_help() {
    let (mut world, _) = by_vault();
    let from = world.log.len();
    name(&mut world, json!({"selfSigned": {}}));
    world.seen.issuer = IssuerLook::Makes;
    finish(&mut world);
    let new = present(&world);
    assert!(new.subject.contains("tikv-security"), "{new:?}");
    only(&world, &new);
    assert_eq!(world.most_away, 1);
    assert!(world.seen.not_issued.is_empty(), "nobody was asked in vain");
    assert_eq!(
        deleted(&world, from, "tikv").len(),
        6,
        "once for both CAs, once for the new one alone"
    );
}

#[test]
fn an_issuer_with_another_ca_is_followed() {
    let (mut world, old) = by_vault();
    let new = offer(&mut world, "corporate");
    assert_eq!(old.subject, new.subject, "the worst: they have one name");
    finish(&mut world);
    only(&world, &new);
    assert_eq!(world.most_away, 1);
}

#[test]
fn naming_the_issuer_before_again_turns_it_around() {
    for steps in [1, 5, 20] {
        let (mut world, old) = by_vault();
        let before = world.seen.issuer.clone();
        name(&mut world, json!({"selfSigned": {}}));
        world.seen.issuer = IssuerLook::Makes;
        begin(&mut world);
        for _ in 0..steps {
            if told(&world.reconcile(None)).phase == CaPhase::Drop {
                break;
            }
        }
        assert!(under_way(&world));
        let plan = plan(&world.seen, world.now);
        let told = told(&plan).point_of_no_return;
        assert!(told.contains("tls.issuer"), "{told}");
        name(&mut world, vault());
        world.seen.issuer = before;
        finish(&mut world);
        only(&world, &old);
    }
}

#[test]
fn nothing_is_begun_with_an_issuer_that_can_not_be_used() {
    let mut world = world("0s");
    let old = present(&world);
    name(&mut world, vault());
    refuse(&mut world);
    for _ in 0..20 {
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        let told = told(&plan);
        assert_eq!(told.phase, CaPhase::Asked);
        assert!(told.waits_for.contains("Vault is sealed"), "{told:?}");
        assert!(told.waits_for.contains("Unseal it."), "{told:?}");
    }
    only(&world, &old);
    let new = offer(&mut world, "corporate");
    finish(&mut world);
    only(&world, &new);
}

#[test]
fn a_first_certificate_that_is_not_given_holds_up_what_would_need_it() {
    let mut spec = spec();
    spec["tls"]["issuer"] = vault();
    for secret in [Part::Pd.secret("db"), "db-ca".to_owned()] {
        let mut world = World::new(spec.clone(), true);
        offer(&mut world, "corporate");
        world.not_given(&secret);
        let plan = world.reconcile(None);
        assert_eq!(plan.status.phase, Some(Phase::Blocked));
        let told = plan.status.message.clone().unwrap();
        assert!(
            told.contains(&secret) && told.contains("does not answer"),
            "{told}"
        );
        assert!(
            !world
                .log
                .iter()
                .any(|line| line.starts_with("PatchStatefulSet"))
        );
        world.now += SignedDuration::from_secs(31);
        let plan = world.settle();
        assert_eq!(plan.status.phase, Some(Phase::Ready));
    }
}

#[test]
fn a_ca_that_is_not_made_here_is_not_rotated_by_a_word() {
    let (mut world, old) = by_vault();
    world.seen.resource.spec.rotate.ca = Some("2026-05".to_owned());
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    let waits = told(&plan).waits_for;
    assert!(waits.contains("another default issuer in Vault"), "{waits}");
    let new = offer(&mut world, "corporate 2");
    finish(&mut world);
    only(&world, &new);
    let record = world.reconcile(None).status.rotations.last().cloned();
    assert_eq!(record.unwrap().request.as_deref(), Some("2026-05"));
    assert_ne!(old.serial, new.serial);
}

#[test]
fn an_issuer_that_does_not_show_its_ca_is_asked_for_it_by_a_word() {
    let mut world = world("0s");
    let issuer = json!({"certManager": {"issuerRef": {"name": "corporate"}}});
    name(&mut world, issuer);
    finish(&mut world);
    let first = present(&world);
    only(&world, &first);
    for _ in 0..20 {
        let plan = world.reconcile(None);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    }
    world.seen.resource.spec.rotate.ca = Some("2026-05".to_owned());
    finish(&mut world);
    let second = present(&world);
    assert_ne!(first.serial, second.serial);
    only(&world, &second);
}

#[test]
fn another_certificate_below_the_same_root_needs_no_rotation() {
    let (mut world, ca) = by_vault();
    let from = world.log.len();
    let below = world.certificate("below", "corporate", SignedDuration::from_hours(9_000));
    let (anchor, signer) = (Box::new(ca.clone()), Box::new(below.clone()));
    world.seen.issuer = IssuerLook::Offers { anchor, signer };
    let acted = world.reconcile(None);
    assert_eq!(
        acted.actions.iter().map(Action::name).collect::<Vec<_>>(),
        ["RefreshCa"]
    );
    finish(&mut world);
    only(&world, &ca);
    assert_eq!(world.log[from..], ["RefreshCa"]);
    let SecretContent::Authority(stored) = &world.seen.secrets["db-ca"].content else {
        panic!("no CA");
    };
    assert_eq!(stored.signer.serial, below.serial);
    assert_eq!(stored.ends, below.not_after);
}

#[test]
fn a_renewal_that_fails_is_told_and_holds_nothing_else_up() {
    let (mut world, _) = by_vault();
    let secret = Part::Tikv.secret("db");
    let valid = |world: &World| match &world.seen.secrets[&secret].content {
        SecretContent::Leaf { certificate, .. } => certificate.clone(),
        other => panic!("{other:?}"),
    };
    let old = valid(&world);
    refuse(&mut world);
    // Two thirds of its life are over.
    world.now = old.not_after - SignedDuration::from_hours(239);
    for _ in 0..10 {
        world.reconcile(None);
    }
    assert_eq!(valid(&world), old, "what is valid is not thrown away");
    assert!(world.seen.not_issued.contains_key(&secret));
    let asked = |world: &World| world.log.iter().filter(|line| *line == "IssueLeaf").count();
    let before = asked(&world);
    let plan = plan(&world.seen, world.now);
    let certificates = plan.status.conditions.iter();
    let mut certificates = certificates.filter(|one| one.type_ == condition::CERTIFICATES_READY);
    let told = certificates.next().unwrap();
    assert_eq!(
        (told.status.as_str(), told.reason.as_str()),
        ("True", "NotIssued")
    );
    assert!(told.message.contains("does not answer"), "{told:?}");
    assert_eq!(plan.status.phase, Some(Phase::Ready));
    // What else is asked for is done meanwhile.
    world.seen.resource.spec.rotate.data_key = Some("now".to_owned());
    for failure in world.seen.not_issued.values_mut() {
        failure.retry_at = world.now + SignedDuration::from_hours(100);
    }
    let deleted_before = deleted(&world, 0, "tikv").len();
    for _ in 0..200 {
        world.reconcile(None);
    }
    assert_eq!(deleted(&world, 0, "tikv").len(), deleted_before + 3);
    assert_eq!(asked(&world), before, "not before it is time");
}
