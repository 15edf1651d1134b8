//! Why a data directory is refused, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::crypto::rng::NoRandomness;
use crate::format::envelope::EnvelopeError;
use crate::format::file_dict::FileDictError;
use crate::format::key_dict::KeyDictError;
use crate::kms::{Class, MasterKeyError};

/// A refusal or a failure. Every one names its object; [`StoreError::remedy`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system.
    #[error("{path}: {doing} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody holds TiKV's lock.
    #[error("{0} is locked: a TiKV or another agent is running on this data directory")]
    Locked(PathBuf),
    /// Not a data directory.
    #[error("{0} is not a TiKV data directory: it has neither db/ nor raft-engine/")]
    NotAStore(PathBuf),
    /// TiKV's own panic mark.
    #[error("{0} exists and is not ours: TiKV marked this store as damaged")]
    PanicMark(PathBuf),
    /// `key.dict` is damaged.
    #[error("key.dict is damaged: {0}")]
    KeyDictEnvelope(EnvelopeError),
    /// `key.dict` was opened and makes no sense.
    #[error("{0}")]
    KeyDict(#[from] KeyDictError),
    /// `file.dict` is damaged.
    #[error("file.dict is damaged: {0}")]
    FileDict(#[from] FileDictError),
    /// One dictionary without the other.
    #[error("{present} exists but {missing} does not: TiKV refuses to start on this")]
    HalfDictionaries {
        /// The one that is there.
        present: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The master key does not open `key.dict`, or can not be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store is encrypted and no master key was given.
    #[error("the store is encrypted, and no master key was given")]
    NoMasterKey,
    /// There is nothing that a master key protects.
    #[error("{0} has no key.dict: encryption was never on")]
    NothingSealed(PathBuf),
    /// Data keys under it would lie in the clear.
    #[error("the master key is plaintext: data keys under it would lie in the clear")]
    InsecureMasterKey,
    /// The store is not as its dictionaries say, or not one that may be changed.
    #[error("{0}")]
    Refused(Refusal),
    /// Not enough room.
    #[error(
        "{dir}: {free} bytes are free, {needed} are needed to rewrite the largest file out of place"
    )]
    NoSpace {
        /// Where.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The journal is not one that this store's keys have signed.
    #[error("the journal {path} can not be trusted: {why}")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What was written is not what was meant.
    #[error("{path}: {what} differs after rewriting; the old file was kept")]
    Verification {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The configuration can not be used.
    #[error("{0}")]
    Config(String),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// Asked to stop; the journal is open and the next run goes on.
    #[error(
        "stopped between two files; the journal is open, TiKV is held back, the next run goes on from here"
    )]
    Interrupted,
}

/// Something in the store that a person must decide on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An entry names a data key that does not exist.
    #[error("{path}: its entry names data key {key_id}, which key.dict does not have")]
    UnknownKey {
        /// File.
        path: String,
        /// Key.
        key_id: u64,
    },
    /// An entry that no TiKV writes.
    #[error("{path}: its entry is unusable: {why}")]
    BadEntry {
        /// File.
        path: String,
        /// Why.
        why: String,
    },
    /// The content is not what the entry says.
    #[error(
        "{path}: does not decrypt to what such a file must look like; its entry and its content do not belong together"
    )]
    Mismatch {
        /// File.
        path: String,
    },
    /// No entry, and the content is no plaintext.
    #[error("{path}: has no entry, and is not what such a file looks like in the clear")]
    Unrecognised {
        /// File.
        path: String,
    },
    /// Names of one inode with different entries.
    #[error("{path} and {other} are one file with two different entries")]
    SplitInode {
        /// A name.
        path: String,
        /// Another name.
        other: String,
    },
    /// TiFlash.
    #[error("this is a TiFlash store: {why}")]
    TiFlash {
        /// The sign.
        why: String,
    },
    /// The path that TiKV uses is unknown.
    #[error("no entry of file.dict begins with {seen_as}: entries begin with {found}")]
    WrongPrefix {
        /// What was assumed.
        seen_as: String,
        /// What is there.
        found: String,
    },
    /// Entries of files that are nowhere here.
    #[error(
        "{entries} entries of file.dict are in {dir}, which is no known directory of this store (for example {example})"
    )]
    Elsewhere {
        /// Their directory, as TiKV sees it.
        dir: String,
        /// How many.
        entries: usize,
        /// One of them.
        example: String,
    },
    /// Files behind a link can not be told from missing ones.
    #[error("{path} is a symbolic link; what is behind it was not looked at")]
    SymbolicLink {
        /// The link.
        path: String,
    },
    /// One file under two spellings.
    #[error("file.dict spells {path} as {entry}")]
    Alias {
        /// The entry.
        entry: String,
        /// The same path without the detours.
        path: String,
    },
    /// Decryption without intent.
    #[error("the desired method is plaintext, but decryption was not asked for explicitly")]
    DecryptWithoutIntent,
}

