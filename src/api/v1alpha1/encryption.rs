//! Encryption at rest.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::pkcs11::Pkcs11;
use super::vault::VaultTransit;
use super::verification::Cron;
use crate::api::desired::Verification;
use crate::api::method::Method;

/// Encryption at rest of every TiKV store, old data included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.masterKeyRotationPeriod) || !(has(self.masterKey.file) || has(self.masterKey.vaultTransit) || has(self.masterKey.pkcs11))").message("this kind of master key makes no keys of its own: leave masterKeyRotationPeriod out, and name another key in masterKey when you want one"))]
pub struct Encryption {
    /// How data is encrypted. `plaintext` decrypts everything.
    pub method: Method,
    /// What the data keys are wrapped by. Exactly one.
    pub master_key: MasterKey,
    /// How often `key.dict` of each store is sealed under another key of the KMS's making, by itself: the master key stays.
    /// Absent: only when `rotate.masterKey` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h')").message("masterKeyRotationPeriod must be at least 1h, because each time every store restarts; 2160h is usual"))]
    pub master_key_rotation_period: Option<GoDuration>,
    /// How long TiKV uses one data key for new files.
    #[serde(default = "rotation_period")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m')").message("dataKeyRotationPeriod must be at least 10m, because TiKV looks every 10 minutes; 168h is usual"))]
    pub data_key_rotation_period: GoDuration,
    /// What happens to files that exist already.
    #[serde(default)]
    pub reencryption: Reencryption,
}

/// The key that wraps the data keys of every store. Changing it rotates the master key: the stores are restarted one by one,
/// and each seals its data keys under the new key before TiKV starts. The old key must stay usable until the status says
/// that the rotation has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.awsKms), has(self.gcpKms), has(self.azureKeyVault), has(self.vaultTransit), has(self.pkcs11), has(self.file)].exists_one(one, one)").message("exactly one master key: write one of awsKms, gcpKms, azureKeyVault, vaultTransit, pkcs11 and file")
)]
pub struct MasterKey {
    /// AWS KMS, or whatever speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_kms: Option<AwsKms>,
    /// Google Cloud KMS. TiKV 8.0.0 or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp_kms: Option<GcpKms>,
    /// Azure Key Vault, with a managed HSM beside it. TiKV 7.2.0 or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<AzureKeyVault>,
    /// The transit engine of HashiCorp Vault or OpenBao, which TiKV does not know: the agent unwraps the key into memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_transit: Option<VaultTransit>,
    /// A hardware security module, by PKCS#11, which TiKV does not know: the agent unwraps the key into memory. Needs the
    /// image for HSMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs11: Option<Pkcs11>,
    /// A key in a Secret. Not in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileMasterKey>,
}

/// A key in AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsKms {
    /// Key id, ARN or alias of a symmetric key.
    #[schemars(length(min = 1, max = 2048))]
    pub key_id: String,
    /// Region of the key.
    #[schemars(length(min = 1, max = 64))]
    pub region: String,
    /// URL of the service when it is not AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub endpoint: Option<String>,
    /// Secret with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and maybe `AWS_SESSION_TOKEN`. Better is none: the
    /// identity of the pods' service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretRef>,
}

/// A key in Google Cloud KMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.endpoint) || self.vendor == 'gcp_v2'").message("endpoint is read by TiKV's second client only; write vendor: gcp_v2, or no endpoint"))]
pub struct GcpKms {
    /// Resource name of a symmetric key, without a version: `projects/P/locations/L/keyRings/R/cryptoKeys/K`. The location
    /// must offer Cloud HSM, whose random bytes TiKV asks for.
    #[schemars(
        length(max = 512),
        regex(pattern = "^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$")
    )]
    pub key_id: String,
    /// Which of TiKV's clients is used. One does not open what the other sealed: changing it rotates the master key.
    #[serde(default)]
    pub vendor: GcpVendor,
    /// URL of the service when it is not Google's own. `gcp_v2` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub endpoint: Option<String>,
    /// A credentials file of Google in a Secret: `service_account`; with `gcp_v2` also `external_account`. Better is none:
    /// workload identity, the identity of the pods' service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretKeyRef>,
}

/// TiKV's clients for Google Cloud KMS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcpVendor {
    /// TiKV 8.0.0 or later.
    #[default]
    Gcp,
    /// TiKV 8.5.7 or later: Google's own library, workload identity federation, endpoint.
    GcpV2,
}

impl GcpVendor {
    /// TiKV's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gcp => "gcp",
            Self::GcpV2 => "gcp_v2",
        }
    }
}

