//! `tikv-security report`: evidence for an auditor.

mod source;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::store::exit;
use crate::crypto::digest::Sha256;
use crate::crypto::sign::{self, SignError};
use crate::evidence::{self, Report, Verdict};

/// Write down what is encrypted, with which keys and certificates, and what was measured of it; read-only
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The `TikvSecurity`
    name: String,
    /// Its namespace; that of the kubeconfig's context when absent
    #[arg(long, short)]
    namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, conflicts_with = "from")]
    context: Option<String>,
    /// Reads objects from files of `kubectl get tikvsecurities,tikvvolumes --output yaml --show-managed-fields` instead of a cluster
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Form
    #[arg(long, default_value = "markdown")]
    output: Form,
    /// Writes FILE, and FILE.sha256 for `sha256sum --check`, instead of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Writes FILE.sig too: signature with this ECDSA P-256 key (PKCS#8, PEM), for `openssl dgst -sha256 -verify`
    #[arg(long, value_name = "KEY", requires = "to")]
    signing_key: Option<PathBuf>,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people
    Markdown,
    /// For machines; `tikv-security diff` compares two of them
    Json,
    /// One page without scripts, to be printed
    Html,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No objects.
    #[error(transparent)]
    Source(#[from] source::SourceError),
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// A file that can not be written.
    #[error("{0} can not be written: {1}")]
    Write(PathBuf, std::io::Error),
    /// No signature.
    #[error("{0}: {1}")]
    Sign(PathBuf, SignError),
    /// Not expressible.
    #[error("the report can not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes a report. The exit code is 8 when something that is asked for is not proven.
pub fn main(args: &ReportArgs) -> ExitCode {
    match run(args) {
        Ok(report) => ExitCode::from(code(&report)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn run(args: &ReportArgs) -> Result<Report, ReportError> {
    let source = if args.from.is_empty() {
        source::cluster(
            &args.name,
            args.namespace.as_deref(),
            args.context.as_deref(),
        )?
    } else {
        source::files(&args.name, args.namespace.as_deref(), &args.from)?
    };
    let report = evidence::report(&source.security, &source.volumes, Timestamp::now());
    let text = match args.output {
        Form::Markdown => evidence::markdown(&report),
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
        Form::Html => evidence::html(&report),
    };
    let Some(file) = &args.to else {
        print!("{text}");
        return Ok(report);
    };
    // The signature first: a key that does not fit leaves no file behind.
    let signature = match &args.signing_key {
        None => None,
        Some(path) => {
            let key =
                std::fs::read(path).map_err(|error| ReportError::Read(path.clone(), error))?;
            let signature = sign::p256(&key, text.as_bytes())
                .map_err(|error| ReportError::Sign(path.clone(), error))?;
            Some(signature)
        }
    };
    write(file, text.as_bytes())?;
    write(&beside(file, "sha256"), digest_line(file, &text).as_bytes())?;
    if let Some(signature) = signature {
        write(&beside(file, "sig"), &signature)?;
    }
    Ok(report)
}

fn code(report: &Report) -> u8 {
    let open = [&report.at_rest, &report.in_transit]
        .iter()
        .any(|fact| fact.verdict == Verdict::NotProven);
    if open { exit::NOT_AS_REQUIRED } else { 0 }
}

/// A line as `sha256sum` writes it.
fn digest_line(file: &Path, text: &str) -> String {
    let mut digest = Sha256::default();
    digest.update(text.as_bytes());
    let mut line = String::new();
    for byte in digest.finish() {
        // Writing to a string does not fail.
        let _ = write!(line, "{byte:02x}");
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let _ = writeln!(line, "  {name}");
    line
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Writes a file whole or not at all.
fn write(file: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let failed = |error| ReportError::Write(file.to_owned(), error);
    let partial = beside(file, "partial");
    let mut open = std::fs::File::create(&partial).map_err(failed)?;
    open.write_all(bytes).map_err(failed)?;
    open.sync_all().map_err(failed)?;
    std::fs::rename(&partial, file).map_err(failed)
}
