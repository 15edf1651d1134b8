//! Copies of certificates for those outside the Kubernetes cluster. Whoever has to know the kind of a target matches on [`TargetChoice`], exhaustively.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encryption::{SecretKeyRef, SecretRef};
use super::vault::VaultAuth;

/// A set of the cluster, outside of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.vault), has(self.awsSecretsManager)].exists_one(one, one)").message("exactly one target of an export: write one of vault and awsSecretsManager; another target is another entry"))]
pub struct SetExport {
    /// Which one.
    #[serde(default)]
    pub set: ExportedSet,
    /// What becomes of the copy when this entry or the `TikvSecurity` goes.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The KV engine, version 2, of HashiCorp Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultKv>,
    /// AWS Secrets Manager, or whatever speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_secrets_manager: Option<AwsSecretsManager>,
}

/// The certificate of a client, outside of the cluster. The operator lends its own identity to nobody: how it logs in comes from Secrets
/// of this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.vault), has(self.awsSecretsManager)].exists_one(one, one)").message("exactly one target of an export: write one of vault and awsSecretsManager; another target is another entry"),
    validation = Rule::new("!has(self.vault) || !has(self.vault.auth.kubernetes)").message("vault.auth.kubernetes would be the operator's own identity, which is lent to nobody; write auth.appRole or auth.token"),
    validation = Rule::new("!has(self.awsSecretsManager) || has(self.awsSecretsManager.credentialsSecret)").message("without credentialsSecret it would be the operator's own identity, which is lent to nobody; name a Secret of this namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
)]
pub struct Export {
    /// What becomes of the copy when this entry or the `TikvClientCertificate` goes.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The KV engine, version 2, of HashiCorp Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultKv>,
    /// AWS Secrets Manager, or whatever speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_secrets_manager: Option<AwsSecretsManager>,
}

/// Sets of a cluster that may be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExportedSet {
    /// That of clients, which the operator uses too: `X-client-tls`.
    #[default]
    Client,
    /// TiKV's: `X-tikv-tls`.
    Tikv,
    /// PD's: `X-pd-tls`.
    Pd,
}

/// What becomes of a copy that is not wanted any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays as it is, and is not renewed.
    #[default]
    Retain,
    /// It is deleted. In AWS Secrets Manager it can be restored for 30 days.
    Delete,
}

/// A secret in a KV engine, version 2: `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultKv {
    /// URL of Vault, without a path: `https://vault.example.com:8200`.
    #[schemars(length(max = 512), regex(pattern = "^https://[^/?#\\s]+/?$"))]
    pub address: String,
    /// Certificates of the authorities that signed Vault's certificate, in PEM, in a Secret. Absent: those of the
    /// program's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeyRef>,
    /// Namespace of Vault Enterprise or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z._-]+(/[0-9A-Za-z._-]+)*$")
    )]
    pub namespace: Option<String>,
    /// Path at which the engine is mounted.
    #[serde(default = "mount")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub mount: String,
    /// Path of the secret, as `vault kv get -mount=MOUNT PATH` takes it. One that is there already and is not this export's is never written over.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub path: String,
    /// How the operator shows who it is. Exactly one. Of `kubernetes`, `operatorRole` is used, or `role` without it.
    pub auth: VaultAuth,
}

/// A secret of AWS Secrets Manager: a JSON object with `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsSecretsManager {
    /// Name of the secret. One that is there already and is not this export's is never written over.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[0-9A-Za-z/_+=.@-]+$"))]
    pub name: String,
    /// Region.
    #[schemars(length(min = 1, max = 64))]
    pub region: String,
    /// Key of AWS KMS that encrypts the secret, by ARN, id or alias. Counts when the secret is created. Absent: AWS's own,
    /// `aws/secretsmanager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
    /// URL of the service when it is not AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub endpoint: Option<String>,
    /// Secret with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and maybe `AWS_SESSION_TOKEN`. Better is none: the
    /// identity of the operator's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretRef>,
}

/// The one target that is named.
#[derive(Clone, Copy, Debug)]
pub enum TargetChoice<'a> {
    /// Vault or OpenBao.
    Vault(&'a VaultKv),
    /// AWS.
    AwsSecretsManager(&'a AwsSecretsManager),
}

impl Export {
    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub fn choice(&self) -> Option<TargetChoice<'_>> {
        match (&self.vault, &self.aws_secrets_manager) {
            (Some(vault), None) => Some(TargetChoice::Vault(vault)),
            (None, Some(aws)) => Some(TargetChoice::AwsSecretsManager(aws)),
            _ => None,
        }
    }
}

impl From<&SetExport> for Export {
    fn from(of: &SetExport) -> Self {
        Self {
            deletion_policy: of.deletion_policy,
            vault: of.vault.clone(),
            aws_secrets_manager: of.aws_secrets_manager.clone(),
        }
    }
}

impl TargetChoice<'_> {
    /// Its kind.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Vault(_) => TargetKind::Vault,
            Self::AwsSecretsManager(_) => TargetKind::AwsSecretsManager,
        }
    }
}

/// Where the copy is: the same text, the same place.
impl fmt::Display for TargetChoice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(VaultKv {
                address,
                namespace,
                mount,
                path,
                ..
            }) => {
                let address = address.trim_end_matches('/');
                write!(f, "vault {mount}/{path} at {address}")?;
                let namespace = namespace.as_ref();
                namespace.map_or(Ok(()), |namespace| write!(f, " in namespace {namespace}"))
            }
            Self::AwsSecretsManager(AwsSecretsManager {
                name,
                region,
                endpoint,
                ..
            }) => {
                write!(f, "awsSecretsManager {name} in {region}")?;
                let endpoint = endpoint.as_ref();
                endpoint.map_or(Ok(()), |endpoint| write!(f, " at {endpoint}"))
            }
        }
    }
}

/// Kinds of targets, by the names of the fields that ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetKind {
    /// Vault or OpenBao.
    Vault,
    /// AWS.
    AwsSecretsManager,
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "vault",
            Self::AwsSecretsManager => "awsSecretsManager",
        })
    }
}

/// A copy outside of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// Where it is.
    pub target: String,
    /// True when it was last seen to hold what the Secret holds.
    pub current: bool,
    /// Serial number of the certificate that was last seen there, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Why it is not current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How it is reached, as in the spec, so that it can be deleted when the spec does not name it any more.
    #[schemars(schema_with = "written")]
    pub reached: Export,
}

/// What was checked when it was asked for is not checked again: rules on lists of lists are dear to the API server.
fn written(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn mount() -> String {
    "secret".to_owned()
}
