//! Subcommands that work on a data directory by hand.

pub mod inspect;
pub mod reencrypt;
pub mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::agent::dictionaries::Sealer;
use crate::agent::error::StoreError;
use crate::agent::master_key;
use crate::agent::store::Store;
use crate::crypto::secret::SecretBytes;
use crate::format::pb::EncryptedContent;
use crate::fs::os::OsFs;
use crate::kms::MasterKey;
use crate::tikv::encryption_config;
use crate::tikv::store_config::StoreConfig;

/// Where the store is and what opens it.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// Data directory of the store (storage.data-dir)
    dir: PathBuf,
    /// TiKV's configuration: directories and master key of the store
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

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Exit codes, the same for all three subcommands.
pub mod exit {
    /// Findings of severity `Error`.
    pub const FINDINGS: u8 = 1;
    /// Wrong usage, or something that could not be read.
    pub const USAGE: u8 = 2;
    /// Refused: the store is not one that may be changed, or the master key does not fit. Nothing was changed.
    pub const REFUSED: u8 = 3;
    /// The store is in use.
    pub const LOCKED: u8 = 4;
    /// Stopped in the middle; TiKV is held back until the run is finished by another call.
    pub const UNFINISHED: u8 = 5;

    /// For the end of every subcommand's help.
    pub const HELP: &str = "Exit codes: 0 done; 1 findings of severity Error; 2 usage or I/O; 3 refused, nothing changed; \
        4 the store is in use; 5 stopped in the middle, run again to go on";
}

/// Opens the store, hands it to `work`, prints a failure with its remedy.
fn with_store(
    args: &StoreArgs,
    work: impl FnOnce(&Store<'_>) -> Result<ExitCode, StoreError>,
) -> ExitCode {
    let run = || {
        let config = args.config.as_deref().map(read).transpose()?;
        let key = Key(master_key(args, config.as_deref())?);
        let config = config
            .as_deref()
            .map(StoreConfig::parse)
            .transpose()
            .map_err(|error| StoreError::Config(error.to_string()))?;
        let dir = std::fs::canonicalize(&args.dir).map_err(StoreError::io("opening", &args.dir))?;
        let store = Store::open(&OsFs, &key, &dir, args.seen_as.as_deref(), config.as_ref())?;
        let result = work(&store);
        if result.is_err() && store.journal_open().unwrap_or(false) {
            eprintln!(
                "note: a run is open in {}; TiKV is held back until 'tikv-security reencrypt' has finished it",
                dir.display()
            );
        }
        result
    };
    run().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        eprintln!("  next: {}", error.remedy());
        ExitCode::from(code(&error))
    })
}

fn code(error: &StoreError) -> u8 {
    match error {
        StoreError::Locked(_) => exit::LOCKED,
        StoreError::Interrupted => exit::UNFINISHED,
        StoreError::Io { .. } | StoreError::Config(_) | StoreError::NotAStore(_) => exit::USAGE,
        _ => exit::REFUSED,
    }
}

fn read(path: &Path) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(StoreError::io("reading", path))
}

fn master_key(args: &StoreArgs, config: Option<&str>) -> Result<Option<MasterKey>, StoreError> {
    if let Some(path) = &args.master_key_file {
        return Ok(Some(MasterKey::from_file(path)?));
    }
    let Some(config) = config else {
        return Ok(None);
    };
    let encryption =
        encryption_config::parse(config).map_err(|error| StoreError::Config(error.to_string()))?;
    Ok(Some(master_key::build(&encryption.master_key)?))
}

/// The master key of the command line; without one a plaintext store can still be looked at.
struct Key(Option<MasterKey>);

impl Key {
    fn get(&self) -> Result<&MasterKey, StoreError> {
        self.0.as_ref().ok_or(StoreError::NoMasterKey)
    }
}

impl Sealer for Key {
    fn open(&self, content: &EncryptedContent) -> Result<SecretBytes, StoreError> {
        Sealer::open(self.get()?, content)
    }

    fn seal(
        &self,
        plaintext: &SecretBytes,
        previous: Option<&EncryptedContent>,
    ) -> Result<EncryptedContent, StoreError> {
        Sealer::seal(self.get()?, plaintext, previous)
    }

    fn prove(&self) -> Result<(), StoreError> {
        Sealer::prove(self.get()?)
    }
}

/// Prints a document for machines.
fn print_document(output: Output, document: &impl Serialize) -> Result<(), StoreError> {
    let text = match output {
        Output::Yaml => serde_yaml_ng::to_string(document).map_err(|error| error.to_string()),
        Output::Json | Output::Table => serde_json::to_string_pretty(document)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
    };
    print!("{}", text.map_err(StoreError::Config)?);
    Ok(())
}

/// Bytes as people read them.
fn human(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
