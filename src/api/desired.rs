//! What the operator wants of a data directory: the content of the agents' ConfigMap.

use std::num::{NonZeroU8, NonZeroU64};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::compaction::CompactionOrder;
use super::key_dict::EnvelopeWish;
use super::method::Method;

/// Desired state, not an order: reading it twice, or after a restart of anything, is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DesiredState {
    /// Grows with every change; comes back in the report as `desiredGeneration`.
    pub generation: i64,
    /// Method that every file must have. `plaintext` needs `decrypt`.
    pub method: Method,
    /// Data keys made before this moment must not protect any file any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_key_not_before: Option<Timestamp>,
    /// False: look and report, re-encrypt nothing.
    pub reencrypt: bool,
    /// How new files are proven before the old ones go.
    #[serde(default)]
    pub verification: Verification,
    /// How much of the machine a run may take, and for how long.
    #[serde(default, skip_serializing_if = "RunLimits::is_none")]
    pub limits: RunLimits,
    /// Present: old data keys are got rid of by compaction of the running TiKV, as far as that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<CompactionOrder>,
    /// Keys of a KMS's making that must not seal `key.dict` any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeWish>,
    /// The explicit intent without which nothing is ever decrypted to plaintext.
    #[serde(default)]
    pub decrypt: bool,
    /// Common names that may ask the agent's HTTPS server.
    #[serde(default)]
    pub allowed_names: Vec<String>,
    /// Full verifications that are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofDesired>,
}

/// Bytes a second that a verification reads when nothing else is asked for: 32 MiB.
pub const VERIFICATION_RATE: i64 = 32 << 20;

/// What is wanted of the verification of the store that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProofDesired {
    /// A verification that began before this moment is too old.
    pub not_before: Timestamp,
    /// How fast files are read.
    pub bytes_per_second: NonZeroU64,
}

/// Bounds of a run; what is not set is bounded by the machine only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunLimits {
    /// Files that are rewritten at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroU8>,
    /// Bytes of content a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
    /// Reads and writes a second, of at most 1 MiB each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<NonZeroU64>,
    /// After so many seconds no further batch of files begins; TiKV starts, and its next start goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<NonZeroU64>,
}

impl RunLimits {
    /// True when nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of a rewritten file is read back and compared before the old one is replaced.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Verification {
    /// Head and tail are read back, decrypted and checked against what the file's kind must look like.
    Structure,
    /// Everything is read back from the device and its digest compared. The default.
    #[default]
    Full,
}
