//! The `tikv-security` binary: see the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    tikv_security::cli::main()
}
