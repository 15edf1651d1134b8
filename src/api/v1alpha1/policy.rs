//! `TikvSecurityPolicy`: what every `TikvSecurity` of some namespaces must satisfy.

use std::collections::BTreeMap;
use std::fmt;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::encryption::ReencryptionPolicy;
use super::export::TargetKind;
use super::issuer::{IssuerKind, KeyAlgorithm};
use super::security::Environment;
use crate::api::method::Method;

/// What every `TikvSecurity` in the namespaces with these labels must satisfy. Several policies hold together. An object
/// that violates one is refused at admission; one that was there before the policy is `Blocked`: nothing is begun for
/// it, what runs goes on, certificates are renewed.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "security.tikv.org",
    version = "v1alpha1",
    kind = "TikvSecurityPolicy",
    plural = "tikvsecuritypolicies",
    shortname = "tksp",
    category = "tikv",
    derive = "PartialEq",
    doc = "What every TikvSecurity of some namespaces must satisfy.",
    printcolumn(
        name = "Namespaces",
        type_ = "string",
        json_path = ".spec.namespaceLabels"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TikvSecurityPolicySpec {
    /// Labels that a namespace must have, all of them, for the policy to hold in it. Absent or empty: every namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub namespace_labels: BTreeMap<String, String>,
    /// Allowed values of `environment`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub environments: Option<Vec<Environment>>,
    /// What `tls` must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPolicy>,
    /// What `encryption` must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionPolicy>,
}

/// What `tls` must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsPolicy {
    /// True: `tls` must be asked for.
    #[serde(default)]
    pub required: bool,
    /// Longest allowed validity of leaf certificates (`tls.duration`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m')").message("maxDuration must be at least 10m, the shortest validity of a leaf certificate; 2160h is usual"))]
    pub max_duration: Option<GoDuration>,
    /// Allowed kinds of `tls.issuer`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6))]
    pub issuers: Option<Vec<IssuerKind>>,
    /// Allowed values of `tls.keyAlgorithm`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub key_algorithms: Option<Vec<KeyAlgorithm>>,
    /// Allowed kinds of targets in `tls.export`; empty: none. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub export_targets: Option<Vec<TargetKind>>,
}

/// What `encryption` must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionPolicy {
    /// True: `encryption` must be asked for.
    #[serde(default)]
    pub required: bool,
    /// Allowed values of `encryption.method`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5))]
    pub methods: Option<Vec<Method>>,
    /// Allowed kinds of `encryption.masterKey`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6))]
    pub master_keys: Option<Vec<MasterKeyKind>>,
    /// Longest allowed `encryption.dataKeyRotationPeriod`: how long TiKV uses one data key for new files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m')").message("maxDataKeyRotationPeriod must be at least 10m, because TiKV looks every 10 minutes; 168h is usual"))]
    pub max_data_key_rotation_period: Option<GoDuration>,
    /// Allowed values of `encryption.reencryption.policy`. `[Always]`: no file is under an old data key for long.
    /// Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub reencryption_policies: Option<Vec<ReencryptionPolicy>>,
}

/// Kinds of master keys, by the names of the fields that ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MasterKeyKind {
    /// AWS KMS.
    AwsKms,
    /// Google Cloud KMS.
    GcpKms,
    /// Azure Key Vault.
    AzureKeyVault,
    /// The transit engine of Vault or OpenBao.
    VaultTransit,
    /// A hardware security module, by PKCS#11.
    Pkcs11,
    /// A key in a Secret.
    File,
}

impl fmt::Display for MasterKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsKms => "awsKms",
            Self::GcpKms => "gcpKms",
            Self::AzureKeyVault => "azureKeyVault",
            Self::VaultTransit => "vaultTransit",
            Self::Pkcs11 => "pkcs11",
            Self::File => "file",
        })
    }
}
