//! What is said of revoked certificates: whether the cluster accepts them, and until when.

use jiff::Timestamp;

use super::cut::{Tried, own_name, trials};
use super::policy;
use super::record::{Entry, Record};
use crate::api::v1alpha1::{
    Cut, RevocationPhase, RevocationReason, RevocationStatus, TikvSecurityStatus,
};
use crate::plan::ca::Course;
use crate::plan::observed::Observed;

/// How many are shown.
const SHOWN: usize = 50;

/// Those that the cluster may still accept first, then the newest.
pub(super) fn statuses(
    observed: &Observed,
    record: &Record,
    course: Option<&Course<'_>>,
    status: &TikvSecurityStatus,
    now: Timestamp,
) -> Vec<RevocationStatus> {
    let mut all: Vec<RevocationStatus> = record
        .entries
        .iter()
        .map(|entry| {
            let (phase, message) = verdict(observed, entry, course, status, now);
            RevocationStatus {
                serial: entry.serial.clone(),
                authority: entry.authority.clone(),
                certificate: entry.certificate.clone(),
                common_name: entry.common_name.clone(),
                reason: entry.reason,
                revoked_at: entry.revoked_at,
                not_after: entry.not_after,
                phase,
                message,
                refused_at: entry.refused.as_ref().map(|one| one.at),
                proof: entry.refused.as_ref().map(|one| one.proof),
            }
        })
        .collect();
    all.sort_by_key(|one| {
        let settled = matches!(
            one.phase,
            RevocationPhase::Refused | RevocationPhase::Expired
        );
        (
            settled,
            std::cmp::Reverse(one.revoked_at),
            one.serial.clone(),
        )
    });
    all.truncate(SHOWN);
    all
}

/// Where an entry stands, and what is said of it.
pub(super) fn verdict(
    observed: &Observed,
    entry: &Entry,
    course: Option<&Course<'_>>,
    status: &TikvSecurityStatus,
    now: Timestamp,
) -> (RevocationPhase, String) {
    if let Some(refused) = &entry.refused {
        return (RevocationPhase::Refused, refused.how.clone());
    }
    if entry.ended(now) {
        let text = format!("It ended on {}", entry.not_after);
        return (RevocationPhase::Expired, text);
    }
    let until = format!("still accepted by the cluster until {}", entry.not_after);
    let elsewhere = course
        .is_some_and(|course| course.trusts(&entry.authority) && !course.lists(&entry.authority));
    if entry.crl.is_none()
        && !elsewhere
        && course.is_none_or(|course| course.trusts(&entry.authority))
    {
        let text = format!("The next CRL will name it; {until}");
        return (RevocationPhase::Recorded, text);
    }
    let published = |why: &str| {
        if elsewhere {
            let text = format!(
                "{until}: {why}. No list here names it, because the key of its CA is elsewhere: revoke it there, too"
            );
            return (RevocationPhase::Recorded, text);
        }
        (RevocationPhase::Published, format!("{until}: {why}"))
    };
    let cutting = |what: String| {
        let text = format!("{until}, or until {what}");
        (RevocationPhase::CuttingOff, text)
    };
    // Whatever the policy: a rotation that has dropped its CA takes it along.
    if course.is_some_and(|course| !course.trusts(&entry.authority)) {
        return cutting("every port is known to refuse its CA".to_owned());
    }
    let cut = policy(observed)
        .map(|policy| policy.cut)
        .unwrap_or_default();
    match cut {
        _ if entry.reason == RevocationReason::Superseded => {
            published("its successor has taken its place, and it is left to end")
        }
        Cut::Expiry => published(
            "TiKV and PD read neither CRL nor OCSP; tls.revocation.cut says whether anything is done about it",
        ),
        Cut::AllowedNames => match own_name(&observed.resource, entry) {
            Some(name) => cutting(name_gone(observed, name, status)),
            None => published(
                "its common name is not one of tls.allowedNames that could be taken off; tls.revocation.cut: CaRotation would have it refused",
            ),
        },
        Cut::CaRotation => {
            let waits = status.certificate_authority.as_ref();
            let waits = waits.map_or("the rotation to begin", |one| one.waits_for.as_str());
            cutting(format!(
                "the CA with serial {} is gone; waiting for {waits}",
                entry.authority
            ))
        }
    }
}

/// What is awaited before a name is refused.
fn name_gone(observed: &Observed, name: &str, status: &TikvSecurityStatus) -> String {
    let tried = Tried::Name(name.to_owned());
    let accepts = trials(observed, &tried).find(|one| one.refused == Ok(false));
    let rolls = status.rollout.waiting_for.as_ref();
    let waits = match (accepts, rolls) {
        (_, Some(what)) => format!("; waiting for {what}"),
        (Some(pod), None) => format!("; {}:{} still accepts it", pod.pod, pod.port),
        (None, None) => String::new(),
    };
    format!("every store runs without {name} on its list{waits}")
}
