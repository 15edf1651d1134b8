//! Two reports side by side: how two environments, or two moments of one, differ in what protects the data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Control, Report, Store, Verdict, stores};

/// Something that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What is compared.
    pub what: String,
    /// In the first report.
    pub one: String,
    /// In the second.
    pub other: String,
}

/// What differs in protection. Numbers that differ between any two clusters (serial numbers, bytes, dates) do not count.
pub fn diff(one: &Report, other: &Report) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what: &str, left: String, right: String| {
        if left != right {
            found.push(Difference {
                what: what.to_owned(),
                one: left,
                other: right,
            });
        }
    };
    let environment = |report: &Report| format!("{:?}", report.subject.environment).to_lowercase();
    compare("environment", environment(one), environment(other));
    compare(
        "data at rest",
        verdict(one.at_rest.verdict),
        verdict(other.at_rest.verdict),
    );
    compare(
        "connections",
        verdict(one.in_transit.verdict),
        verdict(other.in_transit.verdict),
    );
    compare("method asked for", method(one), method(other));
    compare("methods found", methods(one), methods(other));
    compare("data key rotation period", period(one), period(other));
    compare("kind of the master key", provider(one), provider(other));
    compare("master key", key(one), key(other));
    compare("master key proven usable", proof(one), proof(other));
    compare("oldest data key, in days", oldest(one), oldest(other));
    compare("versions of the agents", agents(one), agents(other));
    compare("findings", findings(one), findings(other));
    compare("questions shown", questions(one), questions(other));
    found
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Proven => "proven",
        Verdict::NotProven => "not proven",
        Verdict::NotAsked => "not asked for",
    }
    .to_owned()
}

fn or_none(words: Option<String>) -> String {
    words.unwrap_or_else(|| "none".to_owned())
}

fn method(report: &Report) -> String {
    or_none(report.subject.method.map(|method| method.to_string()))
}

fn period(report: &Report) -> String {
    or_none(report.subject.data_key_rotation_period.clone())
}

fn provider(report: &Report) -> String {
    or_none(report.master_key.as_ref().map(|key| key.provider.clone()))
}

fn key(report: &Report) -> String {
    or_none(report.master_key.as_ref().map(|key| key.id.clone()))
}

fn proof(report: &Report) -> String {
    or_none(
        report
            .master_key
            .as_ref()
            .map(|key| key.proof.status.clone()),
    )
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: BTreeSet<String> = words.collect();
    if words.is_empty() {
        return "none".to_owned();
    }
    words.into_iter().collect::<Vec<_>>().join(", ")
}

fn methods(report: &Report) -> String {
    let encrypted = stores::keys_in_use(&report.stores).map(|(_, key)| key.method.to_string());
    let plain = report.stores.iter().any(|store| store.plaintext_bytes > 0);
    list(encrypted.chain(plain.then(|| "plaintext".to_owned())))
}

fn oldest(report: &Report) -> String {
    let hours = stores::oldest_key_hours(&report.stores);
    or_none(hours.map(|hours| (hours / 24).to_string()))
}

fn agents(report: &Report) -> String {
    list(
        report
            .stores
            .iter()
            .filter_map(|store: &Store| store.agent.clone()),
    )
}

fn findings(report: &Report) -> String {
    list(report.findings.iter().map(|finding| finding.code.clone()))
}

fn questions(report: &Report) -> String {
    let shown = |control: &&Control| control.answer == super::Answer::Shown;
    list(
        report
            .controls
            .iter()
            .filter(shown)
            .map(|one| one.source.clone()),
    )
}
