//! What was done and found over time: verifications, rotations, foreign changes.

use super::Report;
use super::document::{Block, maybe};

/// The last full verification of each store, and its own proof of the master key.
pub fn verifications(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, "Verifications".to_owned()));
    let rows = report.stores.iter().map(|store| {
        let last = store.last_verification.as_ref();
        let number = |of: fn(&crate::api::report::VerificationReport) -> u64| {
            last.map_or_else(|| "-".to_owned(), |last| of(last).to_string())
        };
        let ended = last.and_then(|last| last.finished_at);
        let key = store.master_key.as_ref();
        vec![
            store.pod.clone(),
            ended.map_or_else(|| "never".to_owned(), |at| at.to_string()),
            number(|last| last.files),
            number(|last| last.bytes),
            number(|last| last.failed),
            store
                .verification_overdue_since
                .map_or_else(|| "no".to_owned(), |since| format!("since {since}")),
            maybe(key.and_then(|key| key.last_success)),
        ]
    });
    blocks.push(Block::Table(
        vec![
            "store",
            "all of it read and proven at",
            "files",
            "bytes",
            "failed",
            "overdue",
            "opened by the master key at",
        ],
        rows.collect(),
    ));
}

/// Rotations with time and actor.
pub fn rotations(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, "Rotations".to_owned()));
    if report.rotations.is_empty() {
        blocks.push(Block::Text("None is recorded.".to_owned()));
        return;
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows = report.rotations.iter().map(|one| {
        vec![
            format!("{:?}", one.kind),
            one.started_at.to_string(),
            one.finished_at
                .map_or_else(|| "not yet".to_owned(), |at| at.to_string()),
            text(&one.by),
            text(&one.request),
            text(&one.from),
            text(&one.to),
        ]
    });
    blocks.push(Block::Table(
        vec!["what", "begun", "ended", "by", "asked for as", "from", "to"],
        rows.collect(),
    ));
}

/// What others changed.
pub fn drift(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(
        2,
        "Changes by others of what the operator made".to_owned(),
    ));
    if report.drift.is_empty() {
        blocks.push(Block::Text("None is recorded.".to_owned()));
        return;
    }
    let rows = report.drift.iter().map(|one| {
        vec![
            format!("{} {}", one.kind, one.name),
            one.path.clone(),
            one.found.clone(),
            maybe(one.by.as_ref()),
            one.seen_at.to_string(),
            format!("{:?}", one.answer),
            one.ended_at
                .map_or_else(|| "not yet".to_owned(), |at| at.to_string()),
        ]
    });
    blocks.push(Block::Table(
        vec!["object", "where", "found", "by", "seen", "answer", "ended"],
        rows.collect(),
    ));
}
