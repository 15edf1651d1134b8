//! `tikv-security verify`.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{self, Output, human};
use super::usage::{Journal, Usage, usage};
use super::{StoreArgs, exit, with_store};
use crate::agent::coverage::{counts, state_of};
use crate::agent::inventory::StoreFile;
use crate::agent::store::Measured;
use crate::api::method::Method;
use crate::api::report::{Coverage, Finding, Severity};
use crate::api::v1alpha1::GoDuration;

/// Arguments of `verify`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Demand that all data has this method: exit code 8 when it has not
    #[arg(
        long,
        value_name = "aes128-ctr|aes192-ctr|aes256-ctr|sm4-ctr|plaintext"
    )]
    require: Option<Method>,
    /// Demand that no data is under a data key older than this, as in 720h: exit code 8 when some is
    #[arg(long, value_name = "DURATION")]
    max_key_age: Option<GoDuration>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    data_dir: String,
    proven: u64,
    /// Files of a kind without a fixed look: their entry is sound, their content can not be told from noise.
    without_look: u64,
    journal_open: bool,
    coverage: Coverage,
    findings: Vec<Finding>,
}

/// Runs `verify`.
pub fn main(args: &VerifyArgs) -> ExitCode {
    with_store(&args.store, |store| {
        let measured = store.measure()?;
        let mut findings = measured.findings.clone();
        let journal = Journal::of(store, &measured, &mut findings);
        findings.extend(args.demands(&usage(&measured, Timestamp::now())));
        findings.sort_by_key(|finding| finding.severity);
        let document = Document::new(store.seen_as(), &measured, journal.open, findings);
        match args.store.output {
            Output::Table => print!("{}", document.table()),
            form => output::document(form, &document)?,
        }
        Ok(exit::of_findings(&document.findings))
    })
}

impl VerifyArgs {
    /// What is sound but not as it shall be.
    fn demands(&self, usage: &[Usage]) -> Vec<Finding> {
        let used = usage.iter().filter(|row| row.files > 0);
        used.filter_map(|row| self.demand(row)).collect()
    }

    fn demand(&self, row: &Usage) -> Option<Finding> {
        let under = match &row.key_id {
            Some(id) => format!("under data key {id} ({})", row.method),
            None => "in the clear".to_owned(),
        };
        let most = self
            .max_key_age
            .map(|most| u64::try_from(most.get().as_secs()).unwrap_or(0));
        let wanted = match (self.require, most) {
            (Some(method), _) if row.method != method => format!("{method} is required"),
            (_, Some(most))
                if row.key_id.is_some() && row.age_seconds.is_none_or(|age| age > most) =>
            {
                format!("data keys must not be older than {}", output::span(most))
            }
            _ => return None,
        };
        let method = self.require.unwrap_or(row.method);
        Some(Finding {
            code: "NotAsRequired".to_owned(),
            severity: Severity::Error,
            message: format!(
                "{} files, {}, are {under}, and {wanted}",
                row.files,
                human(row.bytes)
            ),
            remedy: format!(
                "'tikv-security reencrypt --to {method}' on the stopped store, or ask the operator for it"
            ),
            path: None,
        })
    }
}

impl Document {
    fn new(
        data_dir: &str,
        measured: &Measured,
        journal_open: bool,
        findings: Vec<Finding>,
    ) -> Self {
        let data = || measured.inventory.iter().filter(|file| counts(file));
        let sound = |file: &&StoreFile| matches!(state_of(file), "encrypted" | "plaintext");
        Self {
            data_dir: data_dir.to_owned(),
            proven: data().filter(sound).filter(|file| file.is_proven()).count() as u64,
            without_look: data()
                .filter(sound)
                .filter(|file| !file.is_proven())
                .count() as u64,
            journal_open,
            coverage: measured.coverage.clone(),
            findings,
        }
    }

    fn table(&self) -> String {
        let coverage = &self.coverage;
        let mut text = format!(
            "{} of {} files proven; {} encrypted, {} in the clear\n",
            self.proven,
            coverage.files,
            human(coverage.encrypted_bytes),
            human(coverage.plaintext_bytes)
        );
        if self.without_look > 0 {
            text.push_str(&format!(
                "{} files have a sound entry and no fixed look that could prove it\n",
                self.without_look
            ));
        }
        text + &output::findings(&self.findings)
    }
}
