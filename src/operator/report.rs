//! Tells people and Prometheus what is true: status, volume objects, events, metrics. Writes only what changed.

use jiff::SignedDuration;
use kube::ResourceExt as _;
use kube::runtime::events::{Event, EventType, Recorder};

use super::error::{Class, Error};
use super::metrics::Series;
use super::objects::Objects;
use super::reconcile::Context;
use crate::api::report::KeyCheck;
use crate::api::v1alpha1::{
    DriftAnswer, TikvSecurity, TikvSecurityStatus, TikvVolume, TikvVolumeStatus,
};
use crate::plan::action::Note;
use crate::plan::observed::{Observed, SecretContent};
use crate::plan::revocation::record::Stored;
use crate::plan::{drift, key_status, revocation};

/// A measurement that says the same as the last one is written down again only after this time.
const SAME_MEASUREMENT: SignedDuration = SignedDuration::from_mins(10);
/// Longest text of an event.
const NOTE: usize = 1000;

/// Writes the status if it says something new; `unchanged` to fail if somebody wrote since it was read.
pub(super) async fn status(
    objects: &Objects,
    before: &TikvSecurity,
    status: &TikvSecurityStatus,
    unchanged: bool,
) -> Result<(), Error> {
    if before.status.as_ref() == Some(status) {
        return Ok(());
    }
    objects.put_status(before, status, unchanged).await
}

/// Brings the volume objects to what is planned; those that are not planned go.
pub(super) async fn volumes(
    objects: &Objects,
    observed: &Observed,
    planned: &[TikvVolume],
) -> Result<(), Error> {
    for volume in planned {
        let name = volume.name_any();
        let before = observed.volumes.get(&name);
        if !before.is_some_and(|before| same_object(before, volume)) {
            let mut bare = volume.clone();
            bare.status = None;
            objects.put(&bare).await?;
        }
        let Some(status) = &volume.status else {
            continue;
        };
        let told = before.and_then(|before| before.status.as_ref());
        if !told.is_some_and(|told| same_measurement(told, status)) {
            objects.put_volume_status(volume).await?;
        }
    }
    for name in observed.volumes.keys() {
        if !planned.iter().any(|volume| volume.name_any() == *name) {
            objects.delete::<TikvVolume>(name).await?;
        }
    }
    Ok(())
}

fn same_object(before: &TikvVolume, planned: &TikvVolume) -> bool {
    before.spec == planned.spec
        && before.owner_references() == planned.owner_references()
        && planned
            .labels()
            .iter()
            .all(|(key, value)| before.labels().get(key) == Some(value))
}

/// True when nothing but the time of the measurement differs, and that not by much.
fn same_measurement(before: &TikvVolumeStatus, now: &TikvVolumeStatus) -> bool {
    let at = |status: &TikvVolumeStatus| status.report.as_ref().and_then(|one| one.measured_at);
    let (then, late) = (at(before), at(now));
    let near = match (then, late) {
        (Some(then), Some(late)) => late.duration_since(then).abs() < SAME_MEASUREMENT,
        (then, late) => then == late,
    };
    let mut now = now.clone();
    if let Some(report) = &mut now.report {
        report.measured_at = then;
        let told = before.report.as_ref();
        let told = told.and_then(|report| report.master_key.as_ref());
        if let (Some(told), Some(check)) = (told, &mut report.master_key)
            && same_answer(told, check)
        {
            *check = told.clone();
        }
    }
    near && *before == now
}

/// True when a store's master key answered as before, and not much later.
fn same_answer(told: &KeyCheck, now: &KeyCheck) -> bool {
    let near = now.checked_at.duration_since(told.checked_at).abs() < SAME_MEASUREMENT;
    near && told.error == now.error
}

/// Publishes what only a person can mend.
pub(super) async fn failure<K>(recorder: &Recorder, resource: &K, error: &Error)
where
    K: kube::Resource<DynamicType = ()>,
{
    if error.class() == Class::Human {
        let note = Note {
            warning: true,
            reason: error.reason().to_owned(),
            message: error.to_string(),
        };
        events(recorder, resource, &[note]).await;
    }
}

