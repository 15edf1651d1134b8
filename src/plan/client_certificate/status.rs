//! What is said of a client certificate.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{ClientContent, ClientObserved, Decision, own, request, revoke};
use crate::api::v1alpha1::{TikvClientCertificateStatus, condition, reason};
use crate::plan::action::Note;
use crate::plan::desired::Blocker;
use crate::plan::export::Exports;

/// The whole status.
pub(super) fn status(
    observed: &ClientObserved,
    decided: Result<&Decision, &Blocker>,
    exports: &Exports,
    now: Timestamp,
) -> TikvClientCertificateStatus {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let resource = &observed.resource;
    let before = resource.status.clone().unwrap_or_default();
    let (ready, why, message) = verdict(observed, decided);
    let mut status = TikvClientCertificateStatus {
        observed_generation: resource.metadata.generation,
        conditions: vec![stamp(&before, condition::READY, (ready, why, message), now)],
        exports: exports.statuses.clone(),
        issued: revoke::valid(observed, now),
        reserved: revoke::reserved(observed, now),
        ..TikvClientCertificateStatus::default()
    };
    if let Some(verdict) = exports.verdict.clone() {
        let exported = stamp(&before, condition::EXPORTED, verdict, now);
        status.conditions.push(exported);
    }
    for one in &mut status.conditions {
        one.observed_generation = resource.metadata.generation;
    }
    if let Some(security) = &observed.security {
        status.pd_endpoints = security
            .status
            .as_ref()
            .map(|status| status.pd_endpoints.clone())
            .unwrap_or_default();
    }
    let found = observed.secret.as_ref().map(|secret| &secret.content);
    let ours = request::parse(resource).is_ok_and(|request| own(observed, &request).is_ok());
    if let Some(ClientContent::Valid { certificate, .. }) = found.filter(|_| ours) {
        status.secret = Some(request::secret_name(resource));
        status.common_name = certificate.common_name.clone();
        status.serial = Some(certificate.serial.clone());
        status.not_before = Some(certificate.not_before);
        status.not_after = Some(certificate.not_after);
    }
    match decided {
        Ok(decision) => {
            status.renew_at = decision.renew_at;
            let same = before.common_name.as_ref() == Some(&decision.request.leaf.common_name);
            let since = before.allowed_since.filter(|_| same);
            status.allowed_since = match &decision.not_yet {
                None if decision.certificate.is_some() => Some(since.unwrap_or(now)),
                None | Some(_) => since,
            };
        }
        // What is refused now was perhaps issued before, and is admitted still.
        Err(_) if status.serial.is_some() => status.allowed_since = before.allowed_since,
        Err(_) => {}
    }
    status
}

fn verdict(
    observed: &ClientObserved,
    decided: Result<&Decision, &Blocker>,
) -> (bool, &'static str, String) {
    let decision = match decided {
        Ok(decision) => decision,
        Err(blocker) => return (false, blocker.reason, blocker.text()),
    };
    let secret = &decision.request.secret;
    let Some(certificate) = &decision.certificate else {
        let text = match observed.secret.as_ref().map(|one| &one.content) {
            Some(ClientContent::Unusable(why)) => {
                format!(
                    "What is in Secret {secret} can not be used ({why}); a certificate is being issued"
                )
            }
            Some(ClientContent::Valid { .. }) | None => "A certificate is being issued".to_owned(),
        };
        return (false, reason::IN_PROGRESS, text);
    };
    if let Some(what) = &decision.not_yet {
        let text = format!(
            "The certificate is in Secret {secret}, but not every store is known to admit {}: {what}",
            decision.request.leaf.common_name
        );
        return (false, "NotAdmittedYet", text);
    }
    let text = format!(
        "The certificate in Secret {secret} is valid until {} and renewed before",
        certificate.not_after
    );
    (true, reason::AS_DESIRED, text)
}

/// What a person should read when it comes.
pub(super) fn events(
    observed: &ClientObserved,
    decided: Result<&Decision, &Blocker>,
    status: &TikvClientCertificateStatus,
) -> Vec<Note> {
    let before = observed.resource.status.as_ref();
    let reason_of = |status: &TikvClientCertificateStatus| {
        status.conditions.first().map(|one| one.reason.clone())
    };
    let mut notes = Vec::new();
    if let Err(blocker) = decided
        && before.and_then(reason_of).as_deref() != Some(blocker.reason)
    {
        notes.push(Note {
            warning: true,
            reason: blocker.reason.to_owned(),
            message: blocker.text(),
        });
    }
    let told = before.and_then(|status| status.serial.as_ref());
    if let (Some(serial), Some(end)) = (&status.serial, status.not_after)
        && told != Some(serial)
    {
        notes.push(Note {
            warning: false,
            reason: if told.is_some() { "Renewed" } else { "Issued" }.to_owned(),
            message: format!("Certificate {serial}, valid until {end}"),
        });
    }
    notes
}

fn stamp(
    before: &TikvClientCertificateStatus,
    kind: &str,
    (good, reason, message): (bool, &str, String),
    now: Timestamp,
) -> Condition {
    let status = if good { "True" } else { "False" };
    let known = before
        .conditions
        .iter()
        .find(|one| one.type_ == kind && one.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: known.map_or(Time(now), |one| one.last_transition_time.clone()),
    }
}
