//! Drift: what this operator made and somebody else changed or deleted.
//!
//! What was applied is written beside what is there, in the same write (annotation `ANNOTATION_APPLIED`), so a change of our
//! own never looks like one of somebody else, however far it got.

mod compare;
mod objects;
mod template;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::action::Note;
use super::observed::Observed;
use crate::api::MANAGER;
use crate::api::v1alpha1::{DriftAnswer, DriftPolicy, DriftRecord, TikvSecurityStatus};
pub use compare::differences;
pub use template::{applied, given};

/// Differences of one object that are told one by one.
const TOLD: usize = 5;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Where in it; empty: all of it.
    pub path: String,
    /// What is there, without anything secret.
    pub found: String,
    /// Who wrote it last, and when, where the API server tells.
    pub by: Option<(String, Timestamp)>,
    /// What is done about it.
    pub answer: DriftAnswer,
}

/// Everything that is not as it was applied.
pub fn find(observed: &Observed) -> Vec<Found> {
    if observed.resource.status.is_none() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for facts in observed.workloads() {
        all.extend(template::find(observed, facts));
        all.extend(objects::derived(observed, facts));
    }
    all.extend(objects::agent_config(observed));
    all.extend(objects::secrets(observed));
    all.extend(objects::volumes(observed));
    all.extend(objects::overridden(observed));
    all
}

/// What is to be done about a change that breaks nothing by itself.
fn by_policy(observed: &Observed) -> DriftAnswer {
    match observed.resource.spec.drift {
        DriftPolicy::Correct => DriftAnswer::PutBack,
        DriftPolicy::Report => DriftAnswer::Left,
    }
}

/// True when something was left as it is that pods would be restarted with, so that none may be.
pub fn is_left(found: &[Found]) -> bool {
    found.iter().any(|one| one.answer == DriftAnswer::Left)
}

/// True when this object was left as somebody else made it.
pub fn is_left_of(found: &[Found], kind: &str, name: &str) -> bool {
    let mut left = found.iter().filter(|one| one.answer == DriftAnswer::Left);
    left.any(|one| one.kind == kind && one.name == name)
}

/// Who wrote an object after this operator did, and when.
fn author(metadata: &ObjectMeta) -> Option<(String, Timestamp)> {
    let written = metadata.managed_fields.iter().flatten();
    let whole = written.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let entries: Vec<(String, Timestamp)> = whole
        .filter_map(|entry| Some((entry.manager.clone()?, entry.time.as_ref()?.0)))
        .collect();
    let ours = entries.iter().filter(|(name, _)| name == MANAGER);
    let ours = ours.map(|(_, at)| *at).max();
    let foreign = entries.iter().filter(|(name, at)| {
        // The API server keeps whole seconds.
        name != MANAGER && name != "kube-controller-manager" && ours.is_none_or(|ours| *at >= ours)
    });
    foreign.max_by_key(|(_, at)| *at).cloned()
}

/// The list for the status: what is new is added, what is as it should be again is ended.
pub fn records(before: &[DriftRecord], found: &[Found], now: Timestamp) -> Vec<DriftRecord> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut all = before.to_vec();
    for record in all.iter_mut().filter(|record| record.ended_at.is_none()) {
        if !found.iter().any(|one| is_of(record, one)) {
            record.ended_at = Some(now);
        }
    }
    for one in found {
        let open = all
            .iter_mut()
            .find(|record| record.ended_at.is_none() && is_of(record, one));
        match open {
            Some(record) => record.answer = one.answer,
            None => all.push(DriftRecord {
                kind: one.kind.to_owned(),
                name: one.name.clone(),
                path: one.path.clone(),
                found: one.found.clone(),
                by: one.by.as_ref().map(|(name, _)| name.clone()),
                changed_at: one.by.as_ref().map(|(_, at)| *at),
                seen_at: now,
                answer: one.answer,
                ended_at: None,
            }),
        }
    }
    while all.len() > DriftRecord::KEPT {
        let ended = all.iter().position(|record| record.ended_at.is_some());
        all.remove(ended.unwrap_or(0));
    }
    all
}

fn is_of(record: &DriftRecord, found: &Found) -> bool {
    record.kind == found.kind && record.name == found.name && record.path == found.path
}

/// Records that were not there before.
pub fn fresh<'a>(
    before: Option<&'a TikvSecurityStatus>,
    now: &'a TikvSecurityStatus,
) -> impl Iterator<Item = &'a DriftRecord> {
    now.drift.iter().filter(move |record| {
        let mut old = before.iter().flat_map(|before| &before.drift);
        !old.any(|old| {
            let same = old.kind == record.kind && old.name == record.name;
            same && old.path == record.path && old.seen_at == record.seen_at
        })
    })
}

/// What a person should hear of, because it is new.
pub fn notes(before: Option<&TikvSecurityStatus>, now: &TikvSecurityStatus) -> Vec<Note> {
    let new = fresh(before, now);
    new.map(|record| Note {
        warning: true,
        reason: "Drift".to_owned(),
        message: text(record),
    })
    .collect()
}

/// A record as a sentence.
pub fn text(record: &DriftRecord) -> String {
    let place = if record.path.is_empty() {
        String::new()
    } else {
        format!(", {}", record.path)
    };
    let by = match (&record.by, record.changed_at) {
        (Some(by), Some(at)) => format!(" by {by} at {at}"),
        (Some(by), None) => format!(" by {by}"),
        _ => String::new(),
    };
    let answer = match record.answer {
        DriftAnswer::PutBack => "it is put back",
        DriftAnswer::Left => "it is left as it is, because spec.drift is Report",
        DriftAnswer::Overridden => {
            "it has no effect, because the spec of the TikvSecurity says otherwise"
        }
    };
    format!(
        "{} {}{place}: {}{by}; {answer}",
        record.kind, record.name, record.found
    )
}

/// Why a pod that was made while its template was changed by somebody else restarts.
pub fn restart_reason(observed: &Observed, set: &str, created: Timestamp) -> Option<String> {
    let records = &observed.resource.status.as_ref()?.drift;
    let during = |record: &&DriftRecord| {
        let begun = record.changed_at.unwrap_or(record.seen_at);
        let ended = record.ended_at.unwrap_or(record.seen_at);
        record.kind == "StatefulSet" && record.name == set && (begun..=ended).contains(&created)
    };
    let record = records.iter().rev().find(during)?;
    let by = record.by.as_deref().unwrap_or("somebody");
    Some(format!(
        "it was made of a pod template that {by} had changed at {}, which was put back",
        record.path
    ))
}
