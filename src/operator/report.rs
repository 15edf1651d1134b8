//! Tells people and Prometheus what is true: status, volume objects, events, metrics. Writes only what changed.

use jiff::SignedDuration;
use kube::Resource as _;
use kube::ResourceExt as _;
use kube::runtime::events::{Event, EventType, Recorder};

use super::error::Error;
use super::metrics::Metrics;
use super::objects::Objects;
use crate::api::v1alpha1::{TikvSecurity, TikvSecurityStatus, TikvVolume, TikvVolumeStatus};
use crate::plan::action::Note;
use crate::plan::observed::{Observed, SecretContent};

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
    }
    near && *before == now
}

/// Publishes events. One that can not be published is logged: nothing may depend on events.
pub(super) async fn events(recorder: &Recorder, resource: &TikvSecurity, notes: &[Note]) {
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

/// Sets the numbers of one `TikvSecurity`.
pub(super) fn metrics(metrics: &Metrics, observed: &Observed, status: &TikvSecurityStatus) {
    let (namespace, name) = (observed.namespace(), observed.name());
    for (secret, facts) in &observed.secrets {
        match &facts.content {
            SecretContent::Authority(certificate) | SecretContent::Leaf { certificate, .. } => {
                metrics.stored(namespace, name, secret, certificate.not_after);
            }
            SecretContent::Unusable(_) => {}
        }
    }
    for served in &observed.served {
        if let Ok(leaf) = &served.result {
            metrics.served(namespace, name, &served.pod, served.port, leaf.not_after);
        }
    }
    if let Some(pd) = observed.pd_facts() {
        let names = pd.stores.iter().map(|store| store.state.name());
        metrics.stores(namespace, name, names);
    }
    for (pod, report) in &observed.agents {
        if let Some(coverage) = report.as_ref().ok().and_then(|one| one.coverage.as_ref()) {
            metrics.plaintext(namespace, name, pod, coverage.plaintext_bytes);
        }
    }
    let before = observed.resource.status.as_ref();
    let before = before.map(|status| format!("{:?}", status.rollout.phase));
    let now = format!("{:?}", status.rollout.phase);
    metrics.phase(namespace, name, before.as_deref(), &now);
}
