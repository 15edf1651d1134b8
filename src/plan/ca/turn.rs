//! Which step follows, and what it waits for.

use jiff::{SignedDuration, Timestamp};
use serde_json::to_string;

use super::begin::begin;
use super::source::{self, Source};
use super::told::{COSTS, told};
use super::{Course, Rotation, evidence};
use crate::api::v1alpha1::{CaRotation, CaStep, CertificateAuthorityStatus};
use crate::api::{ANNOTATION_EMERGENCY, ANNOTATION_ROTATION};
use crate::plan::action::{Action, Anchor, Note};
use crate::plan::desired::Desired;
use crate::plan::names::{authority_secret, next_authority_secret};
use crate::plan::objects::{annotation, metadata};
use crate::plan::observed::Observed;
use crate::plan::pods::views;
use crate::plan::revocation;
use crate::plan::rollout::Rolling;

/// The overlap is at most this part of the CA's validity.
const OVERLAPS: i32 = 20;

/// What a turn looks at besides the world.
pub struct Moment<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// What is wanted.
    pub desired: &'a Desired,
    /// The restarts.
    pub rolling: &'a Rolling,
    /// What else comes first.
    pub held: Option<String>,
    /// The time.
    pub now: Timestamp,
}

/// What follows for the CA.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Effects.
    pub actions: Vec<Action>,
    /// For the status.
    pub status: Option<CertificateAuthorityStatus>,
    /// True when nothing but the time for clients is awaited.
    pub resting: bool,
    /// Events.
    pub notes: Vec<Note>,
}

/// Decides.
pub fn turn(course: &Course<'_>, moment: &Moment<'_>) -> Turn {
    let mut turn = Turn::default();
    match &course.rotation {
        None => begin(course, moment, &mut turn),
        Some(rotation) => advance(course, rotation, moment, &mut turn),
    }
    turn
}

/// The words that the present CA answers: `rotate.ca` and `rotate.caEmergency`.
pub(super) fn answered(observed: &Observed) -> (Option<String>, Option<String>) {
    let secret = observed.secrets.get(&authority_secret(observed.name()));
    let word = |key| {
        let word = annotation(&secret?.metadata, key)?;
        (!word.is_empty()).then(|| word.to_owned())
    };
    (word(ANNOTATION_ROTATION), word(ANNOTATION_EMERGENCY))
}

/// Validity of the present CA.
pub(super) fn lifetime(course: &Course<'_>) -> SignedDuration {
    let ca = &course.present.anchor;
    ca.not_after.duration_since(ca.not_before)
}

fn advance(course: &Course<'_>, rotation: &Rotation<'_>, moment: &Moment<'_>, turn: &mut Turn) {
    let observed = moment.observed;
    let step = course.step().unwrap_or(rotation.memory.step);
    let mut memory = rotation.memory.clone();
    if step != memory.step {
        // The CA was promoted, and a crash came before that was written down.
        memory.step = step;
        memory.settled_at = None;
        turn.record(observed, rotation, &memory);
    }
    if turn.actions.is_empty() && hurry(course, moment, &mut memory) {
        if memory.hurried() && !rotation.memory.hurried() {
            turn.note(
                "CaRotationHurried",
                format!("The rotation of the CA is hurried: {COSTS}"),
            );
        }
        turn.record(observed, rotation, &memory);
    }
    let mut waits = held(moment);
    if turn.actions.is_empty() && waits.is_none() {
        waits = follow(course, rotation, moment, turn);
    }
    let waits = waits.unwrap_or("the next step".to_owned());
    turn.status = Some(told(course, &memory, observed, waits));
}

/// Takes the words of the specification that came since for this rotation too, where it can answer them.
fn hurry(course: &Course<'_>, moment: &Moment<'_>, memory: &mut CaRotation) -> bool {
    let observed = moment.observed;
    let rotate = &observed.resource.spec.rotate;
    let (request, emergency) = answered(observed);
    let before = memory.clone();
    if memory.abandoned_at.is_none() && memory.step != CaStep::Drop {
        if rotate.ca_emergency.is_some() && rotate.ca_emergency != emergency {
            memory.emergency.clone_from(&rotate.ca_emergency);
        }
        if memory.request.is_none() && rotate.ca.is_some() && rotate.ca != request {
            memory.request.clone_from(&rotate.ca);
        }
        memory.cuts |= revocation::demands(observed, &course.present.anchor.serial, moment.now);
    }
    *memory != before
}

