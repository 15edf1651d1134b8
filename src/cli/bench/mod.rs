//! `tikv-security bench`: this program against what a user could take instead, on this machine and in one run.

mod contest;
mod kernel;
mod rivals;
mod rocksdb;
pub mod rust_crypto;
mod scratch;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// Measure on this machine: this program beside what could be taken instead
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Change the key of bytes in cache and in memory, beside OpenSSL, RustCrypto and memcpy
    Kernel(KernelArgs),
    /// Re-encrypt a store of 64 MiB tables, beside cp -r, openssl twice and a full compaction of RocksDB
    Store(StoreArgs),
    /// Re-encrypt a store of 50,000 small files, beside cp -r
    SmallFiles(SmallFilesArgs),
}

/// Arguments of `bench kernel`.
#[derive(Args, Debug)]
struct KernelArgs {
    /// Rounds; everybody has one turn a round, of a tenth of a second, in changing order, and the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Arguments of `bench store`.
#[derive(Args, Debug)]
struct StoreArgs {
    #[command(flatten)]
    common: Common,
    /// MiB of the store
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(64..))]
    size: u64,
}

/// Arguments of `bench small-files`.
#[derive(Args, Debug)]
struct SmallFilesArgs {
    #[command(flatten)]
    common: Common,
    /// Number of files, of 4 KiB each
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    files: u64,
}

#[derive(Args, Debug)]
struct Common {
    /// Directory on the disk to measure; everything is made below it and removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Rounds; every contestant has one turn a round, in changing order, and its median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
}

/// Runs `bench`.
pub fn main(args: &BenchArgs) -> ExitCode {
    let (output, result) = match &args.what {
        What::Kernel(args) => (args.output, kernel::kernel(args)),
        What::Store(args) => (args.common.output, store::tables(args)),
        What::SmallFiles(args) => (args.common.output, store::small_files(args)),
    };
    match result.and_then(|report| report.print(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
