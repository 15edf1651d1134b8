//! `tikv-security diff`: two reports side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::store::exit;
use super::store::output::{Output, table};
use crate::evidence::{self, Difference, Report, SCHEMA};

/// Compare two reports of `tikv-security report --output json`: two environments, or two moments of one
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The first report
    one: PathBuf,
    /// The second report
    other: PathBuf,
    /// Form of the output
    #[arg(long, default_value = "table")]
    output: Output,
}

/// Why nothing is compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// Something else.
    #[error(
        "{0} is no report: {1}; make one with: tikv-security report NAME --output json --to FILE"
    )]
    Malformed(PathBuf, String),
    /// Not expressible.
    #[error("the differences can not be written: {0}")]
    Output(String),
}

/// Compares. The exit code is 1 when something differs.
pub fn main(args: &DiffArgs) -> ExitCode {
    match run(args) {
        Ok(found) if found.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(exit::FINDINGS),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn run(args: &DiffArgs) -> Result<Vec<Difference>, DiffError> {
    let (one, other) = (read(&args.one)?, read(&args.other)?);
    let found = evidence::diff(&one, &other);
    match args.output {
        Output::Table => print!("{}", text(&one, &other, &found)),
        Output::Json => {
            let text = serde_json::to_string_pretty(&found);
            println!(
                "{}",
                text.map_err(|error| DiffError::Output(error.to_string()))?
            );
        }
        Output::Yaml => {
            let text = serde_yaml_ng::to_string(&found);
            print!(
                "{}",
                text.map_err(|error| DiffError::Output(error.to_string()))?
            );
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Report, DiffError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| DiffError::Read(path.to_owned(), error))?;
    let malformed = |why: String| DiffError::Malformed(path.to_owned(), why);
    let report: Report =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if report.schema == SCHEMA {
        Ok(report)
    } else {
        Err(malformed(format!(
            "its form is {}, not {SCHEMA}",
            report.schema
        )))
    }
}

fn text(one: &Report, other: &Report, found: &[Difference]) -> String {
    let name = |report: &Report| format!("{}/{}", report.subject.namespace, report.subject.name);
    if found.is_empty() {
        return format!("{} and {} are protected alike\n", name(one), name(other));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|row| vec![row.what.clone(), row.one.clone(), row.other.clone()])
        .collect();
    table(&["", &name(one), &name(other)], &rows, &[])
}
