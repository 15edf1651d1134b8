//! Requests and answers of Cloud KMS. Bytes are base64, their CRC-32C goes with them in both directions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::kms::error::Class;
use crate::kms::rest::Failure;

#[derive(Deserialize)]
pub(super) struct CryptoKey {
    pub(super) purpose: Option<String>,
    pub(super) primary: Option<CryptoKeyVersion>,
}

#[derive(Deserialize)]
pub(super) struct CryptoKeyVersion {
    pub(super) state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Random {
    pub(super) data: Content,
    #[serde(deserialize_with = "number")]
    pub(super) data_crc32c: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encrypted {
    pub(super) ciphertext: Content,
    #[serde(deserialize_with = "number")]
    pub(super) ciphertext_crc32c: u32,
    #[serde(default)]
    pub(super) verified_plaintext_crc32c: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decrypted {
    pub(super) plaintext: Content,
    #[serde(deserialize_with = "number")]
    pub(super) plaintext_crc32c: u32,
}

/// The public half of a version that signs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublicKey {
    pub(super) pem: String,
    pub(super) algorithm: String,
    #[serde(deserialize_with = "number")]
    pub(super) pem_crc32c: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signed {
    /// The version that signed.
    pub(super) name: String,
    pub(super) signature: Content,
    #[serde(deserialize_with = "number")]
    pub(super) signature_crc32c: u32,
    #[serde(default)]
    pub(super) verified_digest_crc32c: bool,
}

/// Bytes that may be a key.
pub(super) struct Content(Zeroizing<Vec<u8>>);

impl Content {
    /// The bytes, if they arrived whole.
    pub(super) fn checked(mut self, crc: u32) -> Result<Vec<u8>, Failure> {
        if crc32c::crc32c(&self.0) != crc {
            return Err(damaged());
        }
        Ok(std::mem::take(&mut self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = STANDARD.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| serde::de::Error::custom("no base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Something changed between here and there; TiKV tries that again too.
pub(super) fn damaged() -> Failure {
    let message = "what arrived has another checksum than what was sent";
    Failure::new(Class::Unavailable, message)
}

/// 32 bytes from an HSM: what TiKV makes its data key of.
pub(super) fn random_bytes() -> Zeroizing<String> {
    let text = r#"{"lengthBytes":32,"protectionLevel":"HSM"}"#;
    Zeroizing::new(text.to_owned())
}

/// `{"NAME": "base64", "NAMECrc32c": "number"}`, written here so that no copy of a key is left in a library.
pub(super) fn content(name: &str, bytes: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(bytes));
    let crc = crc32c::crc32c(bytes);
    Zeroizing::new(format!(
        r#"{{"{name}":"{}","{name}Crc32c":"{crc}"}}"#,
        text.as_str()
    ))
}

/// A digest that is to be signed.
pub(super) fn digest(sha256: &[u8]) -> Zeroizing<String> {
    let text = STANDARD.encode(sha256);
    let crc = crc32c::crc32c(sha256);
    Zeroizing::new(format!(
        r#"{{"digest":{{"sha256":"{text}"}},"digestCrc32c":"{crc}"}}"#
    ))
}

/// An int64 of protocol buffers: a string in JSON.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| serde::de::Error::custom("no CRC-32C"))
}
