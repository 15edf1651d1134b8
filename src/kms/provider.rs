//! What a key management service must be able to do, and the proof that it can.

use futures::future::BoxFuture;

use super::error::{Class, KmsError, Service};
use crate::crypto::secret::SecretBytes;

/// A 256-bit key made by a KMS.
#[derive(Debug)]
pub struct DataKey {
    /// The key.
    pub plaintext: SecretBytes,
    /// The same, wrapped: what is stored.
    pub wrapped: Vec<u8>,
}

/// One key in a key management service. The operations are those of TiKV: no encryption context, no grant tokens
/// (facts, encryption at rest §1.2).
pub trait Kms: Send + Sync {
    /// `kms_vendor` in `key.dict`, as TiKV spells it.
    fn vendor(&self) -> &'static str;

    /// Whose key it is.
    fn service(&self) -> Service;

    /// The key as the configuration names it.
    fn key(&self) -> &str;

    /// A failure of this key.
    fn error(&self, class: Class, message: &str) -> KmsError {
        KmsError {
            class,
            service: self.service(),
            key: self.key().to_owned(),
            message: message.to_owned(),
            after: None,
        }
    }

    /// Whether the key exists, is enabled and can wrap.
    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>>;

    /// A new data key of 256 bits.
    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>>;

    /// The data key that was wrapped.
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>>;
}

/// A new data key that the service has shown to give back: what is sealed under another one is lost.
pub(super) async fn proven_data_key(kms: &dyn Kms) -> Result<DataKey, KmsError> {
    let made = kms.generate().await?;
    let back = kms.unwrap(&made.wrapped).await?;
    if back.expose() == made.plaintext.expose() {
        return Ok(made);
    }
    let message = "a data key that it made is another one after it unwrapped it";
    Err(kms.error(Class::Malformed, message))
}

/// Shows that the key can be used: described, and a new data key is the same after it was unwrapped.
pub async fn prove(kms: &dyn Kms) -> Result<(), KmsError> {
    kms.describe().await?;
    proven_data_key(kms).await.map(drop)
}

/// A new key in its wrapped form, which the service has shown to give back. The key itself is forgotten.
pub async fn make_wrapped(kms: &dyn Kms) -> Result<Vec<u8>, KmsError> {
    proven_data_key(kms).await.map(|made| made.wrapped)
}

/// Shows that the key can be used for what it wrapped before: described, and a master key comes out.
pub async fn prove_wrapped(kms: &dyn Kms, wrapped: &[u8]) -> Result<(), KmsError> {
    kms.describe().await?;
    kms.unwrap(wrapped).await.map(drop)
}
