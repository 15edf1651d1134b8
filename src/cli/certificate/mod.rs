//! `tikv-security certificate`: issue, read and look at certificates without a cluster.

mod document;
mod inspect;
mod issue;
mod probe;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::store::exit;
use crate::api::report::{Finding, Severity};
use crate::tls::authority::IssueError;
use crate::tls::client::ClientError;
use crate::tls::parse::ParseError;
use crate::tls::probe::ProbeError;

/// Issue certificates, read them, or see what a port really serves
#[derive(Args, Debug)]
pub struct CertificateArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Probe(probe::ProbeArgs),
    Inspect(inspect::InspectArgs),
    Issue(issue::IssueArgs),
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// A file that can not be written.
    #[error("{0} can not be written: {1}")]
    Write(PathBuf, std::io::Error),
    /// A file without a certificate.
    #[error("{0}: {1}")]
    Parse(PathBuf, ParseError),
    /// A set that can not be shown.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A port that can not be looked at.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Nothing was issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// An address that can not be understood.
    #[error("{0}: {1}; write HOST:PORT, as in basic-tikv-0.basic-tikv-peer.tikv.svc:20160")]
    Address(String, String),
    /// Something that would be overwritten.
    #[error("{0} exists; nothing is overwritten. Name another directory, or move it away")]
    Exists(PathBuf),
    /// Something that does not go together.
    #[error("{0}")]
    Usage(String),
    /// Not expressible.
    #[error("{0}")]
    Output(String),
}

/// Runs a subcommand. The exit code is 1 for a finding of severity Error, 2 when nothing could be told.
pub fn main(args: &CertificateArgs) -> ExitCode {
    let outcome = match &args.command {
        Command::Probe(args) => probe::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Issue(args) => issue::run(args).map(|()| Vec::new()),
    };
    match outcome {
        Ok(found) if found.iter().any(|one| one.severity == Severity::Error) => {
            ExitCode::from(exit::FINDINGS)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

type Outcome = Result<Vec<Finding>, CertificateError>;

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::Read(path.to_owned(), error))
}
