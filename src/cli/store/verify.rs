//! `tikv-security verify`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::inspect::print_findings;
use super::{Output, StoreArgs, exit, human, print_document, with_store};
use crate::agent::coverage::state_of;
use crate::api::report::{Coverage, Finding, Severity};

/// Arguments of `verify`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    data_dir: String,
    proven: u64,
    journal_open: bool,
    coverage: Coverage,
    findings: Vec<Finding>,
}

/// Runs `verify`.
pub fn main(args: &VerifyArgs) -> ExitCode {
    with_store(&args.store, |store| {
        let measured = store.measure()?;
        let journal_open = store.journal_open()?;
        let mut findings = measured.findings;
        if journal_open {
            findings.insert(
                0,
                Finding {
                    code: "RunOpen".to_owned(),
                    severity: Severity::Error,
                    message: "a re-encryption was interrupted; TiKV is held back".to_owned(),
                    remedy: "run 'tikv-security reencrypt' on the stopped store, or start the pod: it goes on".to_owned(),
                    path: None,
                },
            );
        }
        let proven = |state| state == "encrypted" || state == "plaintext";
        let document = Document {
            data_dir: store.seen_as().to_owned(),
            proven: measured
                .inventory
                .files
                .iter()
                .filter(|file| proven(state_of(file)))
                .count() as u64,
            journal_open,
            coverage: measured.coverage,
            findings,
        };
        if args.store.output == Output::Table {
            println!(
                "{} of {} files proven; {} encrypted, {} in the clear",
                document.proven,
                document.coverage.files,
                human(document.coverage.encrypted_bytes),
                human(document.coverage.plaintext_bytes)
            );
            print_findings(&document.findings);
        } else {
            print_document(args.store.output, &document)?;
        }
        let bad = document
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        Ok(if bad {
            ExitCode::from(exit::FINDINGS)
        } else {
            ExitCode::SUCCESS
        })
    })
}
