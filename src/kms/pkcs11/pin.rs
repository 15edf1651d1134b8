//! The PIN of a token's user. A wrong one is not tried twice: after some tries a token locks itself, for good.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::crypto::secret::SecretBytes;
use crate::kms::error::Class;
use crate::kms::rest::Failure;

/// PINs that a token refused, by digest of token and PIN. For the life of the process, whoever asks.
static REFUSED: Mutex<BTreeSet<[u8; 32]>> = Mutex::new(BTreeSet::new());

/// Where a PIN comes from.
#[derive(Debug)]
pub enum Pin {
    /// A file, read at each use.
    File(PathBuf),
    /// Here.
    Given(SecretBytes),
}

/// A PIN that was read.
pub(super) struct Entry {
    pub(super) text: Zeroizing<String>,
    digest: [u8; 32],
}

impl Pin {
    /// Reads it, unless it is one that this token refused before.
    pub(super) fn read(&self, token: &str) -> Result<Entry, Failure> {
        let bytes = match self {
            Self::Given(bytes) => Zeroizing::new(bytes.expose().to_vec()),
            Self::File(path) => Zeroizing::new(std::fs::read(path).map_err(|error| {
                let message = format!("the PIN in {}: {error}", path.display());
                Failure::new(Class::Denied, message)
            })?),
        };
        let text = std::str::from_utf8(&bytes)
            .map(str::trim_end)
            .unwrap_or_default();
        if text.is_empty() {
            return Err(Failure::new(
                Class::Malformed,
                "the PIN is empty or no text",
            ));
        }
        let mut digest = Sha256::new();
        for part in [token, text] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let entry = Entry {
            text: Zeroizing::new(text.to_owned()),
            digest: digest.finalize().into(),
        };
        let refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.contains(&entry.digest) {
            let message = "the token refused this PIN before; it is not tried again, because a token locks itself after some tries";
            return Err(Failure::new(Class::Denied, message));
        }
        Ok(entry)
    }
}

impl Entry {
    /// The token refused it.
    pub(super) fn refused(&self) {
        let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(self.digest);
    }
}
