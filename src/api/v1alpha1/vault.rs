//! A master key that Vault wraps.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::encryption::SecretKeyRef;

/// A key of the transit engine of HashiCorp Vault, or of OpenBao, which TiKV does not know. A random master key is made
/// once and stored as Vault wrapped it; at each start of a pod the agent has Vault unwrap it into memory, where TiKV
/// reads it as its `file` key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultTransit {
    /// URL of Vault, without a path: `https://vault.example.com:8200`. May be changed, to reach the same keys elsewhere.
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
    /// Path at which the transit engine is mounted.
    #[serde(default = "transit")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub mount: String,
    /// Name of a symmetric key of the engine that is not derived. Vault may rotate it.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*$")
    )]
    pub key: String,
    /// How agents and operator show who they are. Exactly one.
    pub auth: VaultAuth,
    /// For so long after a key was unwrapped, an agent that starts again in the same pod uses what is still in the pod's
    /// memory when Vault does not answer. A new pod has nothing in memory and always needs Vault. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')").message("offlineGrace must be between 1m and 168h; 1h is usual, and without it no key is used that Vault did not give at that start"))]
    pub offline_grace: Option<GoDuration>,
}

/// How Vault is shown who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.kubernetes), has(self.appRole), has(self.token)].exists_one(one, one)").message("exactly one way to log in to Vault: write one of kubernetes, appRole and token"))]
pub struct VaultAuth {
    /// By the token of a service account: nothing secret is stored anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetes>,
    /// By an AppRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRole>,
    /// By a token of Vault in a Secret, which the operator renews. Not in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretKeyRef>,
}

/// The auth method `kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultKubernetes {
    /// Role for the pods, bound to their service account. Needs update on `MOUNT/decrypt/KEY` only.
    #[schemars(length(min = 1, max = 256))]
    pub role: String,
    /// Role for the operator, bound to the operator's service account. Needs read on `MOUNT/keys/KEY`, update on
    /// `MOUNT/datakey/plaintext/KEY` and on `MOUNT/decrypt/KEY`. Absent: `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub operator_role: Option<String>,
    /// Path of the method, below `auth/`.
    #[serde(default = "kubernetes")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub mount: String,
    /// Audience of the tokens, which the roles should demand.
    #[serde(default = "vault")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
}

/// The auth method `approle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultAppRole {
    /// `role_id`. Not a secret.
    #[schemars(length(min = 1, max = 256))]
    pub role_id: String,
    /// `secret_id`, in a Secret.
    pub secret_id: SecretKeyRef,
    /// Path of the method, below `auth/`.
    #[serde(default = "approle")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub mount: String,
}

/// The one way that is named.
#[derive(Clone, Copy, Debug)]
pub enum VaultAuthChoice<'a> {
    /// A service account.
    Kubernetes(&'a VaultKubernetes),
    /// An AppRole.
    AppRole(&'a VaultAppRole),
    /// A token.
    Token(&'a SecretKeyRef),
}

impl VaultAuth {
    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub fn choice(&self) -> Option<VaultAuthChoice<'_>> {
        match (&self.kubernetes, &self.app_role, &self.token) {
            (Some(kubernetes), None, None) => Some(VaultAuthChoice::Kubernetes(kubernetes)),
            (None, Some(role), None) => Some(VaultAuthChoice::AppRole(role)),
            (None, None, Some(token)) => Some(VaultAuthChoice::Token(token)),
            _ => None,
        }
    }
}

fn transit() -> String {
    "transit".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn approle() -> String {
    "approle".to_owned()
}

fn vault() -> String {
    "vault".to_owned()
}
