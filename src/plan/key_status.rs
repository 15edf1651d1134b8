//! The master key as the status and the metrics show it.

use jiff::{SignedDuration, Timestamp};

use super::observed::{MasterKeyProof, Observed};
use crate::api::v1alpha1::MasterKeyStatus;

/// A proof with the same outcome as the one before is written down after this time: a cluster at rest is not written to
/// at each proof.
const STEP: SignedDuration = SignedDuration::from_mins(5);

/// What is known of the key that the spec names; `None` where none is.
pub fn status(observed: &Observed, now: Timestamp) -> Option<MasterKeyStatus> {
    let encryption = observed.resource.spec.encryption.as_ref()?;
    let choice = encryption.master_key.choice()?;
    let before = observed.resource.status.as_ref();
    let before = before.and_then(|status| status.master_key.as_ref());
    let mut status = MasterKeyStatus {
        kind: choice.kind().to_string(),
        key: choice.id(),
        last_success: None,
        latency_milliseconds: None,
        checked_at: None,
        by: "operator".to_owned(),
    };
    let same = |before: &&MasterKeyStatus| before.kind == status.kind && before.key == status.key;
    let before = before.filter(same).cloned();
    let known = before.clone().unwrap_or_else(|| status.clone());
    let usable = match observed.master_key {
        MasterKeyProof::NotAsked => return Some(known),
        MasterKeyProof::Usable => true,
        MasterKeyProof::Refused { .. } => false,
    };
    let at = observed.key_probe.map_or(now, |probe| probe.checked_at);
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    status.checked_at = Some(at);
    status.last_success = if usable { Some(at) } else { known.last_success };
    status.latency_milliseconds = if usable {
        observed.key_probe.map(|probe| probe.latency_milliseconds)
    } else {
        known.latency_milliseconds
    };
    let was_usable = known.checked_at.is_some() && known.checked_at == known.last_success;
    let fresh = known
        .checked_at
        .is_some_and(|then| at.duration_since(then) < STEP);
    Some(match before {
        Some(before) if fresh && was_usable == usable => before,
        _ => status,
    })
}

/// Seconds since the master key was last proven, for Prometheus.
pub fn seconds_since_success(observed: &Observed, now: Timestamp) -> Option<i64> {
    observed.resource.spec.encryption.as_ref()?;
    let last = match observed.master_key {
        MasterKeyProof::Usable => observed.key_probe.map_or(now, |probe| probe.checked_at),
        _ => status(observed, now)?.last_success?,
    };
    Some(now.duration_since(last).as_secs().max(0))
}
