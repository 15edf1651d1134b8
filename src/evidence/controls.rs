//! Questions that standards ask, and what a report answers.
//!
//! Sources: PCI DSS v4.0.1 requirements 3.5 to 3.7, 45 CFR 164.312(a)(2)(iv) (HIPAA), Regulation (EU) 2016/679 article 32
//! (GDPR). The wording is ours. What a tool cannot know is answered with who must.

use serde::{Deserialize, Serialize};

use super::verdict::{Fact, Verdict};
use super::{Report, Store, stores};

/// What a report can say to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The evidence in this report shows it.
    Shown,
    /// The evidence in this report does not show it.
    NotShown,
    /// To be shown by others: people, processes, the KMS.
    Elsewhere,
}

/// A question of a standard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Where it is asked.
    pub source: String,
    /// The question.
    pub question: String,
    /// What this report answers.
    pub answer: Answer,
    /// By what evidence, or by whom.
    pub evidence: String,
}

/// All questions.
pub fn controls(report: &Report) -> Vec<Control> {
    let rest = |source, question| by_fact(source, question, &report.at_rest);
    vec![
        rest(
            "PCI DSS 3.5.1",
            "Is stored account data unreadable wherever it is stored?",
        ),
        elsewhere(
            "PCI DSS 3.5.1.2",
            "Is encryption of disks or partitions not the only protection outside of removable media?",
            "files are encrypted one by one by TiKV itself; whether that suffices for this data is the assessor's decision",
        ),
        wrapped(report),
        separate(report),
        elsewhere(
            "PCI DSS 3.6.1.3",
            "Have the fewest possible people access to keys in the clear?",
            "data keys are in the clear in the memory of TiKV and of the agent only; access to the master key is granted in the KMS, access to pods and Secrets in Kubernetes RBAC",
        ),
        strong(report),
        young(report),
        elsewhere(
            "PCI DSS 3.7.5",
            "Are keys retired, replaced or destroyed when they are weakened or suspected?",
            "spec.rotate.dataKey re-encrypts all data under new data keys and drops the old ones; that it was done when needed is to be shown by the record of incidents",
        ),
        rest(
            "45 CFR 164.312(a)(2)(iv)",
            "Is there a mechanism to encrypt and decrypt electronic protected health information?",
        ),
        rest("GDPR Art. 32(1)(a)", "Is personal data at rest encrypted?"),
        by_fact(
            "GDPR Art. 32(1)(a)",
            "Is personal data in transit between the cluster's processes encrypted?",
            &report.in_transit,
        ),
        elsewhere(
            "GDPR Art. 32(1)(d)",
            "Are the measures tested and evaluated regularly?",
            "each report is such an evaluation; that they are made regularly is shown by keeping them",
        ),
    ]
}

fn control(source: &str, question: &str, answer: Answer, evidence: impl Into<String>) -> Control {
    Control {
        source: source.to_owned(),
        question: question.to_owned(),
        answer,
        evidence: evidence.into(),
    }
}

fn by_fact(source: &str, question: &str, fact: &Fact) -> Control {
    let answer = if fact.verdict == Verdict::Proven {
        Answer::Shown
    } else {
        Answer::NotShown
    };
    control(source, question, answer, fact.because.clone())
}

fn elsewhere(source: &str, question: &str, by: &str) -> Control {
    control(source, question, Answer::Elsewhere, by)
}

fn shown(yes: bool) -> Answer {
    if yes { Answer::Shown } else { Answer::NotShown }
}

/// Data keys are wrapped by a key that is at least as strong.
fn wrapped(report: &Report) -> Control {
    let (source, question) = (
        "PCI DSS 3.6.1.2",
        "Are data keys stored only encrypted under a key-encrypting key of at least their strength?",
    );
    let Some(key) = &report.master_key else {
        return control(
            source,
            question,
            Answer::NotShown,
            "no encryption is asked for",
        );
    };
    if !proven(report) {
        return control(
            source,
            question,
            Answer::NotShown,
            report.at_rest.because.clone(),
        );
    }
    let text = format!(
        "key.dict of each store is sealed with AES-256-GCM under a key that {} ({}) wraps; each agent opened it so",
        key.provider, key.id
    );
    control(source, question, Answer::Shown, text)
}

/// The master key is not where the data is.
fn separate(report: &Report) -> Control {
    let (source, question) = (
        "PCI DSS 3.6.1.2",
        "Are key-encrypting keys stored apart from data-encrypting keys?",
    );
    match &report.master_key {
        Some(key) if key.provider == "file" => control(
            source,
            question,
            Answer::NotShown,
            format!("the master key is {} of the same cluster", key.id),
        ),
        Some(key) => control(
            source,
            question,
            shown(key.proof.status == "True"),
            format!(
                "{}: {}; it never leaves the service",
                key.provider, key.proof.message
            ),
        ),
        None => control(
            source,
            question,
            Answer::NotShown,
            "no encryption is asked for",
        ),
    }
}

fn strong(report: &Report) -> Control {
    let methods: Vec<String> = report
        .subject
        .method
        .iter()
        .map(ToString::to_string)
        .collect();
    control(
        "PCI DSS 3.7.1",
        "Are strong keys generated?",
        shown(proven(report)),
        format!(
            "TiKV and the agent draw data keys from cryptographic random generators, for {}; data keys found: {}",
            methods.join(", "),
            keys(&report.stores)
        ),
    )
}

/// No file is under a key that is older than the period, as far as new files go.
fn young(report: &Report) -> Control {
    let oldest = stores::oldest_key_hours(&report.stores);
    let late = report
        .findings
        .iter()
        .any(|finding| finding.code == "DataUnderOldKeys");
    let period = report.subject.data_key_rotation_period.clone();
    control(
        "PCI DSS 3.7.4",
        "Are keys changed at the end of their defined cryptoperiod?",
        shown(proven(report) && oldest.is_some() && !late),
        format!(
            "keys for new files change every {}; the oldest data key that protects a file is {} hours old",
            period.unwrap_or_else(|| "(not defined)".to_owned()),
            oldest.map_or_else(
                || "an unknown number of".to_owned(),
                |hours| hours.to_string()
            ),
        ),
    )
}

fn proven(report: &Report) -> bool {
    report.at_rest.verdict == Verdict::Proven
}

fn keys(stores: &[Store]) -> usize {
    stores.iter().map(|store| store.keys.len()).sum()
}