/// Publishes events. One that can not be published is logged: nothing may depend on events.
pub(super) async fn events<K>(recorder: &Recorder, resource: &K, notes: &[Note])
where
    K: kube::Resource<DynamicType = ()>,
{
    for note in notes {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.clone(),
            note: Some(note.message.chars().take(NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let regarding = resource.object_ref(&());
        if let Err(error) = recorder.publish(&event, &regarding).await {
            tracing::warn!(%error, reason = note.reason, "event was not published");
        }
    }
}

/// Shows the numbers of one `TikvSecurity`.
pub(super) fn metrics(
    context: &Context,
    observed: &Observed,
    status: &TikvSecurityStatus,
    volumes: &[TikvVolume],
) {
    let metrics = &context.metrics;
    let mut numbers = context.latencies.numbers(observed);
    for (secret, facts) in &observed.secrets {
        match &facts.content {
            SecretContent::Authority(ca) => {
                numbers.push((Series::Stored(secret.clone()), ca.ends.as_second()));
            }
            SecretContent::Leaf { certificate, .. } => {
                let end = certificate.not_after.as_second();
                numbers.push((Series::Stored(secret.clone()), end));
            }
            SecretContent::Wrapped | SecretContent::Unusable(_) => {}
        }
    }
    numbers.extend(certificates(status));
    for served in &observed.served {
        if let Ok(leaf) = &served.result {
            let series = Series::Served(served.pod.clone(), served.port);
            numbers.push((series, leaf.not_after.as_second()));
        }
    }
    if let Some(pd) = observed.pd_facts() {
        for state in ["Up", "Disconnected", "Down", "Offline", "Unknown"] {
            let there = pd.stores.iter().filter(|store| store.state.name() == state);
            let count = i64::try_from(there.count()).unwrap_or(i64::MAX);
            numbers.push((Series::Stores(state.to_owned()), count));
        }
    }
    for (pod, answer) in &observed.agents {
        let report = answer.as_ref().ok();
        let wrong = report.is_none_or(|report| report.error.is_some());
        numbers.push((Series::AgentError(pod.clone()), i64::from(wrong)));
        if let Some(coverage) = report.and_then(|report| report.coverage.as_ref()) {
            let bytes = i64::try_from(coverage.plaintext_bytes).unwrap_or(i64::MAX);
            numbers.push((Series::Plaintext(pod.clone()), bytes));
        }
    }
    for condition in &status.conditions {
        let series = Series::Condition(condition.type_.clone());
        numbers.push((series, i64::from(condition.status == "True")));
    }
    for kind in ["StatefulSet", "ConfigMap", "Secret", "TikvVolume"] {
        let open = status.drift.iter().filter(|one| {
            one.kind == kind && one.ended_at.is_none() && one.answer != DriftAnswer::Overridden
        });
        let count = i64::try_from(open.count()).unwrap_or(i64::MAX);
        numbers.push((Series::Drift(kind.to_owned()), count));
        let before = observed.resource.status.as_ref();
        let fresh = drift::fresh(before, status).filter(|one| one.kind == kind);
        let fresh = fresh.filter(|one| one.answer != DriftAnswer::Overridden);
        metrics.drifted(
            observed.namespace(),
            observed.name(),
            kind,
            fresh.count() as u64,
        );
    }
    let now = jiff::Timestamp::now();
    if let Some(seconds) = key_status::seconds_since_success(observed, now) {
        numbers.push((Series::KeySuccessAge, seconds));
    }
    if let Some(probe) = observed.key_probe {
        let latency = i64::try_from(probe.latency_milliseconds).unwrap_or(i64::MAX);
        numbers.push((Series::KeyLatency, latency));
    }
    for volume in volumes {
        let (pod, Some(status)) = (volume.name_any(), &volume.status) else {
            continue;
        };
        let overdue = status.verification_overdue_since.is_some();
        numbers.push((Series::Overdue(pod.clone()), i64::from(overdue)));
        if let Some(last) = &status.last_verification {
            let end = last.finished_at.unwrap_or(last.started_at).as_second();
            numbers.push((Series::Verified(pod.clone()), end));
            let failed = i64::try_from(last.failed).unwrap_or(i64::MAX);
            numbers.push((Series::VerificationFailed(pod), failed));
        }
    }
    if let Some(authority) = &status.certificate_authority {
        let series = Series::CaPhase(authority.phase.name().to_owned());
        numbers.push((series, 1));
    }
    numbers.extend(revoked(observed, status));
    numbers.push((Series::Phase(format!("{:?}", status.rollout.phase)), 1));
    metrics.show(observed.namespace(), observed.name(), &numbers);
}

/// When certificates are renewed, and whether the ports serve them.
fn certificates(status: &TikvSecurityStatus) -> Vec<(Series, i64)> {
    let mut numbers = Vec::new();
    let (mut stored, mut other) = (0, 0);
    for certificate in &status.certificates {
        if let Some(at) = certificate.renew_at {
            let series = Series::RenewAt(certificate.name.clone());
            numbers.push((series, at.as_second()));
        }
        let total = certificate
            .served
            .as_ref()
            .and_then(|text| text.split('/').nth(1));
        let total: usize = total
            .and_then(|total| total.parse().ok())
            .unwrap_or_default();
        other += certificate.not_served.len();
        stored += total.saturating_sub(certificate.not_served.len());
    }
    for (of, count) in [("stored", stored), ("other", other)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        numbers.push((Series::Ports(of.to_owned()), count));
    }
    numbers
}

/// What is revoked, of all and not only of those that the status has room for.
fn revoked(observed: &Observed, status: &TikvSecurityStatus) -> Vec<(Series, i64)> {
    let mut numbers = Vec::new();
    if let Stored::Ours { record, .. } = &observed.revoked {
        let now = jiff::Timestamp::now();
        let count = revocation::counts(observed, status, now);
        numbers.extend(count.into_iter().map(|(phase, count)| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            (Series::Revoked(phase.name().to_owned()), count)
        }));
        if let Some(end) = record.next_update {
            numbers.push((Series::CrlNextUpdate, end.as_second()));
        }
    }
    numbers
}
