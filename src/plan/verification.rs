//! Full verifications: which was the last, and whether one is overdue.

use jiff::{SignedDuration, Timestamp};

use super::keys::Told;
use crate::api::report::{AgentReport, VerificationReport};

/// Time that a store has beside twice that of reading everything at the rate that is asked for.
const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// The last verification that ended: an agent knows of those since its own start.
pub fn last(
    report: Option<&AgentReport>,
    before: Option<VerificationReport>,
) -> Option<VerificationReport> {
    let told = report.and_then(|report| report.last_verification.clone());
    let both = told.into_iter().chain(before);
    both.max_by_key(|one| one.started_at)
}

/// Since when the verification that the agents were told of should have been done.
pub fn overdue_since(
    told: &Told,
    last: Option<&VerificationReport>,
    report: Option<&AgentReport>,
    now: Timestamp,
) -> Option<Timestamp> {
    let wanted = told.state.proof?;
    if last.is_some_and(|last| last.started_at >= wanted.not_before) {
        return None;
    }
    let coverage = report.and_then(|report| report.coverage.as_ref());
    let seconds = coverage.map_or(0, |coverage| coverage.bytes) / wanted.bytes_per_second;
    let reading = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(2);
    let reading = SignedDuration::from_secs(reading);
    let until = wanted.not_before.checked_add(GRACE).ok()?;
    let until = until.checked_add(reading).ok()?;
    (now > until).then_some(until)
}
