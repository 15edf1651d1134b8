//! Subcommands that work on a data directory by hand.

mod estimate;
pub mod exit;
pub mod inspect;
mod limits;
pub mod output;
pub mod progress;
pub mod reencrypt;
pub mod rewrap;
mod signals;
mod usage;
pub mod verify;
pub mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::agent::error::StoreError;
use crate::agent::limits::Limits;
use crate::agent::master_key::{self, StoreKeys};
use crate::agent::service::process;
use crate::agent::store::Store;
use crate::fs::os::OsFs;
use crate::kms::MasterKey;
use crate::tikv::store_config::StoreConfig;
use output::Output;

/// Where the store is and what opens it.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// Data directory of the store (storage.data-dir)
    dir: PathBuf,
    /// TiKV's configuration: directories and master keys of the store, the previous one too
    #[arg(long, value_name = "tikv.toml")]
    config: Option<PathBuf>,
    /// Master key file as TiKV wants it: 64 hexadecimal digits and a newline
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// Path at which TiKV sees the directory; detected when file.dict or last_tikv.toml tell it
    #[arg(long, value_name = "DIR")]
    seen_as: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl StoreArgs {
    fn config(&self) -> Result<Option<String>, StoreError> {
        self.config.as_deref().map(read).transpose()
    }

    /// The master keys that the command line names: a file beats the configuration, whose keys then are the previous ones.
    fn keys(&self, config: Option<&str>) -> Result<StoreKeys, StoreError> {
        let Some(path) = &self.master_key_file else {
            return Ok(match config {
                Some(config) => master_key::configured(config),
                None => StoreKeys::new(Box::new(|| Ok(None)), Box::new(|| Ok(None))),
            });
        };
        // Read now: a wrong file is told even when the store turns out to need no key.
        MasterKey::from_file(path)?;
        Ok(StoreKeys::new(from_file(path), Box::new(|| Ok(None))))
    }
}

fn from_file(path: &Path) -> master_key::Make {
    let path = path.to_owned();
    Box::new(move || Ok(Some(MasterKey::from_file(&path)?)))
}

/// Opens the store, hands it to `work`, tells a failure with its remedy.
fn with_store(
    args: &StoreArgs,
    work: impl FnOnce(&Store<'_>) -> Result<u8, StoreError>,
) -> ExitCode {
    tell(args, || {
        let config = args.config()?;
        let keys = args.keys(config.as_deref())?;
        on_store(args, config.as_deref(), &keys, Limits::default(), work)
    })
}

fn on_store<T>(
    args: &StoreArgs,
    config: Option<&str>,
    keys: &StoreKeys,
    limits: Limits,
    work: impl FnOnce(&Store<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    process::protect_memory().map_err(StoreError::io("forbidding core dumps of", "/proc/self"))?;
    let config = config
        .map(StoreConfig::parse)
        .transpose()
        .map_err(|error| StoreError::Config(error.to_string()))?;
    let dir = std::fs::canonicalize(&args.dir).map_err(StoreError::io("opening", &args.dir))?;
    let store =
        Store::open(&OsFs, keys, &dir, args.seen_as.as_deref(), config.as_ref())?.within(limits);
    let result = work(&store);
    if result.is_err() && store.journal_open().unwrap_or(false) {
        eprintln!(
            "note: a run is open in {}; TiKV is held back until 'tikv-security reencrypt' has finished it",
            dir.display()
        );
    }
    result
}

fn tell(args: &StoreArgs, work: impl FnOnce() -> Result<u8, StoreError>) -> ExitCode {
    ExitCode::from(work().unwrap_or_else(|error| {
        let code = exit::of_error(&error);
        output::failure(args.output, &error, code);
        code
    }))
}

fn read(path: &Path) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(StoreError::io("reading", path))
}
