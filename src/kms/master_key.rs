//! A master key of any kind. Blocking: for those who work on a data directory.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::blocking;
use super::envelope::{self, METHOD, METHOD_PLAINTEXT, VENDOR, WRAPPED_KEY};
use super::error::{Class, KmsError, MasterKeyError};
use super::file_key;
use super::provider::{Kms, prove, proven_data_key};
use super::retry::Retry;
use crate::crypto::secret::SecretBytes;
use crate::format::pb::EncryptedContent;

/// What opens and seals `key.dict` (facts, encryption at rest §2.3).
pub enum MasterKey {
    /// None: the data keys are in the clear. Insecure; TiKV refuses to encrypt with it.
    Plaintext,
    /// 32 bytes from a file.
    File(SecretBytes),
    /// A key that never leaves its service.
    Kms(Arc<dyn Kms>),
}

impl MasterKey {
    /// Reads a key file of exactly 65 bytes: 64 hexadecimal digits and a newline.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        Ok(Self::File(file_key::read(path)?))
    }

    /// A key in a KMS.
    pub fn from_kms(kms: impl Kms + 'static) -> Self {
        Self::Kms(Arc::new(kms))
    }

    /// Whether data keys under it are protected.
    pub fn is_secure(&self) -> bool {
        !matches!(self, Self::Plaintext)
    }

    /// The serialised key dictionary in `sealed`.
    pub fn open(&self, sealed: &EncryptedContent) -> Result<SecretBytes, MasterKeyError> {
        match self {
            Self::Plaintext => {
                envelope::demand_method(sealed, METHOD_PLAINTEXT)?;
                Ok(SecretBytes::new(sealed.content.clone()))
            }
            Self::File(key) => envelope::open(key, sealed),
            Self::Kms(kms) => {
                let wrapped = wrapped_key(kms.as_ref(), sealed)?;
                let key = wait(kms.as_ref(), || kms.unwrap(wrapped))?;
                envelope::open(&key, sealed)
            }
        }
    }

    /// Seals a serialised key dictionary. A KMS makes one data key for a store's whole life: that of `previous`, the
    /// present `key.dict`, is used again when there is one under this key (facts, encryption at rest §2.3).
    pub fn seal(
        &self,
        plain: &SecretBytes,
        previous: Option<&EncryptedContent>,
    ) -> Result<EncryptedContent, MasterKeyError> {
        match self {
            Self::Plaintext => Ok(EncryptedContent {
                metadata: [(METHOD.to_owned(), METHOD_PLAINTEXT.to_vec())].into(),
                content: plain.expose().to_vec(),
            }),
            Self::File(key) => envelope::seal(key, plain),
            Self::Kms(kms) => {
                let kms = kms.as_ref();
                let again =
                    previous.and_then(|sealed| Some((sealed, wrapped_key(kms, sealed).ok()?)));
                let (key, wrapped) = if let Some((sealed, wrapped)) = again {
                    let key = wait(kms, || kms.unwrap(wrapped))?;
                    // An answer that was damaged on its way gives another key: what it seals nobody could open again.
                    envelope::open(&key, sealed)?;
                    (key, wrapped.to_vec())
                } else {
                    let made = wait(kms, || proven_data_key(kms))?;
                    (made.plaintext, made.wrapped)
                };
                let mut sealed = envelope::seal(&key, plain)?;
                let vendor = kms.vendor().as_bytes().to_vec();
                sealed.metadata.insert(VENDOR.to_owned(), vendor);
                sealed.metadata.insert(WRAPPED_KEY.to_owned(), wrapped);
                Ok(sealed)
            }
        }
    }

    /// Shows that the key can be used, without anything of a store. A key from a file was proven by being read.
    pub fn prove(&self) -> Result<(), MasterKeyError> {
        match self {
            Self::Plaintext | Self::File(_) => Ok(()),
            Self::Kms(kms) => wait(kms.as_ref(), || prove(kms.as_ref())),
        }
    }
}

/// Has a key unwrapped, with retry. Blocking.
pub fn unwrap_blocking(
    kms: &dyn Kms,
    wrapped: &[u8],
    retry: Retry,
) -> Result<SecretBytes, MasterKeyError> {
    wait_within(retry, kms, || kms.unwrap(wrapped))
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext => f.write_str("MasterKey::Plaintext"),
            Self::File(_) => f.write_str("MasterKey::File(..)"),
            Self::Kms(kms) => write!(f, "MasterKey::Kms({} {})", kms.vendor(), kms.key()),
        }
    }
}

/// The wrapped data key, if the envelope is one of this vendor.
fn wrapped_key<'a>(
    kms: &dyn Kms,
    sealed: &'a EncryptedContent,
) -> Result<&'a [u8], MasterKeyError> {
    // No vendor means a file or a plaintext master key; TiKV goes on to the previous master key then.
    let vendor = sealed
        .metadata
        .get(VENDOR)
        .ok_or_else(|| MasterKeyError::Wrong("no KMS made its envelope".to_owned()))?;
    if vendor != kms.vendor().as_bytes() {
        return Err(MasterKeyError::Mismatch(format!(
            "its envelope was made by {:?}, the configured KMS is {:?}",
            String::from_utf8_lossy(vendor),
            kms.vendor(),
        )));
    }
    let wrapped = sealed.metadata.get(WRAPPED_KEY);
    wrapped
        .map(Vec::as_slice)
        .ok_or_else(|| MasterKeyError::Malformed(format!("its envelope lacks {WRAPPED_KEY}")))
}

fn wait<T, F>(kms: &dyn Kms, work: impl Fn() -> F + Send + Sync) -> Result<T, MasterKeyError>
where
    F: Future<Output = Result<T, KmsError>> + Send,
    T: Send,
{
    wait_within(Retry::DEFAULT, kms, work)
}

fn wait_within<T, F>(
    retry: Retry,
    kms: &dyn Kms,
    work: impl Fn() -> F + Send + Sync,
) -> Result<T, MasterKeyError>
where
    F: Future<Output = Result<T, KmsError>> + Send,
    T: Send,
{
    let answer = blocking::wait(retry.run(kms, work));
    Ok(answer.map_err(|error| kms.error(Class::Unavailable, &error.to_string()))??)
}
