//! A CA key in AWS KMS.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::{Remedies, of_public_key};
use super::{IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::aws::AwsKms;
use crate::tls::authority::RemoteAlgorithm;

const REMEDIES: Remedies = Remedies {
    unavailable: "Check the way from the operator to the KMS endpoint: network policy, DNS, proxy. It is tried again by itself.",
    denied: "Give the operator's identity kms:GetPublicKey and kms:Sign on this key, in the key's policy too, and check that it has credentials.",
    not_found: "Correct keyId, region and account.",
    disabled: "Enable the key and wait for it to be usable.",
    leaving: "Cancel its deletion (kms:CancelKeyDeletion) and enable it, or name another key: without it no certificate can be renewed.",
    kind: "Name an asymmetric key for SIGN_VERIFY of the kind ECC_NIST_P256, RSA_2048, RSA_3072 or RSA_4096.",
    malformed: "Correct keyId, region and endpoint; the endpoint must speak the protocol of AWS KMS.",
};

/// A key that signs in AWS KMS.
pub struct AwsSigner {
    name: String,
    key: AwsKms,
}

impl AwsSigner {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(name: impl Into<String>, key: AwsKms) -> Self {
        Self {
            name: name.into(),
            key,
        }
    }
}

impl KeySigner for AwsSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let public_key = self.key.public_key().await;
            let public_key = public_key.map_err(|error| REMEDIES.told(&self.name, &error))?;
            of_public_key(&self.name, public_key, REMEDIES.kind)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, message: &'a [u8], with: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let signed = self.key.sign(message, with.into()).await;
            signed.map_err(|error| REMEDIES.told(&self.name, &error))
        }
        .boxed()
    }
}
