//! What is true of a cluster: measured, never assumed.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authority::CertificateAuthorityStatus;
use super::clients::TrustStatus;
use super::export::ExportStatus;
use super::revocation::RevocationStatus;
use super::rotation::{KeyRing, RotationStatus};
use crate::api::method::Method;

/// Types of the conditions.
pub mod condition {
    /// Everything that was asked for is true and proven.
    pub const READY: &str = "Ready";
    /// Every leaf certificate is valid, and each port serves the one in the Secret.
    pub const CERTIFICATES_READY: &str = "CertificatesReady";
    /// The pod templates carry the configuration that the spec asks for.
    pub const CONFIGURATION_CURRENT: &str = "ConfigurationCurrent";
    /// Every pod runs its template, and no store is being disturbed.
    pub const ROLLOUT_COMPLETE: &str = "RolloutComplete";
    /// The master key was described and wrapped and unwrapped a key.
    pub const MASTER_KEY_REACHABLE: &str = "MasterKeyReachable";
    /// Every file of every store is as desired, by the agents' measurement.
    pub const DATA_ENCRYPTED: &str = "DataEncrypted";
    /// Something must be done by a person before it goes on. True is bad.
    pub const BLOCKED: &str = "Blocked";
    /// Somebody else changed or deleted what this operator made, and it is not put back yet. True is bad.
    pub const DRIFT: &str = "Drift";
    /// Every copy outside of the cluster holds what its Secret holds. Only where copies are asked for.
    pub const EXPORTED: &str = "Exported";
    /// All types that are always there, in the order in which they are shown.
    pub const ALL: [&str; 8] = [
        READY,
        CERTIFICATES_READY,
        CONFIGURATION_CURRENT,
        ROLLOUT_COMPLETE,
        MASTER_KEY_REACHABLE,
        DATA_ENCRYPTED,
        DRIFT,
        BLOCKED,
    ];
}

/// Reasons of conditions that are used in more than one place.
pub mod reason {
    /// As it should be.
    pub const AS_DESIRED: &str = "AsDesired";
    /// Not asked for.
    pub const NOT_REQUESTED: &str = "NotRequested";
    /// Under way.
    pub const IN_PROGRESS: &str = "InProgress";
    /// Could not be measured.
    pub const UNKNOWN: &str = "Unknown";
    /// See the condition Blocked.
    pub const BLOCKED: &str = "Blocked";
    /// Every table is under a new data key; other files are under old ones until their stores restart.
    pub const OLD_KEYS_UNTIL_RESTART: &str = "OldKeysUntilRestart";
    /// TLS on a live plaintext cluster needs permission for downtime.
    pub const DOWNTIME_NOT_ALLOWED: &str = "DowntimeNotAllowed";
}

/// Status of a `TikvSecurity`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TikvSecurityStatus {
    /// Generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Where it stands, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Standard conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the rollout does and waits for.
    #[serde(default)]
    pub rollout: RolloutStatus,
    /// Every certificate made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// The certificates of the CA in the namespaces of `tls.trust`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<TrustStatus>,
    /// Copies of sets outside of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportStatus>,
    /// Revoked certificates, those that the cluster may still accept first, then the newest; at most 50. All are in the ConfigMap `X-crl`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<RevocationStatus>,
    /// PD's addresses, as PD itself tells them to clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pd_endpoints: Vec<String>,
    /// When the next certificate is renewed.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_renewal: Option<Timestamp>,
    /// Measured encryption of all stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionStatus>,
    /// The master key as the operator proved it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<MasterKeyStatus>,
    /// Rotations, the newest last; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<RotationRecord>,
    /// The rotation of master keys that is asked for or under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key_rotation: Option<RotationStatus>,
    /// The rotation of the certificate authority that is asked for or under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthorityStatus>,
    /// The master keys that the pods are configured with: a copy of what the agents' ConfigMap keeps, for the day on which
    /// that one is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub master_keys: Option<KeyRing>,
    /// What others changed of that which this operator made, the newest last; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftRecord>,
}

/// Rules for what a person writes do not hold for the operator's memory.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Certificates and configuration are being made.
    Preparing,
    /// A person must do something; see the condition Blocked.
    Blocked,
    /// Pods are being restarted.
    RollingOut,
    /// The whole cluster restarts once into TLS.
    SwitchingToTls,
    /// Nothing is begun, on request.
    Paused,
    /// Something was tried and failed; see the conditions.
    Degraded,
    /// Done; the last proofs are awaited.
    Proving,
    /// Everything is as desired and proven.
    Ready,
    /// The object is being deleted.
    Deleting,
}

