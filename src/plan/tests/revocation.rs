//! Revoked certificates: published, cut off, and proven to be refused.

use jiff::SignedDuration;
use serde_json::json;

use super::world::{World, spec};
use crate::api::v1alpha1::{
    Issuer, RefusalProof, RevocationPhase, RevocationReason, RevocationStatus, TikvSecurityStatus,
};
use crate::plan::action::{Action, Plan};
use crate::plan::observed::{IssuerLook, SecretContent};
use crate::plan::revocation::record::{Entry, Record, Stored};
use crate::tls::parse::CertificateInfo;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A cluster at rest with this `tls.revocation`.
fn world(policy: &serde_json::Value, names: &[&str]) -> World {
    let mut spec = spec();
    spec["tls"]["revocation"] = policy.clone();
    spec["tls"]["allowedNames"] = json!(names);
    let mut world = World::new(spec, true);
    world.settle();
    world
}

fn ca(world: &World) -> CertificateInfo {
    match &world.seen.secrets["db-ca"].content {
        SecretContent::Authority(ca) => ca.anchor.clone(),
        other => panic!("{other:?}"),
    }
}

fn record(world: &World) -> Record {
    match &world.seen.revoked {
        Stored::Ours { record, .. } => record.clone(),
        other => panic!("{other:?}"),
    }
}

/// As the loop of client certificates writes it down.
fn revoke(world: &mut World, serial: &str, name: &str, reason: RevocationReason) {
    let entry = Entry {
        serial: serial.into(),
        authority: ca(world).serial,
        certificate: Some("shop/orders".into()),
        common_name: Some(name.into()),
        not_after: world.now + HOUR * 720,
        revoked_at: world.now,
        reason,
        crl: None,
        refused: None,
    };
    let mut all = match &world.seen.revoked {
        Stored::Ours { record, .. } => record.clone(),
        _ => Record::default(),
    };
    all.append(&[entry]);
    world.keep_record(all);
}

fn told(status: &TikvSecurityStatus) -> &RevocationStatus {
    &status.revocations[0]
}

fn publishes(plan: &Plan) -> bool {
    plan.actions
        .iter()
        .any(|action| matches!(action, Action::PublishCrl { .. }))
}

#[test]
fn a_crl_is_there_when_it_is_asked_for_and_signed_anew_at_half_of_its_life() {
    let mut world = world(&json!({"crlValidity": "10h"}), &[]);
    let first = record(&world);
    assert_eq!(first.authorities, [ca(&world).serial]);
    let (this, next) = (first.this_update.unwrap(), first.next_update.unwrap());
    assert_eq!(next.duration_since(this), HOUR * 10);
    for _ in 0..5 {
        assert!(
            !publishes(&world.reconcile(None)),
            "an idle cluster is not written to"
        );
    }
    world.now = this + HOUR * 5;
    assert!(publishes(&world.reconcile(None)));
    let second = record(&world);
    assert!(second.number > first.number && second.next_update > first.next_update);
    assert!(!publishes(&world.reconcile(None)));
}

#[test]
fn without_anything_revoked_and_without_the_wish_there_is_none() {
    let mut world = World::new(spec(), true);
    world.settle();
    assert_eq!(world.seen.revoked, Stored::Absent);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    world.reconcile(None);
    assert_eq!(record(&world).entries[0].crl, Some(record(&world).number));
}

#[test]
fn where_its_end_is_waited_for_the_status_says_that_it_is_accepted_until_then() {
    let mut world = world(&json!({}), &[]);
    let restarts = world.log.len();
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    let plan = world.reconcile(None);
    assert!(
        plan.events
            .iter()
            .any(|note| note.reason == "CertificateRevoked")
    );
    let plan = world.reconcile(None);
    let one = told(&plan.status);
    assert_eq!(one.phase, RevocationPhase::Published);
    let until = format!("still accepted by the cluster until {}", one.not_after);
    assert!(one.message.contains(&until), "{}", one.message);
    world.settle();
    assert!(
        !world.log[restarts..]
            .iter()
            .any(|line| line.starts_with("DeletePod"))
    );

    world.now = one.not_after + HOUR;
    assert_eq!(
        told(&world.reconcile(None).status).phase,
        RevocationPhase::Expired
    );
    world.now = one.not_after + HOUR * 25;
    let plan = world.reconcile(None);
    assert!(
        plan.status.revocations.is_empty(),
        "what nobody can mistake any more is forgotten"
    );
    assert!(record(&world).entries.is_empty());
}

