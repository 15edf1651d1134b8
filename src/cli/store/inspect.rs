//! `tikv-security inspect`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{self, Output, human, table};
use super::usage::{Journal, Usage, usage, usage_table};
use super::{StoreArgs, exit, with_store};
use crate::agent::coverage::{created_at, state_of};
use crate::agent::dictionaries::State;
use crate::agent::store::{Measured, Store};
use crate::api::method::Method;
use crate::api::report::Finding;
use crate::format::pb;

/// Arguments of `inspect`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct InspectArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// List every file, not only sums (the table only; JSON and YAML always do)
    #[arg(long)]
    files: bool,
}

/// The document that `inspect` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    data_dir: String,
    current_data_key: Option<String>,
    data_keys: Vec<DataKey>,
    usage: Vec<Usage>,
    journal: Journal,
    files: Vec<File>,
    totals: Totals,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataKey {
    id: String,
    method: Method,
    created_at: Option<Timestamp>,
    in_use: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    path: String,
    size: u64,
    class: &'static str,
    method: Option<Method>,
    key_id: Option<String>,
    iv: Option<String>,
    state: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    files: u64,
    bytes: u64,
    encrypted_bytes: u64,
    plaintext_bytes: u64,
}

/// Runs `inspect`.
pub fn main(args: &InspectArgs) -> ExitCode {
    with_store(&args.store, |store| {
        let measured = store.measure()?;
        let document = Document::new(store, &measured, Timestamp::now());
        match args.store.output {
            Output::Table => print!("{}", document.table(args.files)),
            form => output::document(form, &document)?,
        }
        Ok(exit::of_findings(&document.findings))
    })
}

impl Document {
    /// Puts together what was measured.
    pub fn new(store: &Store<'_>, measured: &Measured, now: Timestamp) -> Self {
        let used: BTreeSet<&str> = measured
            .coverage
            .by_key
            .iter()
            .map(|key| key.key_id.as_str())
            .collect();
        let data_keys = match &measured.state {
            State::Never => Vec::new(),
            State::Has(dictionaries) => dictionaries
                .keys
                .keys
                .iter()
                .map(|(id, key)| DataKey {
                    id: id.to_string(),
                    method: pb::method::from_wire(key.method).unwrap_or(Method::Plaintext),
                    created_at: created_at(key.creation_time),
                    in_use: used.contains(id.to_string().as_str()),
                })
                .collect(),
        };
        let files = measured
            .inventory
            .iter()
            .map(|file| {
                let entry = file.entry.as_ref();
                let method = entry.and_then(|entry| pb::method::from_wire(entry.method));
                let cipher = entry.filter(|_| method.is_some_and(Method::encrypts));
                File {
                    path: file.relative(),
                    size: file.meta.size,
                    class: file.class.name(),
                    method,
                    key_id: cipher.map(|entry| entry.key_id.to_string()),
                    iv: cipher.map(|entry| hex(&entry.iv)),
                    state: state_of(file),
                }
            })
            .collect();
        let coverage = &measured.coverage;
        let mut findings = measured.findings.clone();
        let journal = Journal::of(store, measured, &mut findings);
        Self {
            data_dir: store.seen_as().to_owned(),
            current_data_key: coverage.current_data_key.clone(),
            data_keys,
            usage: usage(measured, now),
            journal,
            files,
            totals: Totals {
                files: coverage.files,
                bytes: coverage.bytes,
                encrypted_bytes: coverage.encrypted_bytes,
                plaintext_bytes: coverage.plaintext_bytes,
            },
            findings,
        }
    }

    fn table(&self, list: bool) -> String {
        let totals = &self.totals;
        let mut text = format!(
            "store  {} (as TiKV sees it)\ndata   {} files, {}: {} encrypted, {} in the clear\n",
            self.data_dir,
            totals.files,
            human(totals.bytes),
            human(totals.encrypted_bytes),
            human(totals.plaintext_bytes)
        );
        if self.data_keys.is_empty() {
            text.push_str("keys   none: encryption was never on\n");
        }
        text.push('\n');
        text.push_str(&usage_table(&self.usage));
        if list {
            let rows: Vec<_> = self.files.iter().map(File::row).collect();
            let head = ["STATE", "METHOD", "BYTES", "DATA KEY", "PATH"];
            text.push('\n');
            text.push_str(&table(&head, &rows, &[2]));
        }
        if !self.findings.is_empty() {
            text.push('\n');
            text.push_str(&output::findings(&self.findings));
        }
        text
    }
}

impl File {
    fn row(&self) -> Vec<String> {
        vec![
            self.state.to_owned(),
            self.method.map_or("-", Method::name).to_owned(),
            self.size.to_string(),
            self.key_id.clone().unwrap_or_else(|| "-".to_owned()),
            self.path.clone(),
        ]
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
