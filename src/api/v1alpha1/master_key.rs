//! The one master key that a `masterKey` names. Whoever has to know its kind matches on [`MasterKeyChoice`], exhaustively.

use std::fmt;

use super::encryption::{AwsKms, AzureKeyVault, FileMasterKey, GcpKms, MasterKey};
use super::pkcs11::Pkcs11;
use super::policy::MasterKeyKind;
use super::vault::VaultTransit;

/// The one master key that is named.
#[derive(Clone, Copy, Debug)]
pub enum MasterKeyChoice<'a> {
    /// AWS KMS.
    AwsKms(&'a AwsKms),
    /// Google Cloud KMS.
    GcpKms(&'a GcpKms),
    /// Azure Key Vault.
    AzureKeyVault(&'a AzureKeyVault),
    /// The transit engine of Vault.
    VaultTransit(&'a VaultTransit),
    /// A hardware security module.
    Pkcs11(&'a Pkcs11),
    /// A key in a Secret.
    File(&'a FileMasterKey),
}

impl MasterKey {
    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub fn choice(&self) -> Option<MasterKeyChoice<'_>> {
        let Self {
            aws_kms,
            gcp_kms,
            azure_key_vault,
            vault_transit,
            pkcs11,
            file,
        } = self;
        let mut named = [
            aws_kms.as_ref().map(MasterKeyChoice::AwsKms),
            gcp_kms.as_ref().map(MasterKeyChoice::GcpKms),
            azure_key_vault.as_ref().map(MasterKeyChoice::AzureKeyVault),
            vault_transit.as_ref().map(MasterKeyChoice::VaultTransit),
            pkcs11.as_ref().map(MasterKeyChoice::Pkcs11),
            file.as_ref().map(MasterKeyChoice::File),
        ]
        .into_iter()
        .flatten();
        named.next().filter(|_| named.next().is_none())
    }

    /// True when both name the same key, however each is reached: credentials may differ.
    pub fn same_key(&self, other: &Self) -> bool {
        let (Some(one), Some(other)) = (self.choice(), other.choice()) else {
            return false;
        };
        one.identity() == other.identity()
    }
}

impl fmt::Display for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.choice() {
            Some(choice) => write!(f, "{} {}", choice.kind(), choice.id()),
            None => f.write_str("no master key"),
        }
    }
}

impl MasterKeyChoice<'_> {
    /// Its kind.
    pub const fn kind(&self) -> MasterKeyKind {
        match self {
            Self::AwsKms(_) => MasterKeyKind::AwsKms,
            Self::GcpKms(_) => MasterKeyKind::GcpKms,
            Self::AzureKeyVault(_) => MasterKeyKind::AzureKeyVault,
            Self::VaultTransit(_) => MasterKeyKind::VaultTransit,
            Self::Pkcs11(_) => MasterKeyKind::Pkcs11,
            Self::File(_) => MasterKeyKind::File,
        }
    }

    /// Which key of its kind, for people. Never the key.
    pub fn id(&self) -> String {
        match self {
            Self::AwsKms(key) => format!("{} in {}", key.key_id, key.region),
            Self::GcpKms(key) => key.key_id.clone(),
            Self::AzureKeyVault(key) => format!("{} in {}", key.key_name, key.keyvault_url),
            Self::VaultTransit(key) => {
                let namespace = key.namespace.as_ref();
                let namespace =
                    namespace.map_or(String::new(), |name| format!(" (namespace {name})"));
                format!("{}/{} in {}{namespace}", key.mount, key.key, key.address)
            }
            Self::Pkcs11(key) => format!("{} in token {}", key.key, key.token),
            Self::File(key) => format!("key {} of Secret {}", key.secret.key, key.secret.name),
        }
    }

    /// True when a service behind the key makes the key that seals `key.dict`, so that it can make another one.
    pub const fn makes_envelopes(&self) -> bool {
        match self {
            Self::AwsKms(_) | Self::GcpKms(_) | Self::AzureKeyVault(_) => true,
            Self::VaultTransit(_) | Self::Pkcs11(_) | Self::File(_) => false,
        }
    }

    /// What tells one key from another: one does not open what another sealed. How a key is reached does not count.
    pub fn identity(&self) -> [&str; 4] {
        let kind = match self.kind() {
            MasterKeyKind::AwsKms => "awsKms",
            MasterKeyKind::GcpKms => "gcpKms",
            MasterKeyKind::AzureKeyVault => "azureKeyVault",
            MasterKeyKind::VaultTransit => "vaultTransit",
            MasterKeyKind::Pkcs11 => "pkcs11",
            MasterKeyKind::File => "file",
        };
        match self {
            Self::AwsKms(key) => {
                let endpoint = key.endpoint.as_deref().unwrap_or_default();
                [kind, &key.key_id, &key.region, endpoint]
            }
            Self::GcpKms(key) => {
                let endpoint = key.endpoint.as_deref().unwrap_or_default();
                [kind, &key.key_id, key.vendor.name(), endpoint]
            }
            Self::AzureKeyVault(key) => [kind, &key.key_name, &key.keyvault_url, ""],
            Self::VaultTransit(key) => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                [kind, &key.key, &key.mount, namespace]
            }
            Self::Pkcs11(key) => [kind, &key.key, &key.token, ""],
            Self::File(key) => [kind, &key.secret.name, &key.secret.key, ""],
        }
    }
}
