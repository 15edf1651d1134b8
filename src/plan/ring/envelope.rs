//! The same master key, but another key of the KMS's making in `key.dict`: asked for by a word or by the clock.
//!
//! TiKV takes the KMS-made key over whenever it writes `key.dict` (facts, encryption at rest §2.3), and nothing in the file
//! says when it was made. So what is in use is written down by fingerprint when the request comes, and a store is done
//! when its `key.dict` is under none of these.

use jiff::{SignedDuration, Timestamp};

use super::{Turn, asked_by, requester};
use crate::api::key_dict::EnvelopeWish;
use crate::api::v1alpha1::{Encryption, RotationKind, RotationRecord};
use crate::plan::desired::Blocker;
use crate::plan::observed::Observed;
use crate::plan::pods::{replicas, views};

/// Goes on with a rotation of envelopes, ends it, or begins one.
pub(super) fn turn(
    turn: &mut Turn,
    observed: &Observed,
    encryption: &Encryption,
    paused: bool,
    now: Timestamp,
) {
    if let Some(rotation) = &mut turn.ring.rotation
        && rotation.finished_at.is_none()
    {
        if let Some(waits) = &turn.tally.waits {
            turn.waits = Some(waits.clone());
        } else {
            rotation.finished_at = Some(now);
            let total = turn.tally.total;
            turn.note(
                "EnvelopeRotationFinished",
                format!("key.dict of all {total} stores is under a new key of the KMS's making"),
            );
        }
        return;
    }
    let request = observed.resource.spec.rotate.master_key.as_ref();
    let asked = request.filter(|_| request != turn.ring.answered.as_ref());
    let period = encryption
        .master_key_rotation_period
        .map(|period| period.get());
    if asked.is_none() && !passed(turn, period, now) {
        // A word that is taken away and comes back asks again.
        turn.ring.answered = request.cloned();
        return;
    }
    let makes = encryption
        .master_key
        .choice()
        .is_some_and(|choice| choice.makes_envelopes());
    if !makes {
        turn.refused = Some(Blocker::new(
            "MasterKeyNotInKms",
            "rotate.masterKey asks for a new key of the KMS's making, and the master key is in no KMS",
            "Take rotate.masterKey back; to use another key, put it into another Secret and name that one in encryption.masterKey.file.secret.",
        ));
        return;
    }
    if paused {
        turn.waits = Some("rollout.paused to become false".to_owned());
        return;
    }
    let not = match in_use(observed) {
        Ok(not) => not,
        Err(waits) => {
            turn.waits = Some(waits);
            return;
        }
    };
    let by = match asked {
        Some(_) => requester(observed, &["spec", "rotate", "masterKey"]),
        None => Some("schedule".to_owned()),
    };
    let name = encryption.master_key.to_string();
    let text = format!(
        "key.dict of each store is sealed under a new key of {name}'s making{}",
        asked_by(by.as_deref())
    );
    turn.note("EnvelopeRotationStarted", text);
    turn.ring.rotation = Some(RotationRecord {
        kind: RotationKind::Envelope,
        request: asked.cloned(),
        by,
        from: Some(name.clone()),
        to: Some(name),
        started_at: now,
        abandoned_at: None,
        finished_at: None,
    });
    turn.ring.answered = request.cloned();
    turn.ring.envelope = Some(EnvelopeWish { asked_at: now, not });
    turn.waits = Some("the stores to be restarted".to_owned());
    turn.moved = true;
}

fn passed(turn: &Turn, period: Option<SignedDuration>, now: Timestamp) -> bool {
    let made = turn.ring.in_force.since;
    let asked = turn.ring.envelope.as_ref().map(|wish| wish.asked_at);
    let last = asked.map_or(made, |asked| asked.max(made));
    period.is_some_and(|period| now.duration_since(last) >= period)
}

/// The KMS-made keys that seal a `key.dict` now; or whose agent must still tell.
fn in_use(observed: &Observed) -> Result<Vec<String>, String> {
    let pods = views(observed, &observed.tikv);
    let mut not = Vec::new();
    for pod in &pods {
        let Some(report) = pod.report.and_then(|report| report.key_dict.as_ref()) else {
            return Err(format!(
                "{}: its agent has not told yet what its key.dict is under",
                pod.name
            ));
        };
        not.extend(report.envelope.clone());
    }
    if pods.len() < replicas(&observed.tikv) {
        return Err("pods that are away to come back".to_owned());
    }
    not.sort();
    not.dedup();
    Ok(not)
}
