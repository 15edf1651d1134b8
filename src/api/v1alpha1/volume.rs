//! `TikvVolume`: the data directory of one TiKV pod, made by the operator.

#![allow(
    clippy::duplicated_attributes,
    reason = "every printer column is an attribute of the same name"
)]

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::method::Method;
use crate::api::report::{AgentReport, VerificationReport};

/// The data directory of one TiKV pod: what it should be and what was measured. Made by the operator; do not edit.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "security.tikv.org",
    version = "v1alpha1",
    kind = "TikvVolume",
    shortname = "tkvol",
    category = "tikv",
    namespaced,
    status = "TikvVolumeStatus",
    derive = "PartialEq",
    doc = "The data directory of one TiKV pod: what it should be and what was measured. Made by the operator.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.security"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Encrypted", type_ = "string", json_path = ".status.encrypted"),
    printcolumn(
        name = "Plaintext",
        type_ = "integer",
        json_path = ".status.report.coverage.plaintextBytes"
    ),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(
        name = "Verified",
        type_ = "date",
        json_path = ".status.lastVerification.finishedAt"
    ),
    printcolumn(
        name = "Store",
        type_ = "integer",
        json_path = ".status.storeId",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TikvVolumeSpec {
    /// The `TikvSecurity` that made this object.
    pub security: String,
    /// The pod.
    pub pod: String,
    /// Method that every file must have.
    pub method: Method,
    /// Data keys made before this moment must not protect any file any more.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_key_not_before: Option<Timestamp>,
    /// False: existing files are left as they are.
    pub reencrypt: bool,
    /// A full verification that began before this moment is too old.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_not_before: Option<Timestamp>,
    /// Generation of this desired state; the report names the one that it answers.
    pub generation: i64,
}

/// What was measured of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TikvVolumeStatus {
    /// Where it stands, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<VolumePhase>,
    /// Where it stands, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The store in PD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<u64>,
    /// Encrypted share, as `100%`. Rounded down: 100% means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<String>,
    /// Progress of a run that lasts, as `45%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What the agent answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<AgentReport>,
    /// Why the agent gives no answer now; the report is then an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// What the pod's ports really serve, by handshake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<ServedCertificate>,
    /// The last start of the pod for this desired state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// The last full verification, also of an earlier life of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<VerificationReport>,
    /// Since when a verification that was to be done is overdue.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_overdue_since: Option<Timestamp>,
}

/// Where a volume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumePhase {
    /// The agent was not heard of.
    Unknown,
    /// The pod must restart before the agent can work.
    Waiting,
    /// The agent works; TiKV is held back.
    Working,
    /// TiKV is held back because the data is between two states, or its master key can not be had, and the agent can not go
    /// on.
    Held,
    /// The agent tried and could not.
    Failed,
    /// TiKV runs, and its tables are compacted under a new data key, or wait for that.
    Compacting,
    /// Every file is as desired.
    AsDesired,
}

/// A certificate that a port served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedCertificate {
    /// The port.
    pub port: u16,
    /// Serial number, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Last moment of validity.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Why no certificate was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A start of the pod under a desired state. There is one for each; if it fails a person must look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Generation of the desired state.
    pub generation: i64,
    /// When the pod was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
}
