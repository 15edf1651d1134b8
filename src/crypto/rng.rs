//! Randomness, from the operating system only.

use super::secret::SecretBytes;
use crate::api::method::Method;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// `N` random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// An initial counter block.
pub fn iv() -> Result<[u8; 16], NoRandomness> {
    bytes()
}

/// The id of a new data key: any number but 0, which TiKV reads as "none".
pub fn key_id() -> Result<u64, NoRandomness> {
    loop {
        match u64::from_ne_bytes(bytes()?) {
            0 => {}
            id => return Ok(id),
        }
    }
}

/// A new data key for `method`.
pub fn key(method: Method) -> Result<SecretBytes, NoRandomness> {
    let mut bytes = vec![0; method.key_len()];
    getrandom::fill(&mut bytes)?;
    Ok(SecretBytes::new(bytes))
}
