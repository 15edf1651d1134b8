//! `TikvVolume` objects: one a TiKV pod.

use jiff::Timestamp;

use super::compaction;
use super::keys::Told;
use super::objects::owned;
use super::observed::Observed;
use super::pods::{PodView, agent_text, views};
use super::verification;
use crate::api::report::{AgentPhase, AgentReport};
use crate::api::v1alpha1::{
    Attempt, ServedCertificate, TikvVolume, TikvVolumeSpec, TikvVolumeStatus, VolumePhase,
};

/// All of them.
pub fn volumes(observed: &Observed, told: Option<&Told>, now: Timestamp) -> Vec<TikvVolume> {
    let Some(told) = told else { return Vec::new() };
    let mut all: Vec<_> = views(observed, &observed.tikv)
        .iter()
        .map(|pod| volume(observed, told, pod, now))
        .collect();
    // A pod that is away keeps its object, and with it the last measurement.
    let drift = super::drift::find(observed);
    for volume in &mut all {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let left = super::drift::is_left_of(&drift, "TikvVolume", &name);
        if let Some(there) = observed.volumes.get(&name).filter(|_| left) {
            volume.spec = there.spec.clone();
        }
    }
    for (name, old) in &observed.volumes {
        if !all
            .iter()
            .any(|new| new.metadata.name.as_ref() == Some(name))
            && within(observed, name)
        {
            let mut kept = TikvVolume::new(name, old.spec.clone());
            kept.metadata = owned(observed, name, "volume");
            kept.status = old.status.clone();
            if let Some(status) = &mut kept.status {
                status.phase = Some(VolumePhase::Unknown);
                status.unreachable = Some("there is no pod now".to_owned());
                status.message = status.unreachable.clone();
            }
            all.push(kept);
        }
    }
    all
}

fn within(observed: &Observed, name: &str) -> bool {
    let ordinal = name
        .rsplit('-')
        .next()
        .and_then(|text| text.parse::<usize>().ok());
    ordinal.is_some_and(|ordinal| ordinal < super::pods::replicas(&observed.tikv))
}

fn volume(observed: &Observed, told: &Told, pod: &PodView<'_>, now: Timestamp) -> TikvVolume {
    let spec = TikvVolumeSpec {
        security: observed.name().to_owned(),
        pod: pod.name.to_owned(),
        method: told.state.method,
        data_key_not_before: told.state.data_key_not_before,
        reencrypt: told.state.reencrypt,
        verified_not_before: told.state.proof.map(|proof| proof.not_before),
        generation: told.state.generation,
    };
    let before = observed
        .volumes
        .get(pod.name)
        .and_then(|volume| volume.status.clone())
        .unwrap_or_default();
    let report = pod.report.cloned().or(before.report);
    let verified = verification::last(report.as_ref(), before.last_verification);
    let overdue = verification::overdue_since(told, verified.as_ref(), report.as_ref(), now);
    let unreachable = match observed.agents.get(pod.name) {
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(why.clone()),
        None => Some("the pod has no address yet".to_owned()),
    };
    let (phase, message) = stand(told, pod, unreachable.as_deref());
    let coverage = report.as_ref().and_then(|report| report.coverage.as_ref());
    let running = pod
        .report
        .filter(|report| !report.gate_open)
        .and_then(|report| report.progress.as_ref());
    let status = TikvVolumeStatus {
        phase: Some(phase),
        message: Some(message),
        store_id: pod.store.map(|store| store.id).or(before.store_id),
        encrypted: coverage.map(|coverage| share(coverage.encrypted_bytes, coverage.bytes)),
        progress: running
            .map(|progress| share(progress.bytes_done, progress.bytes_total))
            .or_else(|| compaction::progress(pod.report?)),
        report,
        unreachable,
        served: served(observed, pod.name),
        attempt: (pod.created >= told.since).then_some(Attempt {
            generation: told.state.generation,
            started_at: pod.created.max(Timestamp::UNIX_EPOCH),
        }),
        last_verification: verified,
        verification_overdue_since: overdue,
    };
    let mut volume = TikvVolume::new(pod.name, spec);
    volume.metadata = owned(observed, pod.name, "volume");
    volume.status = Some(status);
    volume
}

fn stand(told: &Told, pod: &PodView<'_>, unreachable: Option<&str>) -> (VolumePhase, String) {
    let Some(report) = pod.report else {
        return (
            VolumePhase::Unknown,
            unreachable.unwrap_or("the agent was not asked").to_owned(),
        );
    };
    if !report.gate_open {
        let held = report.phase == AgentPhase::Held;
        return (
            if held {
                VolumePhase::Held
            } else {
                VolumePhase::Working
            },
            agent_text(report),
        );
    }
    let answers = report.desired_generation == told.state.generation;
    if let Some(stand) = compaction::stand(told, pod) {
        return stand;
    }
    if pod.failed(told) || (!answers && report.error.is_some()) {
        return (VolumePhase::Failed, problem(report));
    }
    if let Some(error) = report
        .error
        .as_ref()
        .filter(|_| report.satisfied && answers)
    {
        let text = format!(
            "As desired when last measured; now: {} {}",
            error.message, error.remedy
        );
        return (VolumePhase::AsDesired, text);
    }
    if report.satisfied && answers {
        return (
            VolumePhase::AsDesired,
            format!("Every file is {}", told.state.method),
        );
    }
    (
        VolumePhase::Waiting,
        "The pod must restart before its agent can work".to_owned(),
    )
}

fn problem(report: &AgentReport) -> String {
    let finding = report.error.as_ref().or(report.findings.first());
    finding.map_or("The agent gave no reason".to_owned(), |one| {
        format!("{} {}", one.message, one.remedy)
    })
}

fn served(observed: &Observed, pod: &str) -> Vec<ServedCertificate> {
    let mine = observed.served.iter().filter(|served| served.pod == pod);
    mine.map(|served| ServedCertificate {
        port: served.port,
        serial: served.result.as_ref().ok().map(|leaf| leaf.serial.clone()),
        not_after: served.result.as_ref().ok().map(|leaf| leaf.not_after),
        error: served.result.as_ref().err().cloned(),
    })
    .collect()
}

/// A share in percent, rounded down, so that 100% means all.
pub fn share(part: u64, whole: u64) -> String {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    if whole == 0 {
        "-".to_owned()
    } else {
        format!("{percent}%")
    }
}
