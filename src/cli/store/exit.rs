//! Exit codes of the subcommands that work on a data directory.

use crate::agent::error::StoreError;
use crate::api::report::{Finding, Severity};

/// Findings of severity `Error` that have no code of their own.
pub const FINDINGS: u8 = 1;
/// Wrong usage, or something that could not be read.
pub const USAGE: u8 = 2;
/// Refused: the store is not one that may be changed, or the master key does not fit. Nothing was changed.
pub const REFUSED: u8 = 3;
/// The store is in use.
pub const LOCKED: u8 = 4;
/// Stopped in the middle; TiKV is held back until the run is finished by another call.
pub const UNFINISHED: u8 = 5;
/// A file is not what its entry says.
pub const MISMATCH: u8 = 6;
/// A data key that an entry names is missing.
pub const KEY_MISSING: u8 = 7;
/// Not as `verify` was told to require.
pub const NOT_AS_REQUIRED: u8 = 8;
/// A dictionary is damaged, or one of the two is missing.
pub const DAMAGED: u8 = 9;
/// Stopped by Ctrl-C (SIGINT).
pub const INTERRUPTED: u8 = 130;
/// Stopped by SIGTERM.
pub const TERMINATED: u8 = 143;

/// Every code with its meaning, for the help and for docs/cli.md.
pub const TABLE: [(u8, &str); 12] = [
    (0, "done; nothing is wrong"),
    (
        FINDINGS,
        "a finding of severity Error that has no code of its own below",
    ),
    (
        USAGE,
        "wrong usage, or a file or a directory that could not be read or written",
    ),
    (
        REFUSED,
        "refused, nothing was changed: the message names the object, the cause and the next step",
    ),
    (
        LOCKED,
        "the store is in use: TiKV or another agent runs on it",
    ),
    (
        UNFINISHED,
        "not all is done: a run is open, or its time is over; the message has the command that goes on",
    ),
    (
        MISMATCH,
        "a file does not decrypt to what such a file must look like",
    ),
    (
        KEY_MISSING,
        "an entry of file.dict names a data key that key.dict does not have",
    ),
    (
        NOT_AS_REQUIRED,
        "sound, but not as --require or --max-key-age of verify demands",
    ),
    (
        DAMAGED,
        "key.dict or file.dict is damaged or missing; nothing was changed",
    ),
    (
        INTERRUPTED,
        "stopped by Ctrl-C at a safe place; the same command goes on",
    ),
    (
        TERMINATED,
        "stopped by SIGTERM at a safe place; the same command goes on",
    ),
];

/// For the end of every subcommand's help.
pub const HELP: &str = "Exit codes: 0 done; 1 other findings; 2 usage or I/O; 3 refused, nothing changed; 4 in use; \
    5 a run is open; 6 content mismatch; 7 data key missing; 8 not as required; 9 dictionary damaged; \
    130, 143 stopped by a signal at a safe place";

/// The code of a failure.
pub fn of_error(error: &StoreError) -> u8 {
    match error {
        StoreError::Locked(_) => LOCKED,
        StoreError::Interrupted => UNFINISHED,
        StoreError::Io { .. } | StoreError::Config(_) | StoreError::NotAStore(_) => USAGE,
        StoreError::KeyDictEnvelope(_)
        | StoreError::KeyDict(_)
        | StoreError::FileDict(_)
        | StoreError::HalfDictionaries { .. } => DAMAGED,
        _ => REFUSED,
    }
}

/// The code of findings: that of the one which says most about what to do next.
pub fn of_findings(findings: &[Finding]) -> u8 {
    const ORDER: [(&str, u8); 4] = [
        ("RunOpen", UNFINISHED),
        ("DataKeyMissing", KEY_MISSING),
        ("ContentMismatch", MISMATCH),
        ("NotAsRequired", NOT_AS_REQUIRED),
    ];
    let has = |code: &str| findings.iter().any(|finding| finding.code == code);
    let own = ORDER.iter().find(|(code, _)| has(code));
    match own {
        Some((_, code)) => *code,
        None if findings.iter().any(|one| one.severity == Severity::Error) => FINDINGS,
        None => 0,
    }
}
