//! A report as headings, sentences and tables, for people.

use super::history;
use super::stores::{DataKey, Store};
use super::verdict::{Fact, Verdict};
use super::{Answer, Report, SCHEMA};

/// A part of a document. Texts are plain: each form escapes what means something to it.
pub enum Block {
    /// A heading of a level, 1 or 2.
    Heading(u8, String),
    /// A paragraph.
    Text(String),
    /// Columns and rows.
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

/// The document of a report.
pub fn document(report: &Report) -> Vec<Block> {
    let subject = &report.subject;
    let mut blocks = vec![
        Block::Heading(
            1,
            format!(
                "Security of the TiKV cluster {}/{}",
                subject.namespace, subject.name
            ),
        ),
        Block::Text(format!(
            "Made at {} from what the operator and the agents measured; form {SCHEMA}. It holds identifiers and ages of keys, never a key.",
            report.at
        )),
        Block::Table(
            vec!["", "", "because"],
            vec![
                row([
                    "Data at rest",
                    word(&report.at_rest),
                    &report.at_rest.because,
                ]),
                row([
                    "Connections",
                    word(&report.in_transit),
                    &report.in_transit.because,
                ]),
            ],
        ),
    ];
    subject_of(report, &mut blocks);
    stores(report, &mut blocks);
    certificates(report, &mut blocks);
    rest(report, &mut blocks);
    blocks
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn word(fact: &Fact) -> &'static str {
    match fact.verdict {
        Verdict::Proven => "proven",
        Verdict::NotProven => "NOT PROVEN",
        Verdict::NotAsked => "not asked for",
    }
}

pub(super) fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn subject_of(report: &Report, blocks: &mut Vec<Block>) {
    let subject = &report.subject;
    let mut rows = vec![
        row([
            "Environment",
            &format!("{:?}", subject.environment).to_lowercase(),
        ]),
        row(["Identity", &subject.uid]),
        row([
            "Generation of the spec, and of the one measured",
            &format!(
                "{}, {}",
                subject.generation,
                maybe(subject.observed_generation)
            ),
        ]),
        row([
            "Method",
            &subject
                .method
                .map_or_else(|| "none".to_owned(), |method| method.to_string()),
        ]),
    ];
    if let Some(key) = &report.master_key {
        rows.push(row([
            "Master key",
            &format!("{}: {}", key.provider, key.id),
        ]));
        let since = maybe(key.proof.since);
        rows.push(row([
            "Master key proven usable",
            &format!("{} since {since}: {}", key.proof.status, key.proof.message),
        ]));
        let took = key.latency_milliseconds;
        let took = took.map_or_else(String::new, |took| format!(", in {took} ms"));
        rows.push(row([
            "Master key last asked with success",
            &format!("{}{took}", maybe(key.last_success)),
        ]));
    }
    blocks.push(Block::Heading(2, "What is asked for".to_owned()));
    blocks.push(Block::Table(vec!["", ""], rows));
}

fn stores(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, "Stores".to_owned()));
    let rows = report.stores.iter().map(|store: &Store| {
        vec![
            store.pod.clone(),
            if store.proven { "yes" } else { "NO" }.to_owned(),
            store.files.to_string(),
            store.bytes.to_string(),
            store.encrypted_bytes.to_string(),
            store.plaintext_bytes.to_string(),
            maybe(store.measured_at),
            sealed_under(store),
        ]
    });
    blocks.push(Block::Table(
        vec![
            "store",
            "as asked for",
            "files",
            "bytes",
            "encrypted",
            "in the clear",
            "measured at",
            "key.dict is under",
        ],
        rows.collect(),
    ));
    history::verifications(report, blocks);
    blocks.push(Block::Heading(2, "Data keys".to_owned()));
    let keys = report
        .stores
        .iter()
        .flat_map(|store| store.keys.iter().map(move |key| (store, key)));
    let rows = keys.map(|(store, key): (&Store, &DataKey)| {
        vec![
            store.pod.clone(),
            format!(
                "{}{}",
                key.id,
                if key.current { " (for new files)" } else { "" }
            ),
            key.method.to_string(),
            maybe(key.created_at),
            maybe(key.age_hours),
            key.files.to_string(),
            key.bytes.to_string(),
        ]
    });
    blocks.push(Block::Table(
        vec![
            "store",
            "data key",
            "method",
            "made at",
            "age in hours",
            "files",
            "bytes",
        ],
        rows.collect(),
    ));
}

/// The master key of a store's data keys, in words.
fn sealed_under(store: &Store) -> String {
    let found = store.key_dict.as_ref();
    let name = maybe(found.and_then(|found| found.under.as_ref()));
    let previous = found.is_some_and(|found| found.previous);
    format!(
        "{name}{}",
        if previous { " (the previous key)" } else { "" }
    )
}

fn certificates(report: &Report, blocks: &mut Vec<Block>) {
    if report.certificates.is_empty() {
        return;
    }
    blocks.push(Block::Heading(2, "Certificates".to_owned()));
    let rows = report.certificates.iter().map(|one| {
        vec![
            one.name.clone(),
            one.serial.clone(),
            one.not_after.to_string(),
            one.renew_at
                .map_or_else(|| "-".to_owned(), |at| at.to_string()),
            one.served.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    blocks.push(Block::Table(
        vec![
            "Secret",
            "serial number",
            "valid until",
            "renewed at",
            "ports that serve it",
        ],
        rows.collect(),
    ));
}

fn rest(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, "Findings".to_owned()));
    if report.findings.is_empty() {
        blocks.push(Block::Text("None.".to_owned()));
    } else {
        let rows = report.findings.iter().map(|one| {
            let place = one.path.as_deref().unwrap_or_default();
            vec![
                format!("{:?}", one.severity),
                one.code.clone(),
                format!("{} {place}", one.message).trim_end().to_owned(),
                one.remedy.clone(),
            ]
        });
        blocks.push(Block::Table(
            vec!["severity", "code", "what", "next"],
            rows.collect(),
        ));
    }
    history::rotations(report, blocks);
    history::drift(report, blocks);
    blocks.push(Block::Heading(2, "Conditions".to_owned()));
    let rows = report.conditions.iter().map(|one| {
        vec![
            one.about.clone(),
            one.status.clone(),
            maybe(one.since),
            one.message.clone(),
        ]
    });
    blocks.push(Block::Table(
        vec!["condition", "status", "since", "message"],
        rows.collect(),
    ));
    blocks.push(Block::Heading(2, "Who changed the object last".to_owned()));
    let rows = report
        .changes
        .iter()
        .map(|one| vec![maybe(one.at), one.manager.clone(), one.operation.clone()]);
    blocks.push(Block::Table(
        vec!["at", "field manager", "operation"],
        rows.collect(),
    ));
    blocks.push(Block::Heading(2, "Questions of standards".to_owned()));
    let rows = report.controls.iter().map(|one| {
        let answer = match one.answer {
            Answer::Shown => "shown",
            Answer::NotShown => "NOT SHOWN",
            Answer::Elsewhere => "elsewhere",
        };
        vec![
            one.source.clone(),
            one.question.clone(),
            answer.to_owned(),
            one.evidence.clone(),
        ]
    });
    blocks.push(Block::Table(
        vec!["source", "question", "answer", "evidence"],
        rows.collect(),
    ));
}
