//! What of a client's certificates is revoked, and when the object may go.
//!
//! Everything that was issued for an object and has not ended counts, not only what is in the Secret now: who had the key of the
//! certificate before has it still. The list of it is written before the Secret is.

use jiff::Timestamp;

use super::{ClientContent, ClientObserved, own, request};
use crate::api::FINALIZER_REVOKE;
use crate::api::v1alpha1::{
    IssuedCertificate, RevocationPhase, RevocationReason, TikvClientCertificate,
};
use crate::plan::observed::SecretContent;
use crate::plan::revocation::record::{Entry, Record, Stored};
use crate::tls::authority::CLOCK_SKEW;

/// So many certificates of one object may be valid at the same time; older ones are revoked as superseded. A renewal leaves one.
const VALID_AT_ONCE: usize = 20;

/// What an object that is being deleted leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It may go when this is written down.
    Go(Vec<Entry>),
    /// It must wait; why.
    Wait(String),
}

/// The record of the cluster, as far as it can be read.
pub(super) fn record(observed: &ClientObserved) -> Record {
    match &observed.revoked {
        Stored::Ours { record, .. } => record.clone(),
        Stored::Absent | Stored::Unusable(_) => Record::default(),
    }
}

/// True when the object holds on until what was issued for it is revoked.
pub(super) fn is_held(resource: &TikvClientCertificate) -> bool {
    let mut all = resource.metadata.finalizers.iter().flatten();
    all.any(|one| one == FINALIZER_REVOKE)
}

/// The certificate that is about to be in the Secret, and is not known to be there.
pub(super) fn reserved(observed: &ClientObserved, now: Timestamp) -> Option<IssuedCertificate> {
    let reserved = observed.resource.status.as_ref()?.reserved.clone()?;
    let there = match observed.secret.as_ref().map(|secret| &secret.content) {
        Some(ClientContent::Valid { certificate, .. }) => certificate.serial == reserved.serial,
        _ => false,
    };
    let good =
        now <= reserved.not_after && !record(observed).has(&reserved.serial, &reserved.authority);
    (good && !there).then_some(reserved)
}

/// What was issued, has not ended and is not revoked; the one that ends last comes last.
pub(super) fn valid(observed: &ClientObserved, now: Timestamp) -> Vec<IssuedCertificate> {
    let told = observed.resource.status.as_ref();
    let mut all = told.map(|told| told.issued.clone()).unwrap_or_default();
    if let Some(one) = told.and_then(|told| told.reserved.clone())
        && !all.iter().any(|other| other.serial == one.serial)
        && reserved(observed, now).is_none()
    {
        all.push(one);
    }
    if let Some(one) = stored(observed)
        && !all.iter().any(|other| other.serial == one.serial)
    {
        all.push(one);
    }
    let record = record(observed);
    all.retain(|one| now <= one.not_after && !record.has(&one.serial, &one.authority));
    all.sort_by_key(|one| one.not_after);
    all
}

/// The certificate in the Secret, when it is ours and the CA that signs now signed it.
fn stored(observed: &ClientObserved) -> Option<IssuedCertificate> {
    let request = request::parse(&observed.resource).ok()?;
    own(observed, &request).ok()?;
    let (_, authority) = observed.authority.as_ref()?;
    match (&observed.secret.as_ref()?.content, &authority.content) {
        (
            ClientContent::Valid {
                certificate,
                by_present_authority: true,
                ..
            },
            SecretContent::Authority(ca),
        ) => Some(IssuedCertificate {
            serial: certificate.serial.clone(),
            authority: ca.anchor.serial.clone(),
            common_name: certificate.common_name.clone().unwrap_or_default(),
            not_after: certificate.not_after,
        }),
        _ => None,
    }
}

fn entry(
    observed: &ClientObserved,
    one: &IssuedCertificate,
    reason: RevocationReason,
    now: Timestamp,
) -> Entry {
    let metadata = &observed.resource.metadata;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    Entry {
        serial: one.serial.clone(),
        authority: one.authority.clone(),
        certificate: Some(format!(
            "{}/{}",
            of(&metadata.namespace),
            of(&metadata.name)
        )),
        common_name: Some(one.common_name.clone()),
        not_after: one.not_after,
        revoked_at: Timestamp::from_second(now.as_second()).unwrap_or(now),
        reason,
        crl: None,
        refused: None,
    }
}