/// Whether the rotation is still asked for: a word that was taken back, or is the one from before again, turns it around.
fn wanted(observed: &Observed, memory: &CaRotation) -> bool {
    let rotate = &observed.resource.spec.rotate;
    let (request, emergency) = answered(observed);
    let words = [
        (&memory.request, &rotate.ca, &request),
        (&memory.emergency, &rotate.ca_emergency, &emergency),
    ];
    let mut asked = words
        .iter()
        .filter(|(word, _, _)| word.is_some())
        .peekable();
    let by_clock = memory.by.as_deref() == Some("schedule");
    by_clock
        || memory.cuts
        || asked.peek().is_none()
        || asked.any(|(word, now, before)| now == word || (now.is_some() && now != before))
}

/// Goes to a step: one write, and the memory of it.
fn go(
    rotation: &Rotation<'_>,
    moment: &Moment<'_>,
    turn: &mut Turn,
    step: CaStep,
    abandons: bool,
) -> Option<String> {
    let mut memory = rotation.memory.clone();
    let since = memory.abandoned_at.unwrap_or(whole_seconds(moment.now));
    memory.abandoned_at = abandons.then_some(since);
    if memory.step == CaStep::Withdraw {
        // What restarted meanwhile has forgotten the next CA.
        memory.published_at = None;
    }
    memory.step = step;
    memory.settled_at = None;
    turn.record(moment.observed, rotation, &memory);
    None
}

/// Where a rotation goes that is not wanted any more, or wanted again. While nothing but the present CA has signed, or both
/// are trusted everywhere, turning around needs no proof.
const fn around(wanted: bool, step: CaStep) -> Option<CaStep> {
    match (wanted, step) {
        (false, CaStep::Bundle) => Some(CaStep::Withdraw),
        (false, CaStep::Leaves) => Some(CaStep::Return),
        (true, CaStep::Withdraw) => Some(CaStep::Bundle),
        (true, CaStep::Return) => Some(CaStep::Leaves),
        _ => None,
    }
}

/// Does the next step, or tells what it waits for.
fn follow(
    course: &Course<'_>,
    rotation: &Rotation<'_>,
    moment: &Moment<'_>,
    turn: &mut Turn,
) -> Option<String> {
    let (observed, memory) = (moment.observed, &rotation.memory);
    let wanted = source::of(observed, rotation.next) != Source::Another && wanted(observed, memory);
    if let Some(step) = around(wanted, memory.step) {
        if wanted {
            turn.note("CaRotationResumed", resumed(rotation));
        } else {
            turn.note("CaRotationAbandoned", abandoned(course));
        }
        return go(rotation, moment, turn, step, !wanted);
    }
    if memory.step == CaStep::Leaves
        && let Some(pod) = evidence::stranded(observed, moment.now)
    {
        turn.notes.push(Note {
            warning: true,
            reason: "CaStoreStranded".to_owned(),
            message: format!(
                "PD says that the store of {pod} is Up, but its peers have not reached it since the certificates changed; the CA before signs again until they have"
            ),
        });
        return go(rotation, moment, turn, CaStep::Bundle, false);
    }
    if let Some(lacking) = evidence::lacking(observed, course) {
        return Some(lacking);
    }
    let Some(settled) = memory.settled_at else {
        let mut memory = memory.clone();
        // Pods carry whole seconds: one that was made in this very second counts as older.
        let second = SignedDuration::from_secs(1);
        let now = whole_seconds(moment.now);
        let now = now.saturating_add(second).unwrap_or(now);
        memory.settled_at = Some(now);
        if memory.step == CaStep::Bundle {
            memory.published_at.get_or_insert(now);
        }
        turn.record(observed, rotation, &memory);
        return None;
    };
    if let Some(unwell) = unwell(moment) {
        return Some(unwell);
    }
    // Without TLS there are none: the agents alone have certificates.
    let clients = moment.desired.tls
        && matches!(
            memory.step,
            CaStep::Bundle | CaStep::Leaves | CaStep::Return
        );
    if clients && !memory.hurried() {
        let overlap = moment.desired.ca_overlap.min(lifetime(course) / OVERLAPS);
        let since = match memory.step {
            CaStep::Bundle => memory.published_at.unwrap_or(settled),
            _ => settled,
        };
        let until = since.saturating_add(overlap).unwrap_or(moment.now);
        if moment.now < until {
            turn.resting = true;
            return Some(format!(
                "clients outside to read the Secret of the client certificate anew, until {until}"
            ));
        }
    }
    match memory.step {
        CaStep::Bundle => go(rotation, moment, turn, CaStep::Leaves, false),
        CaStep::Leaves => {
            turn.promote(observed, rotation);
            None
        }
        CaStep::Return => go(rotation, moment, turn, CaStep::Withdraw, true),
        CaStep::Drop | CaStep::Withdraw => {
            if memory.step == CaStep::Drop {
                if let Some(accepts) = revocation::still_accepted(observed) {
                    return Some(accepts);
                }
                turn.note(
                    "CaRotationFinished",
                    format!(
                        "Every port serves a certificate of the CA with serial {}, and no other is trusted",
                        rotation.next.anchor.serial
                    ),
                );
            }
            turn.actions.push(Action::VacateCa {
                secret: next_authority_secret(observed.name()),
                version: rotation.version.to_owned(),
            });
            None
        }
    }
}

