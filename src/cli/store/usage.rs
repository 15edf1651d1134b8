//! What protects which bytes: one row a data key, and one for plaintext.

use jiff::Timestamp;
use serde::Serialize;

use super::output::{age, human, span, table};
use crate::agent::coverage::{created_at, state_of};
use crate::agent::dictionaries::State;
use crate::agent::open_run::OpenRun;
use crate::agent::store::{Measured, Store};
use crate::api::method::Method;
use crate::api::report::{Finding, Severity};
use crate::format::pb;

/// What one data key, or none, protects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Method; plaintext for bytes without protection.
    pub method: Method,
    /// Data key.
    pub key_id: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// How long ago.
    pub age_seconds: Option<u64>,
    /// New files get it.
    pub current: bool,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// All data keys, unused ones too, and what is in the clear.
pub fn usage(measured: &Measured, now: Timestamp) -> Vec<Usage> {
    let mut rows: Vec<Usage> = match &measured.state {
        State::Never => Vec::new(),
        State::Has(dictionaries) => {
            let keys = &dictionaries.keys;
            let row = |(id, key): (&u64, &pb::DataKey)| {
                let created_at = created_at(key.creation_time);
                let id_text = id.to_string();
                let used = measured
                    .coverage
                    .by_key
                    .iter()
                    .find(|used| used.key_id == id_text);
                Usage {
                    method: pb::method::from_wire(key.method).unwrap_or(Method::Plaintext),
                    key_id: Some(id_text),
                    age_seconds: age(now, created_at),
                    created_at,
                    current: *id == keys.current_key_id,
                    files: used.map_or(0, |used| used.files),
                    bytes: used.map_or(0, |used| used.bytes),
                }
            };
            keys.keys.iter().map(row).collect()
        }
    };
    rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    let clear = measured.inventory.iter();
    let clear = clear.filter(|file| state_of(file) == "plaintext");
    let (files, bytes) = clear.fold((0, 0), |(files, bytes), file| {
        (files + 1, bytes + file.meta.size)
    });
    if files > 0 || rows.is_empty() {
        rows.push(Usage {
            method: Method::Plaintext,
            key_id: None,
            created_at: None,
            age_seconds: None,
            current: false,
            files,
            bytes,
        });
    }
    rows
}

/// The rows for people.
pub fn usage_table(rows: &[Usage]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let made = row.created_at.map(|time| time.to_string());
            let note = match (row.current, row.key_id.is_some() && row.files == 0) {
                (true, _) => "current",
                (false, true) => "unused",
                _ => "",
            };
            vec![
                row.method.to_string(),
                row.key_id.clone().unwrap_or_else(|| "-".to_owned()),
                made.unwrap_or_else(|| "-".to_owned()),
                row.age_seconds.map_or_else(|| "-".to_owned(), span),
                row.files.to_string(),
                human(row.bytes),
                note.to_owned(),
            ]
        })
        .collect();
    let head = ["METHOD", "DATA KEY", "MADE", "AGE", "FILES", "BYTES", ""];
    table(&head, &cells, &[3, 4, 5])
}

/// What is said of a run that did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// True while TiKV is held back.
    pub open: bool,
    /// What the run does, when its journal can be read.
    #[serde(flatten)]
    pub run: Option<OpenRun>,
    /// How to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Journal {
    /// Reads it, and adds what is wrong to `findings`.
    pub fn of(store: &Store<'_>, measured: &Measured, findings: &mut Vec<Finding>) -> Self {
        let (open, run) = match store.open_run(measured) {
            Ok(None) => (false, None),
            Ok(Some(run)) => (true, run.method.is_some().then_some(run)),
            Err(error) => {
                findings.insert(0, finding(error.code(), error.to_string(), error.remedy()));
                (true, None)
            }
        };
        let next = open.then(|| {
            format!(
                "start the pod, or 'tikv-security reencrypt {} --resume' with the store's master key: it finishes the run",
                store.path().display()
            )
        });
        if let (true, Some(next)) = (open, &next) {
            let message = match &run {
                Some(run) => format!(
                    "a re-encryption to {} stopped after {} of {} files, {} of {}; TiKV is held back",
                    run.method.unwrap_or(Method::Plaintext),
                    run.files_done,
                    run.files_total,
                    human(run.bytes_done),
                    human(run.bytes_total)
                ),
                None => "a re-encryption stopped at its beginning or its end; TiKV is held back"
                    .to_owned(),
            };
            findings.insert(0, finding("RunOpen", message, next.clone()));
        }
        Self { open, run, next }
    }
}

fn finding(code: &str, message: String, remedy: String) -> Finding {
    Finding {
        code: code.to_owned(),
        severity: Severity::Error,
        message,
        remedy,
        path: None,
    }
}
