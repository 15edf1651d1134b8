//! Requests and answers of Key Vault. Bytes are base64 in the alphabet of URLs, without padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::seconds;
use crate::kms::error::Class;
use crate::kms::rest::{Answer, Failure};

/// A key as `GET keys/NAME` tells it.
#[derive(Deserialize)]
pub(super) struct KeyBundle {
    key: JsonWebKey,
    #[serde(default)]
    attributes: Value,
}

#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
}

impl KeyBundle {
    /// Whether it can wrap and unwrap at this second.
    pub(super) fn usable(&self, now: u64) -> Result<(), Failure> {
        let refused = |class, message: &str| Err(Failure::new(class, message));
        let attributes = &self.attributes;
        if attributes["enabled"] == Value::Bool(false) {
            return refused(Class::Disabled, "its current version is disabled");
        }
        if seconds(attributes, "exp").is_some_and(|end| end <= now) {
            return refused(Class::Disabled, "its current version has expired");
        }
        if seconds(attributes, "nbf").is_some_and(|begin| begin > now) {
            return refused(Class::Disabled, "its current version is not valid yet");
        }
        if !self.key.kty.starts_with("RSA") {
            let message = format!("it is a key of type {}; RSA is needed", self.key.kty);
            return refused(Class::WrongKey, &message);
        }
        let allowed = |operation: &str| self.key.key_ops.iter().any(|found| found == operation);
        if allowed("encrypt") && allowed("decrypt") {
            return Ok(());
        }
        let message = format!(
            "its operations are {}; encrypt and decrypt are needed",
            self.key.key_ops.join(", ")
        );
        refused(Class::WrongKey, &message)
    }
}

/// What an operation gave.
#[derive(Deserialize)]
pub(super) struct Operation {
    pub(super) value: Content,
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
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        let bytes = bytes.map_err(|_| serde::de::Error::custom("no base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// The body of an operation, written here so that no copy of a key is left in a library.
pub(super) fn operation(content: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(content));
    Zeroizing::new(format!(
        r#"{{"alg":"RSA-OAEP-256","value":"{}"}}"#,
        text.as_str()
    ))
}

/// An answer that was 200.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    if answer.status != 200 {
        return Err(super::classify(answer, false));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let message = format!("its answer is not what Key Vault says ({place})");
        Failure::new(Class::Malformed, message)
    })
}
