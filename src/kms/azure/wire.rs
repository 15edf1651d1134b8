//! Requests and answers of Key Vault. Bytes are base64 in the alphabet of URLs, without padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::seconds;
use crate::kms::der;
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

/// Whether a version may be used at this second.
fn in_force(attributes: &Value, which: &str, now: u64) -> Result<(), Failure> {
    let refused = |what: &str| Err(Failure::new(Class::Disabled, format!("{which} {what}")));
    if attributes["enabled"] == Value::Bool(false) {
        return refused("is disabled");
    }
    if seconds(attributes, "exp").is_some_and(|end| end <= now) {
        return refused("has expired");
    }
    if seconds(attributes, "nbf").is_some_and(|begin| begin > now) {
        return refused("is not valid yet");
    }
    Ok(())
}

impl KeyBundle {
    /// Whether it can wrap and unwrap at this second.
    pub(super) fn usable(&self, now: u64) -> Result<(), Failure> {
        let refused = |class, message: &str| Err(Failure::new(class, message));
        in_force(&self.attributes, "its current version", now)?;
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

/// A version that signs, with its public half.
#[derive(Deserialize)]
pub(super) struct SigningKey {
    key: PublicWebKey,
    #[serde(default)]
    attributes: Value,
}

#[derive(Deserialize)]
struct PublicWebKey {
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
    crv: Option<String>,
    x: Option<Content>,
    y: Option<Content>,
    n: Option<Content>,
    e: Option<Content>,
}

/// Bytes of a coordinate on P-256.
const COORDINATE: usize = 32;

impl SigningKey {
    /// Subject public key info, when it may sign at this second.
    pub(super) fn public_key(self, now: u64) -> Result<Vec<u8>, Failure> {
        in_force(&self.attributes, "this version", now)?;
        let key = self.key;
        if !key.key_ops.iter().any(|found| found == "sign") {
            let message = format!(
                "its operations are {}; sign is needed",
                key.key_ops.join(", ")
            );
            return Err(Failure::new(Class::WrongKey, message));
        }
        let bytes = |content: Option<Content>| content.map(Content::into_bytes);
        let incomplete = || Failure::new(Class::Malformed, "its public half is not whole");
        match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA" | "RSA-HSM", _) => {
                let (modulus, exponent) = bytes(key.n).zip(bytes(key.e)).ok_or_else(incomplete)?;
                Ok(der::rsa_key(&modulus, &exponent))
            }
            ("EC" | "EC-HSM", Some("P-256")) => {
                let sides = bytes(key.x).zip(bytes(key.y));
                let whole = |(x, y): &(Vec<u8>, Vec<u8>)| [x, y].map(Vec::len) == [COORDINATE; 2];
                let (x, y) = sides.filter(whole).ok_or_else(incomplete)?;
                // Uncompressed (SEC 1, 2.3.3).
                Ok(der::p256_key(&[&[4], x.as_slice(), &y].concat()))
            }
            (kind, curve) => {
                let curve = curve.unwrap_or_default();
                let message = format!("it is a key of type {kind} {curve}");
                Err(Failure::new(Class::WrongKey, message.trim_end()))
            }
        }
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
    algorithm("RSA-OAEP-256", content)
}

/// The same with another algorithm.
pub(super) fn algorithm(name: &str, content: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(content));
    Zeroizing::new(format!(r#"{{"alg":"{name}","value":"{}"}}"#, text.as_str()))
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
