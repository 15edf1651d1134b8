//! `tikv-security certificate inspect`: what PEM files say, and whether they hold together.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::document::{Certificate, print};
use super::{CertificateError, Outcome, read};
use crate::api::report::{Finding, Severity};
use crate::cli::store::output::{Output, findings};
use crate::tls::bundle::TlsSet;
use crate::tls::parse::parse_all;
use crate::tls::private::PrivatePem;

/// Show the certificates of a PEM file, and whether they fit a key and a CA
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// PEM file, leaf first; `-` for standard input
    file: PathBuf,
    /// Private key that must belong to the first certificate; with --ca
    #[arg(long, value_name = "FILE", requires = "ca")]
    key: Option<PathBuf>,
    /// CA certificates that must have signed it; with --key
    #[arg(long, value_name = "FILE", requires = "key")]
    ca: Option<PathBuf>,
    /// Form of the output
    #[arg(long, default_value = "table")]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    certificates: &'a [Certificate],
    findings: &'a [Finding],
}

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let now = Timestamp::now();
    let pem = content(&args.file)?;
    let certificates = parse_all(&pem)
        .map_err(|error| CertificateError::Parse(args.file.clone(), error))?
        .iter()
        .map(Certificate::of)
        .collect::<Vec<_>>();
    let mut found = Vec::new();
    if let (Some(key), Some(ca)) = (&args.key, &args.ca) {
        let set = TlsSet {
            ca: read(ca)?,
            certificate: pem,
            key: PrivatePem::new(read(key)?),
        };
        if let Err(problem) = set.check(now) {
            found.push(Finding {
                code: "SetUnusable".to_owned(),
                severity: Severity::Error,
                message: problem.to_string(),
                remedy: "Put together certificate, key and CA of one issue; TiKV and PD would refuse this set.".to_owned(),
                path: Some(args.file.display().to_string()),
            });
        }
    }
    match args.output {
        Output::Table => {
            for certificate in &certificates {
                print!("{}", certificate.text(now));
            }
            print!("{}", findings(&found));
        }
        output => print(
            output,
            &Document {
                certificates: &certificates,
                findings: &found,
            },
        )?,
    }
    Ok(found)
}

fn content(file: &Path) -> Result<Vec<u8>, CertificateError> {
    if file != Path::new("-") {
        return read(file);
    }
    let mut pem = Vec::new();
    let read = std::io::stdin().read_to_end(&mut pem);
    read.map_err(|error| CertificateError::Read(file.to_owned(), error))?;
    Ok(pem)
}