fn abandoned(course: &Course<'_>) -> String {
    format!(
        "The rotation of the CA is abandoned: the CA with serial {} stays",
        course.present.anchor.serial
    )
}

fn resumed(rotation: &Rotation<'_>) -> String {
    format!(
        "The rotation of the CA to serial {} goes on after all",
        rotation.next.anchor.serial
    )
}

/// What comes before any step.
pub(super) fn held(moment: &Moment<'_>) -> Option<String> {
    let paused = moment.observed.resource.spec.rollout.paused;
    let paused = paused.then(|| "rollout.paused to become false".to_owned());
    paused.or_else(|| moment.held.clone())
}

/// No step while a pod is disturbed or a store is not well, nor before its peers had time to connect (facts, TLS §2.3).
pub(super) fn unwell(moment: &Moment<'_>) -> Option<String> {
    let rolling = moment.rolling;
    if !rolling.complete {
        let pod = rolling.status.pod.as_deref();
        let pod = pod.map(|pod| format!("{pod}: ")).unwrap_or_default();
        let what = rolling.status.waiting_for.as_deref();
        return Some(format!("{pod}{}", what.unwrap_or("restarts to end")));
    }
    if let Some(pod) = moment.observed.unready.first() {
        return Some(format!("{pod}: its store to catch up with its peers"));
    }
    let settle = moment.observed.resource.spec.rollout.settle.get();
    let pods = views(moment.observed, &moment.observed.tikv);
    let back = pods.iter().filter_map(|pod| {
        let started = pod.store.and_then(|store| store.started);
        started.max(pod.ready_since)
    });
    let until = back.max()?.checked_add(settle).ok()?;
    (moment.now < until).then(|| format!("quiet until {until}"))
}

impl Turn {
    /// An event.
    pub(super) fn note(&mut self, reason: &str, message: String) {
        self.notes.push(Note {
            warning: false,
            reason: reason.to_owned(),
            message,
        });
    }

    fn record(&mut self, observed: &Observed, rotation: &Rotation<'_>, memory: &CaRotation) {
        self.actions.push(Action::RecordCaRotation {
            secret: next_authority_secret(observed.name()),
            version: rotation.version.to_owned(),
            memory: written(memory),
        });
    }

    fn promote(&mut self, observed: &Observed, rotation: &Rotation<'_>) {
        let (request, emergency) = answered(observed);
        let word = |new: &Option<String>, old: Option<String>| new.clone().or(old);
        let words = [
            (ANNOTATION_ROTATION, word(&rotation.memory.request, request)),
            (
                ANNOTATION_EMERGENCY,
                word(&rotation.memory.emergency, emergency),
            ),
        ];
        let notes: Vec<(&str, String)> = words
            .into_iter()
            .map(|(key, word)| (key, word.unwrap_or_default()))
            .collect();
        let name = authority_secret(observed.name());
        self.note(
            "CaDropped",
            format!(
                "The CA with serial {} takes the place of the one before, which is trusted no more from now on",
                rotation.next.anchor.serial
            ),
        );
        self.actions.push(Action::PromoteCa {
            from: Anchor {
                secret: next_authority_secret(observed.name()),
                serial: Some(rotation.next.anchor.serial.clone()),
            },
            metadata: Box::new(metadata(observed, &name, "ca", &notes)),
        });
    }
}

/// The memory as it is written down.
pub(super) fn written(memory: &CaRotation) -> String {
    to_string(memory).unwrap_or_default()
}

/// As the API server writes times.
pub(super) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