/// A key in Azure Key Vault or in a managed HSM. TiKV knows public Azure only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureKeyVault {
    /// Name of an RSA key, without a version: TiKV uses the current one, so the key must never be rotated in the vault.
    #[schemars(length(max = 127), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub key_name: String,
    /// URL of the vault or managed HSM that has the key: `https://NAME.vault.azure.net` or `https://NAME.managedhsm.azure.net`.
    #[schemars(
        length(max = 256),
        regex(pattern = "^https://[0-9A-Za-z-]+[.][0-9A-Za-z.-]+/?$")
    )]
    pub keyvault_url: String,
    /// Name of a managed HSM, the first label of its address: TiKV has it make the random bytes of data keys.
    #[schemars(length(max = 63), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub hsm_name: String,
    /// Directory (tenant) of the application.
    #[schemars(length(max = 253), regex(pattern = "^[0-9A-Za-z.-]+$"))]
    pub tenant_id: String,
    /// The application (client) that may use the key.
    #[schemars(length(max = 64), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub client_id: String,
    /// Certificate and key of the application in a Secret: PKCS#12 without a password. It is the only way of TiKV that
    /// puts no secret into its configuration, which it prints.
    pub client_certificate_secret: SecretKeyRef,
}

/// A master key in a Secret, mounted as TiKV's `file` key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileMasterKey {
    /// Where the key is: 64 hexadecimal digits and a newline, 65 bytes.
    pub secret: SecretKeyRef,
}

/// A Secret in the namespace of the `TikvSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret in the namespace of the `TikvSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What happens to files that exist already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.mode) || self.mode != 'Compaction' || !has(self.limits) || (!has(self.limits.bytesPerSecond) && !has(self.limits.requestsPerSecond) && !has(self.limits.timeLimit))").message("mode Compaction knows limits.threads alone: TiKV's own rocksdb.rate-bytes-per-sec bounds what a compaction writes; take bytesPerSecond, requestsPerSecond and timeLimit out, or write mode: Restart"))]
#[x_kube(
    validation = Rule::new("!has(self.schedule) || !has(self.policy) || self.policy != 'Never'").message("reencryption.schedule asks for what policy Never forbids; write policy: OnRotation, or no schedule"),
    validation = Rule::new("!has(self.timeZone) || has(self.schedule)").message("reencryption.timeZone is the time zone of reencryption.schedule; write both, as in schedule: '0 2 1 * *', or neither")
)]
pub struct Reencryption {
    /// How old data keys are got rid of.
    #[serde(default)]
    pub mode: ReencryptionMode,
    /// When they are rewritten.
    #[serde(default)]
    pub policy: ReencryptionPolicy,
    /// How rewritten files are proven before the old ones go.
    #[serde(default)]
    pub verification: Verification,
    /// How much of a node a store may take while its files are rewritten, and for how long. Without limits: all of it,
    /// until it is done. A store is away meanwhile.
    #[serde(default, skip_serializing_if = "ReencryptionLimits::is_none")]
    pub limits: ReencryptionLimits,
    /// When every file is rewritten under a new data key, store by store, as if `rotate.dataKey` asked for it then: five
    /// fields of cron, as in `0 2 1 * *`. Not with policy Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Cron>,
    /// Time zone of the schedule, by its IANA name, as in `Europe/Berlin`. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_+/-]*$")
    )]
    pub time_zone: Option<String>,
}

/// Bounds of one run of one store; what is not set is bounded by the machine only. New bounds count from the next start
/// of a store on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReencryptionLimits {
    /// Files that are rewritten at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 64").message("threads must be between 1 and 64; without it there is one for each processor, from 2 to 8"))]
    pub threads: Option<i32>,
    /// Bytes of content a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1048576").message("bytesPerSecond must be at least 1048576, because 1 TiB would take weeks with less; 104857600 (100 MiB) is gentle on most disks"))]
    pub bytes_per_second: Option<i64>,
    /// Reads and writes a second, of at most 1 MiB each: what cloud disks count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 10").message("requestsPerSecond must be at least 10; 1000 is gentle on most disks"))]
    pub requests_per_second: Option<i64>,
    /// After so long a store stops, TiKV starts, and a later restart of the store goes on. The operator restarts it again
    /// until everything is as desired, as long as each run gets further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')").message("timeLimit must be between 1m and 168h; 30m is usual"))]
    pub time_limit: Option<GoDuration>,
}

impl ReencryptionLimits {
    /// True when nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How old data keys are got rid of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReencryptionMode {
    /// Store by store, by the agent, while TiKV is stopped: every file.
    #[default]
    Restart,
    /// Store by store, by a full compaction of the running TiKV: tables only, under the data key that TiKV made last. Manifests,
    /// options, logs and blobs stay under old data keys until a store restarts for another reason. Not for the first encryption,
    /// another method or plaintext.
    Compaction,
}

/// When existing files are rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReencryptionPolicy {
    /// Not at all: only new files are as desired.
    Never,
    /// When encryption starts, the method changes or `rotate.dataKey` asks for it.
    #[default]
    OnRotation,
    /// As OnRotation, and each time that `dataKeyRotationPeriod` has passed since.
    Always,
}

impl fmt::Display for ReencryptionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::OnRotation => "OnRotation",
            Self::Always => "Always",
        })
    }
}

fn rotation_period() -> GoDuration {
    GoDuration::hours(168)
}