/// The rollout. Only `evicting`, `restoreMaxStoreDownTime`, `pendingBefore` and `since` are ever read back: they can not be derived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is being done.
    #[serde(default)]
    pub phase: RolloutPhase,
    /// The pod in work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its store in PD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<u64>,
    /// Why that pod restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is awaited before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Since when the phase, the pod and the store are these.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Stores whose leaders this operator evicts. Written before PD is told, emptied after PD has forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicting: Vec<u64>,
    /// PD's `max-store-down-time` as it was before it was raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_max_store_down_time: Option<String>,
    /// Regions that lagged before the first store was disturbed: the level to come back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_before: Option<u64>,
    /// TiKV pods that need no restart, of all, as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
}

/// Step of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Nothing to restart.
    #[default]
    Idle,
    /// The cluster must be well before the next pod.
    AwaitingHealth,
    /// Leaders leave the store.
    Evicting,
    /// The pod is stopped and comes back.
    Restarting,
    /// The agent works; TiKV is held back.
    Reencrypting,
    /// The store is back and catches up.
    CatchingUp,
    /// Quiet time.
    Settling,
    /// The whole cluster restarts once into TLS.
    SwitchingToTls,
    /// Something must be restarted but may not be.
    Held,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Name of its Secret.
    pub name: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Last moment of validity.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub not_after: Timestamp,
    /// When it is renewed.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// Ports that serve it, of those that should, as `6/6`; by handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
    /// Pods and ports that serve another one, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_served: Vec<String>,
}

/// Sum of what the agents measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionStatus {
    /// Method that is desired.
    pub method: Method,
    /// Data keys made before this moment are to be given up.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_key_not_before: Option<Timestamp>,
    /// Stores of which every file is as desired, of all, as `2/3`.
    pub stores: String,
    /// Stores.
    pub stores_total: u64,
    /// Stores of which every file is as desired.
    pub stores_as_desired: u64,
    /// Stores whose agent did not answer now.
    pub stores_unknown: u64,
    /// Bytes of all files that count.
    pub bytes: u64,
    /// Bytes proven encrypted.
    pub encrypted_bytes: u64,
    /// Bytes in the clear.
    pub plaintext_bytes: u64,
    /// Bytes of tables under data keys that are to be given up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub old_key_table_bytes: u64,
    /// Bytes of other files under such keys, which a compaction does not reach: until their stores restart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub old_key_bytes_until_restart: u64,
    /// Encrypted share, as `100%`. Rounded down: 100% means all.
    pub encrypted: String,
}

/// What the operator knows of the master key. Written when the outcome changes, and otherwise once in five minutes: a
/// cluster at rest is not written to at each proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MasterKeyStatus {
    /// Where it is: `awsKms`, `gcpKms`, `azureKeyVault`, `vaultTransit`, `pkcs11`, `file`.
    pub kind: String,
    /// Which one it is there. Never the key.
    pub key: String,
    /// When it last was described and wrapped and unwrapped a key.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// How long that took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<u64>,
    /// When it was asked last.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// Who asked: `operator`. Each store's own proof is in its `TikvVolume`.
    pub by: String,
}

/// One rotation, from the wish to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationRecord {
    /// What was rotated.
    pub kind: RotationKind,
    /// The word that asked for it in `spec.rotate`; absent where a schedule, a period or another change of the spec did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Who asked: the field manager that wrote the spec, or `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What was before: the identifier of a key, a moment, a serial number. Never a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// When it was turned around: what was before is, or is to be, in force again.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_at: Option<Timestamp>,
    /// When it was done and proven; absent while it lasts.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl RotationRecord {
    /// How many are kept.
    pub const KEPT: usize = 20;
}

/// What was rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationKind {
    /// Every file was rewritten under a new data key.
    DataKey,
    /// The key dictionaries were sealed under another master key.
    MasterKey,
    /// The key dictionaries were sealed under another key of the KMS's making; the master key stayed.
    Envelope,
    /// Every leaf certificate was issued anew.
    Certificates,
    /// Another certificate authority signs, and the one before is trusted no more.
    CertificateAuthority,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Something that this operator made and somebody else changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftRecord {
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where in the object; empty: all of it.
    pub path: String,
    /// What was found there, without anything secret.
    pub found: String,
    /// Who wrote the object last, besides this operator: a field manager; absent where the API server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When that was.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// When it was seen.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub seen_at: Timestamp,
    /// What is done about it.
    pub answer: DriftAnswer,
    /// When it was as it should be again; absent while it is not.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl DriftRecord {
    /// How many are kept.
    pub const KEPT: usize = 20;
}

/// What is done about a foreign change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftAnswer {
    /// It is put back.
    PutBack,
    /// It is left as it is, on request.
    Left,
    /// It has no effect: what this operator derives from the object says otherwise.
    Overridden,
}
