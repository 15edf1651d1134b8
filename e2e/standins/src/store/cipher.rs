//! Ciphers in counter mode at any offset, by OpenSSL.

use openssl::symm::{Cipher, Crypter, Mode};

use crate::Result;

/// `EncryptionMethod` on disk.
pub const PLAINTEXT: i32 = 1;

/// The number of a method by TiKV's name.
pub fn method(name: &str) -> Result<i32> {
    match name.to_ascii_lowercase().as_str() {
        "" | "plaintext" => Ok(PLAINTEXT),
        "aes128-ctr" => Ok(2),
        "aes192-ctr" => Ok(3),
        "aes256-ctr" => Ok(4),
        "sm4-ctr" => Ok(5),
        other => Err(format!("unknown data-encryption-method {other}")),
    }
}

/// Length of a data key.
pub fn key_length(method: i32) -> usize {
    match method {
        2 | 5 => 16,
        3 => 24,
        4 => 32,
        _ => 0,
    }
}

/// Encrypts or decrypts the bytes that begin at `offset` of a file.
pub fn apply(method: i32, key: &[u8], iv: &[u8], offset: u64, data: &[u8]) -> Result<Vec<u8>> {
    let cipher = match method {
        PLAINTEXT => return Ok(data.to_vec()),
        2 => Cipher::aes_128_ctr(),
        3 => Cipher::aes_192_ctr(),
        4 => Cipher::aes_256_ctr(),
        5 => Cipher::sm4_ctr(),
        other => return Err(format!("method {other} is unknown")),
    };
    let first: [u8; 16] = iv.try_into().map_err(|_| "the IV does not have 16 bytes")?;
    let counter = u128::from_be_bytes(first).wrapping_add(u128::from(offset / 16));
    let skip = usize::try_from(offset % 16).unwrap_or(0);
    let work = || {
        let mut crypter = Crypter::new(cipher, Mode::Encrypt, key, Some(&counter.to_be_bytes()))?;
        let padded = [&vec![0; skip], data].concat();
        let mut out = vec![0; padded.len() + 16];
        let length = crypter.update(&padded, &mut out)?;
        Ok::<_, openssl::error::ErrorStack>(out[skip..length].to_vec())
    };
    work().map_err(|error| format!("cipher: {error}"))
}
