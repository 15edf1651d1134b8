//! Requests and answers of Vault. Bytes are base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::kms::error::Class;
use crate::kms::rest::{Answer, Failure, secret};

/// What most answers are wrapped in.
#[derive(Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// A key as `GET keys/NAME` tells it.
#[derive(Deserialize)]
pub(super) struct Key {
    #[serde(rename = "type")]
    kind: String,
    supports_encryption: bool,
    supports_decryption: bool,
    #[serde(default)]
    derived: bool,
    /// OpenBao only.
    #[serde(default)]
    soft_deleted: bool,
}

impl Key {
    /// Whether it can wrap and unwrap.
    pub(super) fn usable(&self) -> Result<(), Failure> {
        let refused = |class, message: String| Err(Failure::new(class, message));
        if self.soft_deleted {
            return refused(Class::Disabled, "it is soft-deleted".to_owned());
        }
        if !(self.supports_encryption && self.supports_decryption) {
            let message = format!("a key of type {} can not encrypt and decrypt", self.kind);
            return refused(Class::WrongKey, message);
        }
        if self.derived {
            let message = "it is derived: it needs a context, and none is given".to_owned();
            return refused(Class::WrongKey, message);
        }
        Ok(())
    }
}

/// A data key that was made.
#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) plaintext: Content,
    pub(super) ciphertext: String,
}

/// What was unwrapped.
#[derive(Deserialize)]
pub(super) struct Plain {
    pub(super) plaintext: Content,
}

/// What a login gives.
#[derive(Deserialize)]
pub(super) struct LoggedIn {
    pub(super) auth: Granted,
}

#[derive(Deserialize)]
pub(super) struct Granted {
    #[serde(deserialize_with = "secret")]
    pub(super) client_token: Zeroizing<String>,
    /// Seconds; 0 for ever.
    #[serde(default)]
    pub(super) lease_duration: u64,
}

/// A token as `auth/token/lookup-self` tells it.
#[derive(Deserialize)]
pub(super) struct Lease {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    creation_ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Lease {
    /// Whether half of its life is over.
    pub(super) fn is_due(&self) -> bool {
        self.renewable && self.ttl.saturating_mul(2) <= self.creation_ttl
    }
}

/// Bytes that may be a key.
pub(super) struct Content(Zeroizing<Vec<u8>>);

impl Content {
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
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

/// Whether these bytes look like what a transit engine makes: `vault:vN:BASE64`.
pub(super) fn is_wrapped(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let parts = text.and_then(|text| text.strip_prefix("vault:v")?.split_once(':'));
    parts.is_some_and(|(version, content)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_digit())
            && !content.is_empty()
            && content
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    })
}

/// The body of a request to unwrap. Only what [`is_wrapped`] takes needs no escaping.
pub(super) fn ciphertext(wrapped: &[u8]) -> String {
    format!(r#"{{"ciphertext":"{}"}}"#, String::from_utf8_lossy(wrapped))
}

/// An answer that was 200.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let message = format!("its answer is not what Vault says ({place})");
        Failure::new(Class::Malformed, message)
    })
}
