//! `cargo bench`: the kernels beside OpenSSL, RustCrypto and `memcpy`, as `tikv-security bench kernel` measures them.

use std::process::ExitCode;

fn main() -> ExitCode {
    tikv_security::cli::bench::cargo_bench()
}
