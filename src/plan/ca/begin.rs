//! Why and when a rotation begins.

use jiff::Timestamp;

use super::source::{self, Source};
use super::told::COSTS;
use super::turn::{Moment, Turn, answered, held, lifetime, unwell, whole_seconds, written};
use super::{Course, evidence};
use crate::api::ANNOTATION_CA_ROTATION;
use crate::api::v1alpha1::{CaPhase, CaRotation, CaStep, CertificateAuthorityStatus};
use crate::plan::action::Action;
use crate::plan::names::next_authority_secret;
use crate::plan::objects::metadata;
use crate::plan::observed::{IssuerLook, Observed};
use crate::plan::revocation;
use crate::plan::ring::requester;

/// Longest common name (RFC 5280, ub-common-name), in characters.
const COMMON_NAME: usize = 64;

/// Why a rotation begins.
enum Cause {
    Request,
    Emergency,
    Revocation,
    /// The issuer has another CA, or is another one.
    Issuer,
    Schedule,
}

/// What is asked for and was not answered by the CA that is there.
fn cause(course: &Course<'_>, moment: &Moment<'_>) -> Option<Cause> {
    let rotate = &moment.observed.resource.spec.rotate;
    let (request, emergency) = answered(moment.observed);
    let new = |word: &Option<String>, old: &Option<String>| word.is_some() && word != old;
    if new(&rotate.ca_emergency, &emergency) {
        return Some(Cause::Emergency);
    }
    if revocation::demands(moment.observed, &course.present.anchor.serial, moment.now) {
        return Some(Cause::Revocation);
    }
    if new(&rotate.ca, &request) {
        return Some(Cause::Request);
    }
    if source::of(moment.observed, course.present) == Source::Another {
        return Some(Cause::Issuer);
    }
    if source::elsewhere(&course.present.issuer).is_some() {
        return None;
    }
    let early = moment.desired.ca_renew_before.min(lifetime(course) / 2);
    let left = course.present.ends.duration_since(moment.now);
    (moment.desired.tls && left <= early).then_some(Cause::Schedule)
}

/// Stores the next CA, if it is asked for and nothing speaks against it.
pub(super) fn begin(course: &Course<'_>, moment: &Moment<'_>, turn: &mut Turn) {
    let Some(cause) = cause(course, moment) else {
        return;
    };
    let observed = moment.observed;
    let (rotate, answers) = (&observed.resource.spec.rotate, answered(observed));
    let field = match cause {
        Cause::Request => Some("ca"),
        Cause::Emergency => Some("caEmergency"),
        Cause::Issuer | Cause::Schedule | Cause::Revocation => None,
    };
    let cuts = matches!(cause, Cause::Revocation);
    let by = match (&cause, field) {
        (_, Some(field)) => requester(observed, &["spec", "rotate", field]),
        (Cause::Issuer, None) => requester(observed, &["spec", "tls", "issuer"]),
        (Cause::Revocation, None) => Some("revocation".to_owned()),
        (_, None) => Some("schedule".to_owned()),
    };
    let emergency = matches!(cause, Cause::Emergency);
    let hurried = emergency || cuts;
    let ready = evidence::lacking(observed, course);
    let waits = held(moment)
        .or_else(|| offered(course, moment))
        .or(ready)
        .or_else(|| unwell(moment));
    let paused = observed.resource.spec.rollout.paused;
    turn.status = Some(CertificateAuthorityStatus {
        phase: if paused {
            CaPhase::Paused
        } else {
            CaPhase::Asked
        },
        from: Some(course.present.anchor.serial.clone()),
        to: None,
        waits_for: waits
            .clone()
            .unwrap_or("the next CA to be stored".to_owned()),
        point_of_no_return: "not reached: nothing was changed".to_owned(),
        costs: hurried.then(|| COSTS.to_owned()),
        started_at: None,
        published_at: None,
        by: by.clone(),
    });
    if waits.is_some() {
        return;
    }
    let why = match &by {
        Some(by) => format!(", as asked by {by}"),
        None => String::new(),
    };
    let costs = if hurried {
        format!(". Nobody is waited for: {COSTS}")
    } else {
        String::new()
    };
    turn.note(
        "CaRotationStarted",
        format!(
            "The CA with serial {} is rotated{why}; until the new one alone is trusted it can be turned around{costs}",
            course.present.anchor.serial
        ),
    );
    let memory = CaRotation {
        step: CaStep::Bundle,
        started_at: whole_seconds(moment.now),
        by,
        request: rotate.ca.clone().filter(|_| rotate.ca != answers.0),
        emergency: rotate.ca_emergency.clone().filter(|_| emergency),
        published_at: None,
        settled_at: None,
        abandoned_at: None,
        cuts,
    };
    let notes = [(ANNOTATION_CA_ROTATION, written(&memory))];
    let name = next_authority_secret(observed.name());
    turn.actions.push(Action::IssueCa {
        metadata: Box::new(metadata(observed, &name, "ca-next", &notes)),
        issuer: Box::new(moment.desired.issuer.clone()),
        common_name: next_name(observed, moment.now),
        duration: moment.desired.ca_duration,
    });
}

/// What lacks until the issuer has another CA to give.
fn offered(course: &Course<'_>, moment: &Moment<'_>) -> Option<String> {
    let name = next_authority_secret(moment.observed.name());
    let failed = moment.observed.not_issued.get(&name);
    if let Some(failed) = failed.filter(|failed| moment.now < failed.retry_at) {
        return Some(format!("the issuer: {}", failed.message));
    }
    if let IssuerLook::Refused { message, remedy } = &moment.observed.issuer {
        return Some(format!("the issuer: {message}. {remedy}"));
    }
    // Of an issuer that shows its CA with a certificate alone nobody knows before.
    let unknown = matches!(moment.observed.issuer, IssuerLook::Makes);
    if unknown || source::of(moment.observed, course.present) == Source::Another {
        return None;
    }
    source::elsewhere(&moment.desired.issuer)
}

/// Another name than the CA before has: whoever looks for a signer by its name finds one.
fn next_name(observed: &Observed, now: Timestamp) -> String {
    let suffix = format!(" CA {:x}", now.as_second());
    let stem = format!("{}.{}.tikv-security", observed.name(), observed.namespace());
    let stem: String = stem
        .chars()
        .take(COMMON_NAME.saturating_sub(suffix.len()))
        .collect();
    stem + &suffix
}
