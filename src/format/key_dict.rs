//! `key.dict`: the data keys (facts, encryption at rest §2). What the master key makes of them is in `kms`.

use prost::Message;

use super::pb::{self, KeyDictionary};

/// Why the decrypted content of `key.dict` can not be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyDictError {
    /// Not a key dictionary.
    #[error("the decrypted key.dict is no valid message: {0}")]
    Message(String),
    /// The current key is missing: TiKV panics on it (facts §2.4).
    #[error("key.dict names {0} as its current data key, but has no such key")]
    CurrentMissing(u64),
    /// A method that no TiKV writes.
    #[error("data key {id} has the unknown method {method}")]
    Method {
        /// Data key.
        id: u64,
        /// Number found.
        method: i32,
    },
    /// The key's length does not fit its method.
    #[error("data key {id} has {actual} bytes, its method {method} wants {expected}")]
    Length {
        /// Data key.
        id: u64,
        /// Its method.
        method: crate::api::method::Method,
        /// Bytes that it should have.
        expected: usize,
        /// Bytes that it has.
        actual: usize,
    },
}

/// Reads the plaintext of `key.dict` and checks every key in it.
pub fn parse(plaintext: &[u8]) -> Result<KeyDictionary, KeyDictError> {
    let dict = KeyDictionary::decode(plaintext)
        .map_err(|error| KeyDictError::Message(error.to_string()))?;
    if dict.current_key_id != 0 && !dict.keys.contains_key(&dict.current_key_id) {
        return Err(KeyDictError::CurrentMissing(dict.current_key_id));
    }
    for (&id, key) in &dict.keys {
        let method = pb::method::from_wire(key.method).ok_or(KeyDictError::Method {
            id,
            method: key.method,
        })?;
        if key.key.len() != method.key_len() {
            return Err(KeyDictError::Length {
                id,
                method,
                expected: method.key_len(),
                actual: key.key.len(),
            });
        }
    }
    Ok(dict)
}
