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

/// A method as TiKV's log shows it.
pub fn shown(method: i32) -> &'static str {
    match method {
        1 => "Plaintext",
        2 => "Aes128Ctr",
        3 => "Aes192Ctr",
        4 => "Aes256Ctr",
        5 => "Sm4Ctr",
        _ => "Unknown",
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

/// The key stream of one file.
#[derive(Clone)]
pub struct FileCipher {
    method: i32,
    key: Vec<u8>,
    first: u128,
}

impl FileCipher {
    /// By an entry of the dictionary and its data key.
    pub fn new(method: i32, key: Vec<u8>, iv: &[u8]) -> Result<Self> {
        if !(2..=5).contains(&method) {
            return Err(format!("method {method} is unknown"));
        }
        if key.len() != key_length(method) {
            return Err("the data key has the wrong length".into());
        }
        let first: [u8; 16] = iv.try_into().map_err(|_| "the IV does not have 16 bytes")?;
        Ok(Self {
            method,
            key,
            first: u128::from_be_bytes(first),
        })
    }

    /// Encrypts or decrypts the bytes that begin at `offset` of the file.
    pub fn apply(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        let cipher = match self.method {
            2 => Cipher::aes_128_ctr(),
            3 => Cipher::aes_192_ctr(),
            4 => Cipher::aes_256_ctr(),
            _ => Cipher::sm4_ctr(),
        };
        let counter = self.first.wrapping_add(u128::from(offset / 16));
        let skip = usize::try_from(offset % 16).unwrap_or(0);
        let mut work = || {
            let mut crypter = Crypter::new(
                cipher,
                Mode::Encrypt,
                &self.key,
                Some(&counter.to_be_bytes()),
            )?;
            let mut out = vec![0; data.len() + 32];
            crypter.update(&vec![0; skip], &mut out)?;
            let length = crypter.update(data, &mut out)?;
            data.copy_from_slice(&out[..length]);
            Ok::<_, openssl::error::ErrorStack>(())
        };
        work().map_err(|error| format!("cipher: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::FileCipher;

    #[test]
    fn key_stream_is_that_of_the_vectors() {
        let iv = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        let cipher = FileCipher::new(4, (0..32).collect(), &iv).unwrap();
        let mut stream = [0; 16];
        cipher.apply((1 << 36) + 7, &mut stream).unwrap();
        assert_eq!(
            u128::from_be_bytes(stream),
            0x3caa_edd2_d480_7931_c0ac_ea20_87bb_a613
        );
    }
}
