//! What of a client's certificates is revoked, and when.

use super::*;
use crate::api::v1alpha1::{
    IssuedCertificate, RevocationReason, TikvClientCertificateStatus, TikvSecurity,
};
use crate::plan::client_certificate::revoke::{Farewell, farewell};
use crate::plan::revocation::record::{Entry, Record};

const SERIAL: &str = "4000000000000000";

/// With what was issued before, each ending after so many hours.
fn after(mut observed: ClientObserved, before: &[(&str, i64)]) -> ClientObserved {
    let issued = before.iter().map(|(serial, hours)| IssuedCertificate {
        serial: (*serial).into(),
        authority: "a".into(),
        common_name: SHARED.into(),
        not_after: now() + SignedDuration::from_hours(*hours),
    });
    observed.resource.status = Some(TikvClientCertificateStatus {
        issued: issued.collect(),
        ..TikvClientCertificateStatus::default()
    });
    observed.resource.metadata.finalizers = Some(vec![crate::api::FINALIZER_REVOKE.into()]);
    observed
}

fn leaving(mut observed: ClientObserved) -> ClientObserved {
    let at = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    observed.resource.metadata.deletion_timestamp = Some(at);
    observed
}

fn serials(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|one| one.serial.as_str()).collect()
}

fn recorded(entries: Vec<Entry>) -> Stored {
    Stored::Ours {
        version: "1".into(),
        record: Record {
            entries,
            ..Record::default()
        },
    }
}

#[test]
fn it_is_held_before_anything_is_issued_for_it() {
    assert_eq!(plan(&asked(json!({}), shop()), now()).hold, Some(true));
    let held = after(asked(json!({}), shop()), &[]);
    assert_eq!(plan(&held, now()).hold, None);
    let nobody = asked(json!({}), json!({"clients": [{"namespaces": ["other"]}]}));
    assert_eq!(plan(&nobody, now()).hold, None, "nothing is issued for it");
}

#[test]
fn deletion_revokes_everything_that_was_issued_and_has_not_ended() {
    let observed = after(issued(json!({}), shop(), 1), &[("aa", 5), ("bb", -5)]);
    let plan = plan(&leaving(observed), now());
    assert_eq!(serials(&plan.revoke), ["aa", SERIAL]);
    assert!(plan.revoke.iter().all(|one| {
        one.reason == RevocationReason::CessationOfOperation
            && one.authority == "a"
            && one.certificate.as_deref() == Some("shop/orders")
            && one.common_name.as_deref() == Some(SHARED)
    }));
    assert_eq!((plan.hold, plan.action), (Some(false), None));
}

#[test]
fn what_is_written_down_before_it_was_handed_out_is_enough() {
    // Foreground deletion: the Secret is gone before the object.
    let observed = after(asked(json!({}), shop()), &[("aa", 5)]);
    let plan = plan(&leaving(observed), now());
    assert_eq!(serials(&plan.revoke), ["aa"]);
}

#[test]
fn where_nobody_keeps_a_list_it_just_goes() {
    let observed = leaving(after(issued(json!({}), shop(), 1), &[("aa", 5)]));
    let mut gone = observed.clone();
    gone.security = None;
    assert_eq!(farewell(&gone, now()), Farewell::Go(Vec::new()));
    let mut going = observed.clone();
    let security: &mut TikvSecurity = going.security.as_mut().unwrap();
    security.metadata.deletion_timestamp = observed.resource.metadata.deletion_timestamp.clone();
    assert_eq!(farewell(&going, now()), Farewell::Go(Vec::new()));
    let mut unreadable = observed;
    unreadable.revoked = Stored::Unusable("it is somebody else's".into());
    let plan = plan(&unreadable, now());
    assert_eq!((plan.hold, plan.revoke.len()), (None, 0));
    assert!(plan.events[0].message.contains("somebody else's"));
}

