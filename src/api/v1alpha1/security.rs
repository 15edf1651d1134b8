//! `TikvSecurity`: what a person wants of one cluster.

use std::fmt;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::encryption::Encryption;
use super::rollout::{Rollout, Rotate};
use super::status::TikvSecurityStatus;
use super::tls::Tls;
use super::verification::Verification;

/// Mutual TLS and encryption at rest of one TiKV cluster, kept true from now on.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "security.tikv.org",
    version = "v1alpha1",
    kind = "TikvSecurity",
    plural = "tikvsecurities",
    shortname = "tks",
    category = "tikv",
    namespaced,
    status = "TikvSecurityStatus",
    derive = "PartialEq",
    doc = "Mutual TLS and encryption at rest of one TiKV cluster, kept true from now on.",
    validation = Rule::new("size(self.metadata.name) <= 40").message("the name must have at most 40 characters, because it becomes part of the names of Secrets and certificates"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Method", type_ = "string", json_path = ".status.encryption.method"),
    printcolumn(name = "Encrypted", type_ = "string", json_path = ".status.encryption.encrypted"),
    printcolumn(name = "Stores", type_ = "string", json_path = ".status.encryption.stores"),
    printcolumn(name = "CA", type_ = "string", json_path = ".status.certificateAuthority.phase", priority = 1),
    printcolumn(name = "Renews", type_ = "date", json_path = ".status.nextRenewal", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.tls) || has(self.encryption)").message("nothing is asked for: write tls, encryption or both"),
    validation = Rule::new("!has(oldSelf.tls) || has(self.tls)").message("tls can not be taken away: the cluster would lose its connections; keep it, or delete the TikvSecurity and undo TLS by hand"),
    validation = Rule::new("!has(oldSelf.encryption) || has(self.encryption)").message("encryption can not be taken away while data is encrypted; to decrypt everything write encryption.method: plaintext"),
    validation = Rule::new("!has(self.encryption) || !has(self.encryption.reencryption) || !has(self.encryption.reencryption.mode) || self.encryption.reencryption.mode != 'Compaction' || self.encryption.method != 'plaintext'").message("reencryption.mode Compaction can not decrypt; write reencryption.mode: Restart"),
    validation = Rule::new("!has(self.encryption) || !has(self.encryption.reencryption) || !has(self.encryption.reencryption.mode) || self.encryption.reencryption.mode != 'Compaction' || (has(oldSelf.encryption) && oldSelf.encryption.method == self.encryption.method)").message("reencryption.mode Compaction can neither encrypt for the first time nor bring another method, because TiKV changes these at its start only; write reencryption.mode: Restart, and Compaction when that is done"),
    validation = Rule::new("!has(self.verification) || has(self.encryption)").message("verification asks for what only the agents can do, and without encryption there are none; write encryption, or no verification"),
    validation = Rule::new("self.environment != 'production' || !has(self.encryption) || !has(self.encryption.masterKey.file)").message("production forbids the file master key, because it is stored in the cluster; write masterKey.awsKms, gcpKms, azureKeyVault, vaultTransit or pkcs11, or environment: staging"),
    validation = Rule::new("self.environment != 'production' || !has(self.encryption) || !has(self.encryption.masterKey.vaultTransit) || !has(self.encryption.masterKey.vaultTransit.auth.token)").message("production forbids to log in to Vault by a token, because whoever has it needs nothing else and a store can not start when it has ended; write auth.kubernetes or auth.appRole, or environment: staging"),
    validation = Rule::new("self.environment != 'production' || !has(self.encryption) || self.encryption.method != 'plaintext'").message("production forbids the method plaintext; write aes256-ctr, or environment: staging"),
    validation = Rule::new("self.environment != 'production' || !has(self.encryption) || !has(self.encryption.reencryption) || !has(self.encryption.reencryption.verification) || self.encryption.reencryption.verification == 'Full'").message("production demands verification Full, so that no byte is given up before its copy was compared; write reencryption.verification: Full"),
    validation = Rule::new("self.environment != 'production' || !has(self.tls) || !has(self.tls.duration) || duration(self.tls.duration) <= duration('9528h')").message("production forbids leaf certificates that are valid for more than 9528h (397 days); write duration: 720h")
)]
pub struct TikvSecuritySpec {
    /// Which policy holds. Production forbids the file master key, a token for Vault, the method plaintext, verification Structure and
    /// leaf certificates that are valid for more than 397 days.
    pub environment: Environment,
    /// The workloads that form the cluster.
    pub cluster: Cluster,
    /// Mutual TLS. Absent: the cluster speaks plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Encryption at rest. Absent: nothing of the data is touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// How pods are restarted.
    #[serde(default)]
    pub rollout: Rollout,
    /// Requests for rotations, and for a verification.
    #[serde(default)]
    pub rotate: Rotate,
    /// What happens when somebody else changes or deletes what this operator made.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// Full verifications of every store by the clock. Absent: only when `rotate.verification` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// What happens when somebody else changes or deletes what this operator made. Seen and told either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// It is put back.
    #[default]
    Correct,
    /// It is left, and no pod is restarted while it lasts. Leaf certificates that would break connections are put back
    /// all the same.
    Report,
}

/// What the cluster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Data that must be kept and kept secret.
    Production,
    /// As production, with room to try.
    Staging,
    /// A playground.
    Development,
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        })
    }
}