/// What is to be revoked of an object that stays.
pub(super) fn due(observed: &ClientObserved, now: Timestamp) -> Vec<Entry> {
    let spec = &observed.resource.spec;
    let valid = valid(observed, now);
    let revoked = |reason, of: &[IssuedCertificate]| -> Vec<Entry> {
        of.iter()
            .map(|one| entry(observed, one, reason, now))
            .collect()
    };
    if let Some(reason) = spec.revoked {
        // It may have been handed out a moment ago.
        let all: Vec<_> = valid.into_iter().chain(reserved(observed, now)).collect();
        return revoked(reason, &all);
    }
    let Some(ClientContent::Valid { certificate, .. }) =
        observed.secret.as_ref().map(|secret| &secret.content)
    else {
        return Vec::new();
    };
    // Only what is beside the one in the Secret: that one is in use.
    let others: Vec<IssuedCertificate> = valid
        .into_iter()
        .filter(|one| one.serial != certificate.serial)
        .collect();
    let issued = certificate
        .not_before
        .saturating_add(CLOCK_SKEW)
        .unwrap_or(now);
    let over = spec.revoke_superseded_after.is_some_and(|after| {
        let until = issued.saturating_add(after.get()).unwrap_or(Timestamp::MAX);
        now >= until
    });
    if over {
        return revoked(RevocationReason::Superseded, &others);
    }
    let surplus = (others.len() + 1).saturating_sub(VALID_AT_ONCE);
    let oldest = others.get(..surplus).unwrap_or_default();
    revoked(RevocationReason::Superseded, oldest)
}

/// When something is to be revoked by the clock.
pub(super) fn next(observed: &ClientObserved, now: Timestamp) -> Option<Timestamp> {
    let after = observed.resource.spec.revoke_superseded_after?;
    let Some(ClientContent::Valid { certificate, .. }) =
        observed.secret.as_ref().map(|secret| &secret.content)
    else {
        return None;
    };
    let issued = certificate.not_before.saturating_add(CLOCK_SKEW).ok()?;
    let at = issued.checked_add(after.get()).ok()?;
    (at > now && valid(observed, now).len() > 1).then_some(at)
}

/// What an object that is being deleted leaves behind. Where its cluster is gone, or goes, nobody keeps a list.
pub fn farewell(observed: &ClientObserved, now: Timestamp) -> Farewell {
    let security = observed.security.as_ref();
    let stays =
        security.filter(|one| one.metadata.deletion_timestamp.is_none() && one.spec.tls.is_some());
    if stays.is_none() {
        return Farewell::Go(Vec::new());
    }
    let mut valid = valid(observed, now);
    valid.extend(reserved(observed, now));
    if let (Stored::Unusable(why), false) = (&observed.revoked, valid.is_empty()) {
        return Farewell::Wait(format!(
            "the list of what is revoked can not be written: {why}"
        ));
    }
    let reason = observed
        .resource
        .spec
        .revoked
        .unwrap_or(RevocationReason::CessationOfOperation);
    let entries = valid.iter().map(|one| entry(observed, one, reason, now));
    Farewell::Go(entries.collect())
}

/// What the cluster says of the certificates that were revoked for this object.
pub(super) fn told(observed: &ClientObserved) -> String {
    let metadata = &observed.resource.metadata;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let whose = format!("{}/{}", of(&metadata.namespace), of(&metadata.name));
    let status = observed
        .security
        .as_ref()
        .and_then(|one| one.status.as_ref());
    let all = status.map(|status| status.revocations.as_slice());
    let accepted = all.unwrap_or_default().iter().find(|one| {
        one.certificate.as_ref() == Some(&whose)
            && !matches!(
                one.phase,
                RevocationPhase::Refused | RevocationPhase::Expired
            )
    });
    accepted.map_or_else(String::new, |one| {
        format!("; {}: {}", one.serial, one.message)
    })
}
