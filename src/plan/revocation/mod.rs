//! Revocation: what is revoked, the CRLs that say so, and how the cluster comes to refuse it.
//!
//! TiKV and PD read neither CRL nor OCSP (facts, TLS §1.2, §3.1). So publishing is for others, and what the cluster does follows
//! from `tls.revocation.cut`: nothing until the certificate ends, its name off TiKV's list, or its CA replaced.
//!
//! # Guarantees
//! A certificate is written down before what it was issued for may go (`plan/client_certificate/revoke.rs`); the record is
//! replaced by its version only. The record and the CRLs that follow from it are one write. `Refused` is said only with a proof
//! that is named.

mod cut;
pub mod record;
mod status;

use jiff::Timestamp;

use super::action::{Action, Anchor, Note};
use super::ca;
use super::names::{authority_secret, crl_config};
use super::objects::metadata;
use super::observed::Observed;
use crate::api::v1alpha1::{
    RevocationPhase, RevocationPolicy, RevocationStatus, TikvSecurityStatus,
};
use crate::tls::parse::CertificateInfo;
pub use cut::{Trial, Tried, demands, still_accepted, to_try, withdrawn};
use record::{Entry, LONGEST, Record, Stored};

/// What follows for revoked certificates.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Effects.
    pub actions: Vec<Action>,
    /// For the status.
    pub statuses: Vec<RevocationStatus>,
    /// Events.
    pub notes: Vec<Note>,
}

/// What is wanted.
fn policy(observed: &Observed) -> Option<&RevocationPolicy> {
    observed.resource.spec.tls.as_ref()?.revocation.as_ref()
}

/// The record; `None` when it can not be read.
pub fn known(observed: &Observed) -> Option<Record> {
    match &observed.revoked {
        Stored::Ours { record, .. } => Some(record.clone()),
        Stored::Absent => Some(
            observed
                .resource
                .status
                .as_ref()
                .map(|told| Record::recalled(&told.revocations))
                .unwrap_or_default(),
        ),
        Stored::Unusable(_) => None,
    }
}

/// Decides. `status` is what is true otherwise, in this very plan.
pub fn turn(observed: &Observed, status: &TikvSecurityStatus, now: Timestamp) -> Turn {
    let mut turn = Turn::default();
    let before = observed.resource.status.as_ref();
    let Some(known) = known(observed) else {
        turn.statuses = before
            .map(|one| one.revocations.clone())
            .unwrap_or_default();
        return turn;
    };
    let name = authority_secret(observed.name());
    let present = ca::authority(observed, &name);
    let course = present.and_then(|present| ca::course(observed, present).ok());
    let (Some(present), Some(course)) = (present, course) else {
        turn.statuses = status::statuses(observed, &known, None, status, now);
        return turn;
    };
    let mut record = known.clone();
    record.append(&listed(observed, &present.anchor, now));
    let withdrawn = withdrawn(&observed.resource, &record);
    record.entries.retain(|entry| {
        !entry.over(now)
            || cut::own_name(&observed.resource, entry).is_some_and(|name| withdrawn.contains(name))
    });
    let refused = cut::refused(observed, &course, &record, status, now);
    for (serial, proof) in refused {
        let entries = record.entries.iter_mut();
        for entry in entries.filter(|one| one.serial == serial && one.refused.is_none()) {
            turn.notes.push(Note {
                warning: false,
                reason: "RevokedCertificateRefused".to_owned(),
                message: format!("The revoked certificate {serial} is refused: {}", proof.how),
            });
            entry.refused = Some(proof.clone());
        }
    }
    let (signer, beside) = course.anchors();
    // Of a CA whose key is elsewhere there is no list here.
    let lists = |one: &Anchor| {
        let serial = one.serial.as_deref();
        serial.is_some_and(|serial| course.lists(serial))
    };
    let anchors = std::iter::once(signer).chain(beside);
    let anchors: Vec<Anchor> = anchors.filter(lists).collect();
    if due(observed, &known, &record, &anchors, now) {
        let action = publish(observed, &mut record, anchors, now);
        turn.actions.push(action);
    }
    turn.statuses = status::statuses(observed, &record, Some(&course), status, now);
    turn.notes.extend(notes(before, &turn.statuses));
    turn
}

