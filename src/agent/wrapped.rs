//! Master keys that TiKV does not know: unwrapped by their provider, and written into memory as TiKV's `file` key
//! (facts, encryption at rest §1.2).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::statfs;
use zeroize::Zeroizing;

use self::provider::provider;
use crate::api::wrapped::WrappedKey;
use crate::crypto::secret::SecretBytes;
use crate::kms::retry::Retry;
use crate::kms::{Class, MasterKeyError, unwrap_blocking};

mod provider;

/// File systems that are memory: tmpfs and ramfs, by the magic numbers of statfs(2).
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Why a key file could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// The wrapped form is not there.
    #[error("the wrapped master key {0} can not be read: {1}")]
    Wrapped(PathBuf, io::Error),
    /// The provider did not unwrap it.
    #[error("the master key can not be unwrapped, and TiKV can not start without it: {0}")]
    Provider(#[from] MasterKeyError),
    /// The key file can not be written.
    #[error("the key file {0} can not be written: {1}")]
    File(PathBuf, io::Error),
    /// The key would lie on a disk.
    #[error("{0} is not in memory, so no key is written there")]
    NotInMemory(PathBuf),
    /// The provider gave another key than the one in memory.
    #[error("what is unwrapped now is another key than the one in {0}, with which TiKV runs")]
    Another(PathBuf),
    /// The provider gave something else than a key.
    #[error("what was unwrapped has {0} bytes; a master key has 32")]
    Size(usize),
}

impl UnwrapError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.class().code(),
            Self::Wrapped(..) => "WrappedKeyMissing",
            Self::File(..) | Self::NotInMemory(_) => "KeyFileUnwritable",
            Self::Another(_) => Class::WrongKey.code(),
            Self::Size(_) => Class::Malformed.code(),
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.remedy(),
            Self::Wrapped(..) => {
                "Restore the Secret with the wrapped master key from a backup of the cluster's objects."
            }
            Self::File(..) => {
                "Look at the volume for the keys: it must be writable for the agent and have room."
            }
            Self::NotInMemory(_) => {
                "Mount an emptyDir with medium: Memory there, as the operator does."
            }
            Self::Another(_) => {
                "Restore the Secret with the wrapped master key from a backup of the cluster's objects: it was replaced. Let no TiKV pod restart before."
            }
            Self::Size(_) => "Look at who wrote the Secret with the wrapped master key.",
        }
    }
}

/// A key that is still to be provided.
#[derive(Debug)]
pub struct Pending {
    key: WrappedKey,
    /// How long its provider is asked at a time.
    pub(super) retry: Retry,
}

/// Whence a key file came.
#[derive(Debug, PartialEq, Eq)]
pub enum Provided {
    /// From its provider, now.
    Unwrapped,
    /// It was in memory, and TiKV runs with it.
    InUse,
    /// It was in memory since so long, and its provider does not answer.
    Offline {
        /// Since it was unwrapped.
        age: Duration,
        /// What the provider did.
        why: String,
    },
}

impl Pending {
    /// Nothing is asked yet.
    pub fn new(key: WrappedKey) -> Self {
        let retry = Retry::DEFAULT;
        Self { key, retry }
    }

    /// Whether TiKV starts without it.
    pub fn is_dispensable(&self) -> bool {
        self.key.dispensable
    }

    /// Provides the key file. While TiKV runs what it has read is left alone.
    pub fn provide(&self, tikv_runs: bool) -> Result<Provided, UnwrapError> {
        let file = Path::new(&self.key.file);
        if tikv_runs && file.exists() {
            return Ok(Provided::InUse);
        }
        let error = match self.ask() {
            Ok(key) => {
                write(file, &key)?;
                return Ok(Provided::Unwrapped);
            }
            Err(error) => error,
        };
        let UnwrapError::Provider(cause) = &error else {
            return Err(error);
        };
        let grace = self.key.offline_grace_seconds.map(Duration::from_secs);
        match (cause.class(), grace, age(file)) {
            (Class::Unavailable, Some(grace), Some(age)) if age <= grace => Ok(Provided::Offline {
                age,
                why: cause.to_string(),
            }),
            _ => Err(error),
        }
    }

    /// Whether the key file is there.
    pub fn is_provided(&self) -> bool {
        fs::metadata(&self.key.file).is_ok_and(|meta| meta.len() == 65)
    }

    /// Asks the provider whether a pod that starts now would get the key that TiKV runs with.
    pub fn prove(&self) -> Result<(), UnwrapError> {
        let key = self.ask()?;
        let file = Path::new(&self.key.file);
        let known = fs::read(file).map(Zeroizing::new);
        let known = known.map_err(|error| UnwrapError::File(file.to_owned(), error))?;
        if *known == *hexadecimal(&key)? {
            return Ok(());
        }
        Err(UnwrapError::Another(file.to_owned()))
    }

    fn ask(&self) -> Result<SecretBytes, UnwrapError> {
        let wrapped = fs::read(&self.key.wrapped)
            .map_err(|error| UnwrapError::Wrapped(PathBuf::from(&self.key.wrapped), error))?;
        let provider = provider(&self.key.by);
        Ok(unwrap_blocking(provider.as_ref(), &wrapped, self.retry)?)
    }
}

/// Since when a whole key file is there; `None` without one, and when the clock went back since.
fn age(file: &Path) -> Option<Duration> {
    let meta = fs::metadata(file).ok().filter(|meta| meta.len() == 65)?;
    SystemTime::now().duration_since(meta.modified().ok()?).ok()
}

/// Writes the key as TiKV reads it, for its owner only, whole or not at all. The agent runs as TiKV's user.
pub(super) fn write(file: &Path, key: &SecretBytes) -> Result<(), UnwrapError> {
    let failed = |error| UnwrapError::File(file.to_owned(), error);
    let text = hexadecimal(key)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let kind = statfs(directory)
        .map_err(|error| failed(error.into()))?
        .f_type;
    #[allow(clippy::useless_conversion, reason = "narrower on other architectures")]
    let kind = i64::from(kind) & 0xffff_ffff;
    if !MEMORY.iter().any(|memory| i64::from(*memory) == kind) {
        return Err(UnwrapError::NotInMemory(directory.to_owned()));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.new"));
    let written = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut out = options
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&fresh)?;
        out.write_all(&text)?;
        fs::rename(&fresh, file)
    };
    written().map_err(failed)
}

/// A key as TiKV reads it: 64 hexadecimal digits and a newline.
fn hexadecimal(key: &SecretBytes) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
    let bytes = key.expose();
    if bytes.len() != 32 {
        return Err(UnwrapError::Size(bytes.len()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(65));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests;