#[test]
fn what_a_ca_elsewhere_signed_is_written_down_and_never_said_to_be_listed() {
    let mut world = world(&json!({}), &[]);
    let issuer: Issuer = serde_json::from_value(json!({"vault": {
        "address": "https://vault.example.com:8200", "role": "tikv",
        "auth": {"kubernetes": {"role": "tikv-security"}},
    }}))
    .unwrap();
    let anchor = ca(&world);
    let offered = Box::new(anchor.clone());
    world.seen.issuer = IssuerLook::Offers {
        anchor: offered.clone(),
        signer: offered,
    };
    let tls = world.seen.resource.spec.tls.as_mut().unwrap();
    tls.issuer = issuer.clone();
    let Some(SecretContent::Authority(stored)) = world
        .seen
        .secrets
        .get_mut("db-ca")
        .map(|one| &mut one.content)
    else {
        panic!("no CA");
    };
    stored.issuer = issuer;
    revoke(&mut world, "5e", "orders", RevocationReason::KeyCompromise);
    for _ in 0..5 {
        let plan = world.reconcile(None);
        let told = told(&plan.status);
        assert_eq!(told.phase, RevocationPhase::Recorded);
        assert!(told.message.contains("still accepted"), "{told:?}");
        assert!(told.message.contains("revoke it there, too"), "{told:?}");
    }
    let record = record(&world);
    assert!(record.authorities.is_empty(), "{record:?}");
    assert!(record.entries.iter().all(|one| one.crl.is_none()));
}

#[test]
fn its_name_is_taken_off_the_list_and_refused_by_trial() {
    let name = "orders.shop.example";
    let mut world = world(
        &json!({"cut": "AllowedNames"}),
        &[name, "other.shop.example"],
    );
    let from = world.log.len();
    revoke(&mut world, "aa", name, RevocationReason::PrivilegeWithdrawn);
    world.reconcile(None);
    let plan = world.reconcile(None);
    assert_eq!(told(&plan.status).phase, RevocationPhase::CuttingOff);
    assert!(told(&plan.status).message.contains("still accepted"));
    world.settle();
    world.settle();
    let plan = world.reconcile(None);
    let one = told(&plan.status);
    assert_eq!(
        (one.phase, one.proof),
        (RevocationPhase::Refused, Some(RefusalProof::Tried))
    );
    for pod in ["tikv-0:20160", "tikv-1:20160", "tikv-2:20160"] {
        assert!(one.message.contains(pod), "{}", one.message);
    }
    let restarted = |part: &str| {
        let lines = world.log[from..].iter();
        lines
            .filter(|line| line.starts_with(&format!("DeletePod {part}")))
            .count()
    };
    assert_eq!((restarted("tikv"), restarted("pd")), (3, 0));
    // Long after its end the name stays off, so that no store restarts to let it in again.
    let from = world.log.len();
    world.now += HOUR * 24 * 40;
    world.settle();
    assert!(
        !world.log[from..]
            .iter()
            .any(|line| line.starts_with("PatchStatefulSet"))
    );
}

#[test]
fn a_name_that_all_clients_share_is_not_taken_off() {
    let mut world = world(&json!({"cut": "AllowedNames"}), &[]);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    world.reconcile(None);
    let plan = world.settle();
    assert_eq!(told(&plan.status).phase, RevocationPhase::Published);
    assert!(
        told(&plan.status).message.contains("CaRotation"),
        "{}",
        told(&plan.status).message
    );
}

#[test]
fn its_ca_is_replaced_at_once_and_every_port_is_seen_to_refuse_it() {
    let mut world = world(&json!({"cut": "CaRotation"}), &[]);
    world.emergency = true;
    let old = ca(&world);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let plan = world.reconcile(None);
        if let Some(one) = plan.status.revocations.first() {
            seen.push(one.phase);
            let under_way = plan.status.certificate_authority.is_some();
            if one.phase == RevocationPhase::Refused && !under_way {
                break;
            }
        }
    }
    seen.dedup();
    assert_eq!(
        seen,
        [RevocationPhase::CuttingOff, RevocationPhase::Refused]
    );
    let plan = world.settle();
    let one = told(&plan.status);
    assert_eq!(one.proof, Some(RefusalProof::Tried), "{}", one.message);
    assert!(one.message.contains("pd-0:2379") && one.message.contains("tikv-2:20160"));
    assert!(ca(&world).serial != old.serial);
    assert_eq!(record(&world).authorities, [ca(&world).serial]);
    let rotation = plan.status.rotations.last().unwrap();
    assert_eq!(rotation.by.as_deref(), Some("revocation"));
    // Once is enough.
    for _ in 0..50 {
        world.reconcile(None);
    }
    assert_eq!(world.seen.secrets.get("db-ca-next").map(|_| ()), None);
}

