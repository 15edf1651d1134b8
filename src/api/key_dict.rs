//! What `key.dict` of a store is sealed under: what an agent reports of it, and what it may be asked for.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What opened `key.dict`, measured: it was read from the disk and opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyDictReport {
    /// The configured master key that opened it; absent where there is no `key.dict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<MasterKeyName>,
    /// True when only TiKV's `previous-master-key` opened it.
    #[serde(default)]
    pub previous: bool,
    /// Which key of a KMS's making seals it: a fingerprint of that key as the KMS wrapped it (the first 16 bytes of its
    /// SHA-256, hexadecimal). TiKV keeps this key when it writes `key.dict` anew. Absent for a master key in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
}

/// A master key as TiKV's configuration names it. Never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MasterKeyName {
    /// `aws`, `gcp`, `gcp_v2`, `azure`, `file` or `plaintext`.
    pub kind: String,
    /// Key id, or path of the file.
    pub key: String,
    /// Where a key of this id is: region and endpoint, or the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl fmt::Display for MasterKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)?;
        match &self.place {
            Some(place) => write!(f, " in {place}"),
            None => Ok(()),
        }
    }
}

/// `key.dict` is to be sealed under another key of its master key's making. Reading it twice is harmless: what is not
/// under one of the listed ones is as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvelopeWish {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// The keys that were in use then, by fingerprint as in [`KeyDictReport::envelope`].
    pub not: Vec<String>,
}

impl EnvelopeWish {
    /// True when what was reported is under one of the keys that are to be given up.
    pub fn is_against(&self, report: &KeyDictReport) -> bool {
        let envelope = report.envelope.as_ref();
        envelope.is_some_and(|envelope| self.not.contains(envelope))
    }
}
