//! `tikv-security inspect`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Output, StoreArgs, exit, human, print_document, with_store};
use crate::agent::coverage::{created_at, state_of};
use crate::agent::dictionaries::State;
use crate::agent::store::{Measured, Store};
use crate::api::method::Method;
use crate::api::report::{Finding, Severity};
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
        let document = Document::new(store, &measured);
        match args.store.output {
            Output::Table => document.print(args.files),
            output => print_document(output, &document)?,
        }
        Ok(document.exit())
    })
}

impl Document {
    /// Puts together what was measured.
    pub fn new(store: &Store<'_>, measured: &Measured) -> Self {
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
            .files
            .iter()
            .map(|file| {
                let entry = file.entry.as_ref();
                let method = entry.and_then(|entry| pb::method::from_wire(entry.method));
                let cipher = entry.filter(|_| method.is_some_and(Method::encrypts));
                File {
                    path: file.relative.clone(),
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
        Self {
            data_dir: store.seen_as().to_owned(),
            current_data_key: coverage.current_data_key.clone(),
            data_keys,
            files,
            totals: Totals {
                files: coverage.files,
                bytes: coverage.bytes,
                encrypted_bytes: coverage.encrypted_bytes,
                plaintext_bytes: coverage.plaintext_bytes,
            },
            findings: measured.findings.clone(),
        }
    }

    fn exit(&self) -> ExitCode {
        if self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
        {
            ExitCode::from(exit::FINDINGS)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn print(&self, list: bool) {
        let totals = &self.totals;
        println!("data directory  {} (as TiKV sees it)", self.data_dir);
        println!(
            "data            {} files, {}: {} encrypted, {} in the clear",
            totals.files,
            human(totals.bytes),
            human(totals.encrypted_bytes),
            human(totals.plaintext_bytes)
        );
        if self.data_keys.is_empty() {
            println!("data keys       none: encryption was never on");
        }
        for key in &self.data_keys {
            let mark = if Some(&key.id) == self.current_data_key.as_ref() {
                "current"
            } else {
                ""
            };
            let used = if key.in_use { "in use" } else { "unused" };
            let since = key
                .created_at
                .map_or_else(|| "?".to_owned(), |time| time.to_string());
            println!(
                "data key        {:<20}  {:<10}  {since}  {used:<6}  {mark}",
                key.id, key.method
            );
        }
        if list {
            println!(
                "\n{:<16}  {:<10}  {:>12}  {:<20}  PATH",
                "STATE", "METHOD", "BYTES", "DATA KEY"
            );
            for file in &self.files {
                println!(
                    "{:<16}  {:<10}  {:>12}  {:<20}  {}",
                    file.state,
                    file.method.map_or("-", Method::name),
                    file.size,
                    file.key_id.as_deref().unwrap_or("-"),
                    file.path
                );
            }
        }
        print_findings(&self.findings);
    }
}

/// Prints findings for people.
pub fn print_findings(findings: &[Finding]) {
    for finding in findings {
        println!(
            "{:?}: {}\n  next: {}",
            finding.severity, finding.message, finding.remedy
        );
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