impl StoreError {
    /// Wraps an error of the operating system.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "IoError",
            Self::Locked(_) => "Locked",
            Self::NotAStore(_) => "NotAStore",
            Self::PanicMark(_) => "PanicMark",
            Self::KeyDictEnvelope(_) | Self::KeyDict(_) => "KeyDictionaryDamaged",
            Self::FileDict(_) => "FileDictionaryDamaged",
            Self::HalfDictionaries { .. } => "DictionaryMissing",
            Self::MasterKey(error) => error.class().code(),
            Self::NoMasterKey => "MasterKeyMissing",
            Self::NothingSealed(_) => "NothingSealed",
            Self::InsecureMasterKey => "MasterKeyInsecure",
            Self::Refused(Refusal::TiFlash { .. }) => "TiFlash",
            Self::Refused(Refusal::DecryptWithoutIntent) => "DecryptionNotAskedFor",
            Self::Refused(_) => "StoreInconsistent",
            Self::NoSpace { .. } => "NoSpace",
            Self::Journal { .. } => "JournalUntrusted",
            Self::Verification { .. } => "VerificationFailed",
            Self::Config(_) => "Configuration",
            Self::Random(_) => "NoRandomness",
            Self::Interrupted => "Interrupted",
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the volume, then run again: it goes on from here".to_owned()
            }
            Self::Io { .. } => "look at the volume and its permissions (dmesg, df, ls -ln), then run again".to_owned(),
            Self::Locked(_) => "stop TiKV first (or let the operator restart the pod), then run again".to_owned(),
            Self::NotAStore(_) => "give the directory of storage.data-dir".to_owned(),
            Self::PanicMark(_) => {
                "do not remove the mark: replace the store by scaling it in and out, as TiKV's own message says".to_owned()
            }
            Self::KeyDictEnvelope(_) | Self::KeyDict(_) | Self::FileDict(_) | Self::HalfDictionaries { .. } => {
                "nothing was changed; restore the dictionary from a volume snapshot, or replace the store by scaling it in and out".to_owned()
            }
            Self::MasterKey(error) => error.remedy().to_owned(),
            Self::NoMasterKey => "give it with --master-key-file, or TiKV's configuration with --config".to_owned(),
            Self::NothingSealed(_) => "configure the new master key; it takes effect with the first encryption".to_owned(),
            Self::InsecureMasterKey => {
                "nothing was changed; configure a file or a KMS key as [security.encryption.master-key]".to_owned()
            }
            Self::Refused(refusal) => refusal.remedy(),
            Self::NoSpace { .. } => "enlarge the volume or free space, then run again".to_owned(),
            Self::Journal { .. } => {
                "keep the data directory as it is and find out who wrote the journal; a store can be replaced by scaling it in and out".to_owned()
            }
            Self::Verification { .. } => "the device returned other bytes than were written: check the disk; run again once it is sound".to_owned(),
            Self::Config(_) => "correct the configuration, then run again".to_owned(),
            Self::Random(_) => "the system's random number generator must work first".to_owned(),
            Self::Interrupted => "run again, or start the pod: it goes on by itself".to_owned(),
        }
    }

    /// True when the same attempt can succeed later without anybody changing the data directory.
    pub fn retry(&self) -> bool {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } => true,
            Self::MasterKey(error) => error.class() != Class::Malformed,
            _ => false,
        }
    }
}

impl Refusal {
    /// A stable word for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } => "DataKeyMissing",
            Self::BadEntry { .. } => "EntryUnusable",
            Self::Mismatch { .. } | Self::Unrecognised { .. } => "ContentMismatch",
            Self::SplitInode { .. } => "SplitInode",
            Self::TiFlash { .. } => "TiFlash",
            Self::WrongPrefix { .. } => "WrongDirectory",
            Self::Elsewhere { .. } => "EntriesElsewhere",
            Self::SymbolicLink { .. } => "SymbolicLink",
            Self::Alias { .. } => "AliasedEntry",
            Self::DecryptWithoutIntent => "DecryptionNotAskedFor",
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::TiFlash { .. } => "TiFlash stores are not supported: leave this store out".to_owned(),
            Self::WrongPrefix { found, .. } => {
                format!("give the path at which TiKV sees the data directory with --seen-as {found}")
            }
            Self::Elsewhere { dir, .. } => format!(
                "nothing was changed; mount {dir} and give TiKV's configuration with --config, so that it is known; \
                 if that directory is gone for good, 'tikv-ctl encryption-meta cleanup-encryption-meta' drops such entries"
            ),
            Self::SymbolicLink { path } => format!(
                "nothing was changed; bind-mount the directory at {path} instead of the link, or name it in the configuration given with --config"
            ),
            Self::Alias { .. } => {
                "nothing was changed; give the directory in TiKV's own spelling with --seen-as, and --config".to_owned()
            }
            Self::DecryptWithoutIntent => "set the method to plaintext in the TikvSecurity, or use --to plaintext".to_owned(),
            _ => "nothing was changed; look at the file with 'tikv-security verify'; if TiKV can read the store, report this, \
                  otherwise replace the store by scaling it in and out"
                .to_owned(),
        }
    }
}