#[test]
fn while_both_are_trusted_each_has_a_crl() {
    let mut world = world(&json!({}), &[]);
    world.seen.resource.spec.tls.as_mut().unwrap().ca.overlap = "24h".parse().unwrap();
    world.seen.resource.spec.rotate.ca = Some("2027".into());
    let old = ca(&world).serial;
    for _ in 0..100 {
        world.reconcile(None);
    }
    let both = record(&world).authorities;
    assert_eq!((both.len(), &both[0]), (2, &old));
}

#[test]
fn what_is_only_superseded_replaces_no_ca() {
    let mut world = world(&json!({"cut": "CaRotation"}), &[]);
    let old = ca(&world);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::Superseded,
    );
    world.reconcile(None);
    let plan = world.settle();
    assert_eq!(ca(&world).serial, old.serial);
    assert_eq!(told(&plan.status).phase, RevocationPhase::Published);
}

#[test]
fn a_serial_number_in_the_specification_is_revoked_and_stays_so() {
    let leaf = |world: &World| match &world.seen.secrets["db-client-tls"].content {
        SecretContent::Leaf { certificate, .. } => certificate.serial.clone(),
        other => panic!("{other:?}"),
    };
    let mut world = world(&json!({}), &[]);
    let own = leaf(&world);
    let policy = json!({"certificates": [{"serial": own, "reason": "KeyCompromise"}]});
    let tls = world.seen.resource.spec.tls.as_mut().unwrap();
    tls.revocation = Some(serde_json::from_value(policy).unwrap());
    world.reconcile(None);
    world.settle();
    assert!(
        leaf(&world) != own,
        "the operator's own set was issued anew"
    );
    let tls = world.seen.resource.spec.tls.as_mut().unwrap();
    tls.revocation = Some(serde_json::from_value(json!({})).unwrap());
    world.settle();
    assert!(record(&world).revokes(&own));
    let count = record(&world).entries.len();
    assert_eq!(count, 1);
}

#[test]
fn a_record_that_was_deleted_comes_back_from_the_status() {
    let mut world = world(&json!({}), &[]);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    world.reconcile(None);
    world.reconcile(None);
    let before = record(&world);
    world.seen.revoked = Stored::Absent;
    world.reconcile(None);
    let after = record(&world);
    assert!(after.revokes("aa") && after.number >= before.number);
    assert_eq!(after.entries[0].revoked_at, before.entries[0].revoked_at);
}

#[test]
fn one_that_can_not_be_read_is_not_written_over_and_what_was_said_stays_said() {
    let mut world = world(&json!({}), &[]);
    revoke(
        &mut world,
        "aa",
        "client.db.prod.tikv-security",
        RevocationReason::KeyCompromise,
    );
    world.reconcile(None);
    world.reconcile(None);
    world.seen.revoked = Stored::Unusable("it is broken".into());
    world.now += HOUR * 24 * 10;
    let plan = world.reconcile(None);
    assert!(!publishes(&plan));
    assert_eq!(told(&plan.status).serial, "aa");
}

#[test]
fn cut_before_any_action_it_ends_the_same() {
    let name = "orders.shop.example";
    for (policy, end) in [
        ("AllowedNames", name),
        ("CaRotation", "client.db.prod.tikv-security"),
    ] {
        for cut in 0..4 {
            let mut world = world(&json!({"cut": policy}), &[name]);
            world.emergency = true;
            revoke(&mut world, "aa", end, RevocationReason::KeyCompromise);
            let mut done = false;
            for round in 0..3000 {
                // Every second operator dies.
                let dies = (round % 2 == 0).then_some(cut);
                let plan = world.reconcile(dies);
                let over = plan.status.certificate_authority.is_none() && plan.actions.is_empty();
                let first = plan.status.revocations.first();
                if over && first.is_some_and(|one| one.phase == RevocationPhase::Refused) {
                    done = true;
                    break;
                }
            }
            assert!(done, "{policy}, cut {cut}");
            assert!(world.most_away <= 1);
        }
    }
}
