//! A CA key in Azure Key Vault, or in a managed HSM.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::{Remedies, of_public_key};
use super::{IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::azure::AzureKeyVault;
use crate::tls::authority::RemoteAlgorithm;

const REMEDIES: Remedies = Remedies {
    unavailable: "Check the way from the operator to the vault and to Entra ID: network policy, DNS, proxy. It is tried again by itself.",
    denied: "Give the application get and sign on keys (role Key Vault Crypto User), and check tenantId, clientId and its certificate.",
    not_found: "Correct keyName, keyVersion and keyvaultUrl.",
    disabled: "Enable the version, and correct its activation and expiration dates.",
    leaving: "Recover the key, or name another one: without it no certificate can be renewed.",
    kind: "Name a version of a key of the type EC on P-256, or RSA of 2048, 3072 or 4096 bits, whose operations have sign.",
    malformed: "Correct keyName, keyVersion, keyvaultUrl, tenantId, clientId and the Secret with the application's certificate.",
};

/// A version of a key that signs in Azure.
pub struct AzureSigner {
    name: String,
    key: AzureKeyVault,
    version: String,
}

impl AzureSigner {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(name: impl Into<String>, key: AzureKeyVault, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key,
            version: version.into(),
        }
    }
}

impl KeySigner for AzureSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let public_key = self.key.public_key(&self.version).await;
            let public_key = public_key.map_err(|error| REMEDIES.told(&self.name, &error))?;
            of_public_key(&self.name, public_key, REMEDIES.kind)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, message: &'a [u8], with: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let signed = self.key.sign(&self.version, message, with.into()).await;
            signed.map_err(|error| REMEDIES.told(&self.name, &error))
        }
        .boxed()
    }
}