/// What `tls.revocation.certificates` asks for. The end of such a certificate is not known, but it does not outlive its CA.
fn listed(observed: &Observed, ca: &CertificateInfo, now: Timestamp) -> Vec<Entry> {
    let wanted = policy(observed).map(|policy| policy.certificates.as_slice());
    let wanted = wanted.unwrap_or_default().iter();
    let known = |serial: &str| match &observed.revoked {
        // It may be of a CA before this one.
        Stored::Ours { record, .. } => record.entries.iter().any(|one| one.serial == serial),
        _ => false,
    };
    let wanted = wanted.filter(|one| one.serial != ca.serial && !known(&one.serial));
    let entries = wanted.map(|one| Entry {
        serial: one.serial.clone(),
        authority: ca.serial.clone(),
        certificate: None,
        common_name: None,
        not_after: ca.not_after,
        revoked_at: whole_seconds(now),
        reason: one.reason,
        crl: None,
        refused: None,
    });
    entries.collect()
}

/// Whether the ConfigMap is to be written: something is revoked that no CRL names, the CRLs are half over, or are of other CAs.
fn due(
    observed: &Observed,
    known: &Record,
    record: &Record,
    anchors: &[Anchor],
    now: Timestamp,
) -> bool {
    if policy(observed).is_none() && record.entries.is_empty() && known.number == 0 {
        return false;
    }
    let serials = anchors.iter().filter_map(|one| one.serial.as_ref());
    let others = !serials.clone().eq(record.authorities.iter());
    let unnamed = record
        .entries
        .iter()
        .any(|one| one.crl.is_none() && serials.clone().any(|ca| *ca == one.authority));
    let half = record.this_update.zip(record.next_update);
    let half = half.is_none_or(|(this, next)| {
        let half = next.duration_since(this) / 2;
        now >= this.saturating_add(half).unwrap_or(this)
    });
    others || unnamed || half || record != known
}

/// One write: the record, and a CRL of each CA that is trusted.
fn publish(
    observed: &Observed,
    record: &mut Record,
    anchors: Vec<Anchor>,
    now: Timestamp,
) -> Action {
    let now = whole_seconds(now);
    let validity = policy(observed)
        .cloned()
        .unwrap_or_default()
        .crl_validity
        .get();
    // By the clock, so that it grows on when the record was lost.
    let clock = u64::try_from(now.as_second()).unwrap_or_default();
    record.number = clock.max(record.number + 1);
    record.this_update = Some(now);
    record.next_update = now.checked_add(validity).ok();
    record.authorities = anchors
        .iter()
        .filter_map(|one| one.serial.clone())
        .collect();
    for entry in &mut record.entries {
        if record.authorities.contains(&entry.authority) {
            entry.crl.get_or_insert(record.number);
        }
    }
    let version = match &observed.revoked {
        Stored::Ours { version, .. } => Some(version.clone()),
        Stored::Absent | Stored::Unusable(_) => None,
    };
    let name = crl_config(observed.name());
    Action::PublishCrl {
        metadata: Box::new(metadata(observed, &name, "crl", &[])),
        version,
        authorities: anchors,
        record: Box::new(record.clone()),
    }
}

/// What is new, for people.
fn notes(before: Option<&TikvSecurityStatus>, now: &[RevocationStatus]) -> Vec<Note> {
    let told = before
        .map(|one| one.revocations.as_slice())
        .unwrap_or_default();
    let is_told = |one: &RevocationStatus| told.iter().any(|old| old.serial == one.serial);
    let fresh = now.iter().filter(|one| !is_told(one));
    let notes = fresh.map(|one| Note {
        warning: false,
        reason: "CertificateRevoked".to_owned(),
        message: format!(
            "Certificate {}{} is revoked ({:?}): {}",
            one.serial,
            one.certificate
                .as_ref()
                .map(|of| format!(" of TikvClientCertificate {of}"))
                .unwrap_or_default(),
            one.reason,
            one.message
        ),
    });
    notes.take(10).collect()
}

/// How many stand where.
pub fn counts(
    observed: &Observed,
    status: &TikvSecurityStatus,
    now: Timestamp,
) -> Vec<(RevocationPhase, usize)> {
    let name = authority_secret(observed.name());
    let present = ca::authority(observed, &name);
    let course = present.and_then(|present| ca::course(observed, present).ok());
    let record = known(observed).unwrap_or_default();
    let phases = record.entries.iter();
    let phases: Vec<RevocationPhase> = phases
        .map(|entry| status::verdict(observed, entry, course.as_ref(), status, now).0)
        .collect();
    RevocationPhase::ALL
        .map(|phase| (phase, phases.iter().filter(|one| **one == phase).count()))
        .into()
}

/// Whether more can be written down.
pub fn is_full(record: &Record) -> bool {
    record.entries.len() >= LONGEST
}

/// As certificates and CRLs carry times.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
