//! Rotations of data keys, certificates and the CA as the status keeps them: who asked, from what to what, from when to when.
//!
//! Derived from what is there and what the status said last, so a crash loses no record.

use jiff::Timestamp;

use super::ca;
use super::keys::Told;
use super::names::{authority_secret, next_authority_secret};
use super::observed::Observed;
use crate::api::v1alpha1::{CertificateStatus, RotationKind, RotationRecord, TikvSecurityStatus};
use crate::api::{ANNOTATION_ROTATION, MANAGER};
use crate::plan::objects::annotation;

/// What was found out in this reconcile.
pub struct Now<'a> {
    /// The status as it will be.
    pub status: &'a TikvSecurityStatus,
    /// What the agents are told.
    pub told: Option<&'a Told>,
    /// No pod is disturbed or has to be.
    pub rolled: bool,
    /// Every certificate is served.
    pub certified: bool,
    /// The time.
    pub at: Timestamp,
}

/// The list with what is new, and what has ended.
pub fn records(
    mut all: Vec<RotationRecord>,
    observed: &Observed,
    now: &Now<'_>,
) -> Vec<RotationRecord> {
    data_keys(&mut all, observed, now);
    certificates(&mut all, observed, now);
    authority(&mut all, observed, now);
    let more = all.len().saturating_sub(RotationRecord::KEPT);
    all.drain(..more);
    all
}

fn data_keys(all: &mut Vec<RotationRecord>, observed: &Observed, now: &Now<'_>) {
    let moment = now.told.and_then(|told| told.state.data_key_not_before);
    let cause = now.told.and_then(|told| told.cause.as_deref());
    let known = |record: &RotationRecord| record.kind == RotationKind::DataKey;
    if let Some(moment) = moment {
        let to = moment.to_string();
        let before = all.iter().rev().find(|record| known(record));
        if before.and_then(|record| record.to.as_ref()) != Some(&to) {
            let from = before.and_then(|record| record.to.clone());
            all.push(RotationRecord {
                kind: RotationKind::DataKey,
                from: from.map(|from| format!("data keys made before {from}")),
                to: Some(to),
                started_at: moment,
                finished_at: None,
                ..asked(observed, cause)
            });
        }
    }
    let done = now.status.encryption.as_ref().is_some_and(|sum| {
        sum.stores_total > 0 && sum.stores_as_desired == sum.stores_total && now.rolled
    });
    // One that a later one overtook is over with it.
    finish(all, RotationKind::DataKey, done, now.at);
}

/// Who asked for the data keys that are being told of.
fn asked(observed: &Observed, cause: Option<&str>) -> RotationRecord {
    let request = observed.resource.spec.rotate.data_key.clone();
    let (request, by) = match cause {
        Some("request") => (request, manager(observed)),
        _ => (None, cause.map(str::to_owned)),
    };
    RotationRecord {
        kind: RotationKind::DataKey,
        request,
        by,
        from: None,
        to: None,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: None,
        abandoned_at: None,
    }
}

fn certificates(all: &mut Vec<RotationRecord>, observed: &Observed, now: &Now<'_>) {
    let before = observed.resource.status.as_ref();
    let before = before.map_or(&[][..], |status| &status.certificates);
    let leaves = |list: &[CertificateStatus]| -> Vec<(String, String)> {
        let leaves = list.iter().filter(|one| one.renew_at.is_some());
        leaves
            .map(|one| (one.name.clone(), one.serial.clone()))
            .collect()
    };
    let (old, new) = (leaves(before), leaves(&now.status.certificates));
    let changed: Vec<&(String, String)> = new
        .iter()
        .filter(|(name, serial)| {
            old.iter()
                .any(|(other, was)| other == name && was != serial)
        })
        .collect();
    if !changed.is_empty() {
        let serials = |list: &[(String, String)]| {
            let named = list
                .iter()
                .filter(|(name, _)| changed.iter().any(|one| one.0 == *name));
            let texts: Vec<String> = named
                .map(|(name, serial)| format!("{name} {serial}"))
                .collect();
            texts.join(", ")
        };
        let request = changed.iter().find_map(|(name, _)| {
            let secret = observed.secrets.get(name)?;
            let word = annotation(&secret.metadata, ANNOTATION_ROTATION)?;
            (!word.is_empty()).then(|| word.to_owned())
        });
        let answered = |record: &RotationRecord| {
            record.kind == RotationKind::Certificates && record.request == request
        };
        let open = all
            .iter_mut()
            .rev()
            .find(|record| answered(record) && record.finished_at.is_none());
        match open {
            Some(open) => open.to = Some(serials(&new)),
            None => {
                let request = request.clone().filter(|_| !all.iter().any(answered));
                let next = next_authority_secret(observed.name());
                let rotates = |one: &RotationRecord| {
                    one.kind == RotationKind::CertificateAuthority && one.finished_at.is_none()
                };
                let rotated = observed.secrets.contains_key(&next) || all.iter().any(rotates);
                if request.is_none() && rotated {
                    // They belong to the rotation of the CA.
                    return finish(all, RotationKind::Certificates, now.certified, now.at);
                }
                let by = match request {
                    Some(_) => manager(observed),
                    None => Some("renewal".to_owned()),
                };
                all.push(RotationRecord {
                    kind: RotationKind::Certificates,
                    request,
                    by,
                    from: Some(serials(&old)),
                    to: Some(serials(&new)),
                    started_at: seconds(now.at),
                    finished_at: None,
                    abandoned_at: None,
                });
            }
        }
    }
    finish(all, RotationKind::Certificates, now.certified, now.at);
}

/// The rotation lasts as long as the Secret of the next CA is there.
fn authority(all: &mut Vec<RotationRecord>, observed: &Observed, now: &Now<'_>) {
    let next = next_authority_secret(observed.name());
    if !observed.secrets.contains_key(&next) {
        return finish(all, RotationKind::CertificateAuthority, true, now.at);
    }
    let Some(memory) = ca::memory(observed) else {
        return;
    };
    let serial = |secret: &str| ca::authority(observed, secret).map(|ca| ca.anchor.serial.clone());
    let same = |record: &&mut RotationRecord| {
        record.kind == RotationKind::CertificateAuthority && record.started_at == memory.started_at
    };
    if let Some(open) = all.iter_mut().find(same) {
        open.abandoned_at = memory.abandoned_at;
        return;
    }
    all.push(RotationRecord {
        kind: RotationKind::CertificateAuthority,
        request: memory.emergency.or(memory.request),
        by: memory.by,
        from: serial(&authority_secret(observed.name())),
        to: serial(&next),
        started_at: memory.started_at,
        abandoned_at: memory.abandoned_at,
        finished_at: None,
    });
}

fn finish(all: &mut [RotationRecord], kind: RotationKind, done: bool, at: Timestamp) {
    let open = all
        .iter_mut()
        .filter(|record| record.kind == kind && record.finished_at.is_none());
    for record in open.filter(|_| done) {
        record.finished_at = Some(seconds(at));
    }
}

/// The field manager that wrote the spec last.
fn manager(observed: &Observed) -> Option<String> {
    let written = observed.resource.metadata.managed_fields.iter().flatten();
    let spec = written.filter(|entry| {
        let whole = entry.subresource.as_deref().unwrap_or_default().is_empty();
        whole && entry.manager.as_deref() != Some(MANAGER)
    });
    spec.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
}

fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
