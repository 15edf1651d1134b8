//! Command line: clap types, one module a subcommand.

pub mod operator;

use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
