//! The metadata that TiKV keeps beside the sealed key dictionary (facts, encryption at rest §2.3).

use super::error::MasterKeyError;
use crate::crypto::digest::Sha256;
use crate::crypto::gcm;
use crate::crypto::rng;
use crate::crypto::secret::SecretBytes;
use crate::format::pb::EncryptedContent;

pub(super) const METHOD: &str = "method";
pub(super) const METHOD_PLAINTEXT: &[u8] = b"plaintext";
pub(super) const METHOD_GCM: &[u8] = b"aes256-gcm";
pub(super) const IV: &str = "iv";
pub(super) const TAG: &str = "aes_gcm_tag";
pub(super) const VENDOR: &str = "kms_vendor";
pub(super) const WRAPPED_KEY: &str = "kms_ciphertext_key";

/// Which key of a KMS's making seals `sealed`: a fingerprint of that key as the KMS wrapped it. `None` where no KMS made one.
pub fn fingerprint(sealed: &EncryptedContent) -> Option<String> {
    let wrapped = sealed.metadata.get(WRAPPED_KEY)?;
    let mut digest = Sha256::default();
    digest.update(wrapped);
    let mut first = [0; 16];
    first.copy_from_slice(&digest.finish()[..16]);
    Some(format!("{:032x}", u128::from_be_bytes(first)))
}

/// Seals `plain` under `key`, with a nonce that was never used.
pub(super) fn seal(
    key: &SecretBytes,
    plain: &SecretBytes,
) -> Result<EncryptedContent, MasterKeyError> {
    let iv = rng::bytes::<12>()?;
    let (content, tag) = gcm::seal(key, &iv, plain).map_err(|_| {
        MasterKeyError::Malformed("the master key is not one of 32 bytes".to_owned())
    })?;
    let metadata = [
        (METHOD, METHOD_GCM.to_vec()),
        (IV, iv.to_vec()),
        (TAG, tag.to_vec()),
    ];
    Ok(EncryptedContent {
        metadata: metadata
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        content,
    })
}

/// Opens what was sealed under `key`.
pub(super) fn open(
    key: &SecretBytes,
    sealed: &EncryptedContent,
) -> Result<SecretBytes, MasterKeyError> {
    demand_method(sealed, METHOD_GCM)?;
    let iv = entry(sealed, IV)?;
    if !matches!(iv.len(), 12 | 16) {
        return Err(wrong_size(IV, iv.len(), "12"));
    }
    let tag = entry(sealed, TAG)?;
    let tag = tag
        .try_into()
        .map_err(|_| wrong_size(TAG, tag.len(), "16"))?;
    gcm::open(key, iv, &sealed.content, tag)
        .map_err(|_| MasterKeyError::Wrong("its authentication tag does not fit".to_owned()))
}

/// Whether the envelope says that it was made by `method`; another one is an error that no other key of the same kind heals.
pub(super) fn demand_method(
    sealed: &EncryptedContent,
    method: &[u8],
) -> Result<(), MasterKeyError> {
    let found = entry(sealed, METHOD)?;
    if found == method {
        return Ok(());
    }
    Err(MasterKeyError::Mismatch(format!(
        "its envelope has the method {:?}, the configured master key makes {:?}",
        String::from_utf8_lossy(found),
        String::from_utf8_lossy(method),
    )))
}

fn entry<'a>(sealed: &'a EncryptedContent, name: &str) -> Result<&'a [u8], MasterKeyError> {
    let found = sealed.metadata.get(name);
    found
        .map(Vec::as_slice)
        .ok_or_else(|| MasterKeyError::Malformed(format!("its envelope lacks {name}")))
}

fn wrong_size(name: &str, found: usize, expected: &str) -> MasterKeyError {
    MasterKeyError::Malformed(format!(
        "{name} of its envelope has {found} bytes instead of {expected}"
    ))
}
