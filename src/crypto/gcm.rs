//! AES-256-GCM, as the master key uses it on `key.dict`: no additional data (facts, encryption at rest §2.3).

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, AesGcm, KeyInit, Nonce, Tag};

use super::secret::SecretBytes;

/// The key, the IV or the bytes are not what they were when the tag was made, or have the wrong length.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the authentication tag does not fit")]
pub struct Unauthentic;

/// Decrypts and authenticates. The IV has 12 bytes; 16 are read too, as TiKV does.
pub fn open(
    key: &SecretBytes,
    iv: &[u8],
    ciphertext: &[u8],
    tag: &[u8; 16],
) -> Result<SecretBytes, Unauthentic> {
    let mut buffer = zeroize::Zeroizing::new(ciphertext.to_vec());
    let tag = Tag::from(*tag);
    match iv.len() {
        12 => {
            let cipher = Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Unauthentic)?;
            let nonce = Nonce::<U12>::try_from(iv).map_err(|_| Unauthentic)?;
            cipher
                .decrypt_inout_detached(&nonce, &[], InOutBuf::from(&mut buffer[..]), &tag)
                .map_err(|_| Unauthentic)?;
        }
        16 => {
            let cipher = AesGcm::<aes::Aes256, U16>::new_from_slice(key.expose())
                .map_err(|_| Unauthentic)?;
            let nonce = Nonce::<U16>::try_from(iv).map_err(|_| Unauthentic)?;
            cipher
                .decrypt_inout_detached(&nonce, &[], InOutBuf::from(&mut buffer[..]), &tag)
                .map_err(|_| Unauthentic)?;
        }
        _ => return Err(Unauthentic),
    }
    Ok(SecretBytes::new(std::mem::take(&mut buffer)))
}

/// Encrypts; the IV must never have been used with this key.
pub fn seal(
    key: &SecretBytes,
    iv: &[u8; 12],
    plaintext: &SecretBytes,
) -> Result<(Vec<u8>, [u8; 16]), Unauthentic> {
    let cipher = Aes256Gcm::new_from_slice(key.expose()).map_err(|_| Unauthentic)?;
    let mut buffer = plaintext.expose().to_vec();
    let tag = cipher
        .encrypt_inout_detached(
            &Nonce::<U12>::from(*iv),
            &[],
            InOutBuf::from(&mut buffer[..]),
        )
        .map_err(|_| Unauthentic)?;
    Ok((buffer, tag.into()))
}
