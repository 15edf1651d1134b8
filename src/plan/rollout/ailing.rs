//! What is wrong, in words: with the cluster, with a store, with its agent.

use jiff::Timestamp;

use crate::api::report::{AgentReport, Finding};
use crate::plan::desired::Blocker;
use crate::plan::keys::Told;
use crate::plan::observed::{Observed, PdFacts};
use crate::plan::pods::PodView;
use crate::tikv::pd::types::StoreState;

/// What an agent says of a store that TiKV can run on but might not start on again.
const DAMAGE: [&str; 6] = [
    "KeyDictionaryDamaged",
    "FileDictionaryDamaged",
    "DictionaryMissing",
    "DataKeyMissing",
    "ContentMismatch",
    "PanicMark",
];

/// A running store that must not be restarted: TiKV reads its dictionaries at start only (facts, encryption at rest §2.5).
pub(super) fn damage(pods: &[PodView<'_>]) -> Option<Blocker> {
    pods.iter().find_map(|pod| {
        let finding = damaged(pod.report?)?;
        let store = pod.store.map(|store| format!(" (store {})", store.id));
        Some(Blocker::new(
            "StoreDamaged",
            format!(
                "{}{} runs, but would perhaps not start again, so no store is restarted: {}",
                pod.name,
                store.unwrap_or_default(),
                finding.message
            ),
            sentence(&finding.remedy),
        ))
    })
}

fn damaged(report: &AgentReport) -> Option<&Finding> {
    report
        .error
        .iter()
        .chain(&report.findings)
        .filter(|_| report.gate_open)
        .find(|finding| DAMAGE.contains(&finding.code.as_str()))
}

/// An agent beside a store that runs which can not measure or does not answer. Store, cause and next step.
pub(super) fn trouble(
    observed: &Observed,
    pods: &[PodView<'_>],
    told: &Told,
    now: Timestamp,
) -> Option<String> {
    pods.iter().find_map(|pod| {
        let restarts = pod.outdated || pod.ailment(now).is_some();
        if restarts || pod.failed(told) || pod.wants_agent_run(told) {
            return None;
        }
        let Some(report) = pod.report else {
            let Some(Err(why)) = observed.agents.get(pod.name) else {
                return None;
            };
            return Some(format!(
                "{}: {why}. See: kubectl logs {} -c tikv-security-agent.",
                pod.name, pod.name
            ));
        };
        let error = report.error.as_ref().filter(|_| report.gate_open)?;
        Some(format!(
            "{}: {}. {}",
            pod.name,
            error.message,
            sentence(&error.remedy)
        ))
    })
}

/// With a capital and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str())
}

pub(super) fn failure(pod: &PodView<'_>) -> String {
    let report = pod.report;
    let finding = report.and_then(|report| report.error.as_ref().or(report.findings.first()));
    match finding {
        Some(finding) => format!("{}: {} {}", pod.name, finding.message, finding.remedy),
        None => format!(
            "{}: its agent could not make the data as desired. See the TikvVolume of this name.",
            pod.name
        ),
    }
}

/// Why the cluster can not bear a restart (facts, TLS §4.4). `pending_before` is how many regions lagged before
/// anything was disturbed: a busy cluster always has some.
pub fn illness(facts: &PdFacts, pending_before: Option<u64>) -> Option<String> {
    if facts.down_peers > 0 {
        return Some(format!(
            "{} regions to get back a replica that is gone",
            facts.down_peers
        ));
    }
    if pending_before.is_some_and(|before| facts.pending_peers > before) {
        return Some(format!("{} regions to catch up", facts.pending_peers));
    }
    let bad = facts.stores.iter().find(|store| {
        matches!(
            store.state,
            StoreState::Down | StoreState::Disconnected | StoreState::Unknown
        )
    });
    bad.map(|store| {
        format!(
            "store {} at {} to be Up; it is {}",
            store.id,
            store.address,
            store.state.name()
        )
    })
}
