//! Master keys that TiKV does not know: what the agent unwraps into memory before TiKV starts. The operator writes it
//! into the agent's arguments, one a key, as JSON; nothing in it is secret.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A master key and who unwraps it. All paths are those of the agent's container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrappedKey {
    /// TiKV's key file, in a volume in memory that TiKV sees at the same path.
    pub file: String,
    /// The key in its wrapped form.
    pub wrapped: String,
    /// True for a key that `key.dict` may be under no more: TiKV does not wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dispensable: bool,
    /// For so many seconds after it was unwrapped, what is in memory is used when nobody answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_grace_seconds: Option<u64>,
    /// Who unwraps it.
    pub by: Unwrapper,
}

/// Who unwraps a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unwrapper {
    /// The transit engine of Vault.
    VaultTransit(VaultUnwrapper),
    /// A hardware security module.
    Pkcs11(Pkcs11Unwrapper),
}

/// A key of a transit engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultUnwrapper {
    /// URL of Vault.
    pub address: String,
    /// File with the authorities to trust; those of the image without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Namespace of Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Path of the engine.
    pub mount: String,
    /// Name of the key.
    pub key: String,
    /// How to log in.
    pub auth: VaultLogin,
}

/// A key in a hardware security module. The PIN is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pkcs11Unwrapper {
    /// The vendor's library.
    pub module: String,
    /// Label of the token.
    pub token: String,
    /// Label of the key.
    pub key: String,
    /// File with the PIN of the token's user.
    pub pin: String,
}

/// How to log in to Vault. What is secret is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VaultLogin {
    /// By a service account's token.
    #[serde(rename_all = "camelCase")]
    Kubernetes {
        /// Path of the method.
        mount: String,
        /// Role.
        role: String,
        /// File with the token.
        token: String,
    },
    /// By an AppRole.
    #[serde(rename_all = "camelCase")]
    AppRole {
        /// Path of the method.
        mount: String,
        /// `role_id`.
        role_id: String,
        /// File with the `secret_id`.
        secret_id: String,
    },
    /// By a token of Vault.
    Token {
        /// File with the token.
        file: String,
    },
}

impl FromStr for WrappedKey {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}
