//! What is said of the certificates.

use jiff::Timestamp;

use super::{Facts, Verdict};
use crate::api::v1alpha1::{TikvSecurityStatus, condition, reason};
use crate::plan::stage::TlsStep;

/// Whether every certificate is valid and served.
pub(super) fn certificates_ready(
    facts: &Facts<'_>,
    status: &TikvSecurityStatus,
    now: Timestamp,
) -> Verdict {
    let verdict = |good, why, text: String| (condition::CERTIFICATES_READY, good, why, text);
    let made = status.certificates.len();
    // And the CA.
    let all = facts.observed.parts().len() + 1;
    let failure = facts.observed.not_issued.iter().next();
    let failure = failure.map(|(secret, failure)| {
        format!(
            "The certificate for Secret {secret} was not given: {}; it is asked for again at {}",
            failure.message, failure.retry_at
        )
    });
    if made < all
        && let Some(text) = failure
    {
        return verdict(false, "NotIssued", text);
    }
    if made < all && facts.blocker.is_some() {
        let text = format!("{made} of {all} certificates are usable; see the condition Blocked");
        return verdict(false, reason::BLOCKED, text);
    }
    if made < all {
        return verdict(
            false,
            reason::IN_PROGRESS,
            "Certificates are being issued".to_owned(),
        );
    }
    if let Some(text) = failure {
        // What is valid serves on; when half of the time for the renewal is over it is pressing.
        let half = facts.desired.map(|desired| desired.renew_before / 2);
        let pressing = status
            .certificates
            .iter()
            .any(|one| half.is_some_and(|half| one.not_after.duration_since(now) < half));
        return verdict(!pressing, "NotIssued", text);
    }
    if facts.issuing > 0 {
        let text = format!("{} certificates are being issued anew", facts.issuing);
        return verdict(false, reason::IN_PROGRESS, text);
    }
    let end = crate::plan::tls::authority_end(facts.observed, facts.desired, now);
    if let Some(end) = end.as_ref().filter(|end| end.pressing) {
        return verdict(false, "CaEnds", end.text.clone());
    }
    if facts.observed.resource.spec.tls.is_some()
        && let Err((why, text)) = served(facts, status)
    {
        return verdict(false, why, text);
    }
    let rotation = status.certificate_authority.as_ref();
    if let Some(end) = end.filter(|_| rotation.is_none_or(|one| one.to.is_none())) {
        return verdict(true, "CaEnds", end.text);
    }
    if let Some(authority) = rotation {
        let (phase, waits) = (authority.phase.name(), &authority.waits_for);
        let text = format!("The CA is being rotated ({phase}); waiting for {waits}");
        return if facts.authority.is_some_and(|turn| turn.resting) {
            verdict(true, "CaOverlap", text)
        } else {
            verdict(false, reason::IN_PROGRESS, text)
        };
    }
    verdict(
        true,
        reason::AS_DESIRED,
        "Every certificate is valid, and every port serves the one in its Secret".to_owned(),
    )
}

/// Whether every port serves what it should.
fn served(facts: &Facts<'_>, status: &TikvSecurityStatus) -> Result<(), (&'static str, String)> {
    match facts.tls {
        TlsStep::On => {}
        TlsStep::Wait(what) => {
            return Err((reason::IN_PROGRESS, format!("TLS waits for {what}")));
        }
        TlsStep::Denied(blocker) => return Err((blocker.reason, blocker.message.clone())),
        TlsStep::PeerUrls(_) => {
            let text = "PD's members are being told their new URLs".to_owned();
            return Err((reason::IN_PROGRESS, text));
        }
        TlsStep::Off => {
            let text = "The cluster does not speak TLS yet; see the condition Blocked".to_owned();
            return Err((reason::BLOCKED, text));
        }
    }
    let mut other = status.certificates.iter().flat_map(|one| &one.not_served);
    if let Some(first) = other.next() {
        let text = format!(
            "{} ports do not serve the certificate of their Secret; the kubelet brings it within two minutes. First: {first}",
            other.count() + 1
        );
        return Err(("NotServed", text));
    }
    if !status.certificates.iter().any(|one| one.served.is_some()) {
        let text = "No port was seen serving a certificate yet".to_owned();
        return Err((reason::UNKNOWN, text));
    }
    Ok(())
}