#[test]
fn revoked_in_the_specification_it_gets_no_certificate_until_that_is_taken_away() {
    let spec = json!({"revoked": "KeyCompromise"});
    let mut observed = after(issued(spec, shop(), 1), &[("aa", 5)]);
    let first = plan(&observed, now());
    assert_eq!(serials(&first.revoke), ["aa", SERIAL]);
    assert!(
        first
            .revoke
            .iter()
            .all(|one| one.reason == RevocationReason::KeyCompromise)
    );
    assert_eq!(first.action, None);
    assert_eq!(told(&first).1, "Revoked");

    observed.revoked = recorded(first.revoke);
    let second = plan(&observed, now());
    assert!(second.revoke.is_empty() && second.action.is_none());
    assert!(second.status.issued.is_empty());

    observed.resource.spec.revoked = None;
    let third = plan(&observed, now());
    assert!(
        third.action.unwrap().issue.is_some(),
        "a new one, not the old one back"
    );
    assert!(third.revoke.is_empty());
}

#[test]
fn the_one_before_is_revoked_after_the_time_that_is_given() {
    let plain = after(issued(json!({}), shop(), 2), &[("aa", 5)]);
    assert!(plan(&plain, now()).revoke.is_empty(), "it is left to end");
    let spec = json!({"revokeSupersededAfter": "3h"});
    let early = after(issued(spec.clone(), shop(), 2), &[("aa", 5)]);
    let early = plan(&early, now());
    assert!(early.revoke.is_empty());
    assert!(early.requeue <= SignedDuration::from_hours(1));
    let late = after(issued(spec, shop(), 4), &[("aa", 5)]);
    let late = plan(&late, now());
    assert_eq!(serials(&late.revoke), ["aa"]);
    assert_eq!(late.revoke[0].reason, RevocationReason::Superseded);
    assert_eq!(late.action, None);
}

#[test]
fn many_at_once_become_few() {
    let many: Vec<(String, i64)> = (0..30).map(|n| (format!("a{n:02}"), n + 1)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(one, n)| (one.as_str(), *n)).collect();
    let plan = plan(&after(issued(json!({}), shop(), 1), &many), now());
    assert_eq!(plan.revoke.len(), 11);
    assert_eq!(plan.revoke[0].serial, "a00", "those that end first");
}

#[test]
fn a_name_that_was_taken_off_the_list_is_refused_by_name() {
    let name = "orders.shop.example";
    let tls = json!({
        "clients": [{"namespaces": ["shop"], "commonNames": ["*"]}],
        "allowedNames": [name], "revocation": {"cut": "AllowedNames"},
    });
    let mut observed = after(issued(json!({"commonName": name}), tls, 1), &[]);
    observed.revoked = recorded(vec![Entry {
        serial: "cc".into(),
        authority: "a".into(),
        certificate: Some("shop/other".into()),
        common_name: Some(name.into()),
        not_after: now() + SignedDuration::from_hours(9),
        revoked_at: now(),
        reason: RevocationReason::KeyCompromise,
        crl: None,
        refused: None,
    }]);
    refused(&observed, "NameRevoked", &[name, "allowedNames"]);
}

#[test]
fn a_number_that_was_written_down_is_kept_until_its_certificate_is_in_the_secret() {
    let reserve = |mut observed: ClientObserved, serial: &str| {
        let mut all = after(observed.clone(), &[(serial, 700)]);
        let status = all.resource.status.as_mut().unwrap();
        status.reserved = status.issued.pop();
        observed.resource = all.resource;
        observed
    };
    let waiting = reserve(asked(json!({}), shop()), "aa");
    let status = plan(&waiting, now()).status;
    assert_eq!(
        (status.reserved.unwrap().serial, status.issued.len()),
        ("aa".into(), 0)
    );
    assert_eq!(
        serials(&plan(&leaving(waiting), now()).revoke),
        ["aa"],
        "it may be out"
    );

    let there = reserve(issued(json!({}), shop(), 1), SERIAL);
    let status = plan(&there, now()).status;
    assert_eq!((status.reserved, status.issued.len()), (None, 1));
    let renewed = reserve(
        issued(json!({"revokeSupersededAfter": "5m"}), shop(), 1),
        "aa",
    );
    assert!(
        plan(&renewed, now()).revoke.is_empty(),
        "what comes is not what was before"
    );
}
