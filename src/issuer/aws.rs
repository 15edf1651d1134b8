//! A CA key in AWS KMS.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::of_public_key;
use super::{IssuerClass, IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::aws::{AwsKms, AwsSigning};
use crate::kms::{Class, KmsError};
use crate::tls::authority::RemoteAlgorithm;

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

    fn failed(&self, error: &KmsError) -> IssuerError {
        let (class, remedy) = match error.class {
            Class::Unavailable => (
                IssuerClass::Unavailable,
                "Check the way from the operator to the KMS endpoint: network policy, DNS, proxy. It is tried again by itself.",
            ),
            Class::Denied => (
                IssuerClass::Denied,
                "Give the operator's identity kms:GetPublicKey and kms:Sign on this key, in the key's policy too, and check that it has credentials.",
            ),
            Class::NotFound => (IssuerClass::NotFound, "Correct keyId, region and account."),
            Class::Disabled => (
                IssuerClass::Refused,
                "Enable the key and wait for it to be usable.",
            ),
            Class::PendingDeletion => (
                IssuerClass::Refused,
                "Cancel its deletion (kms:CancelKeyDeletion) and enable it, or name another key: without it no certificate can be renewed.",
            ),
            Class::WrongKey => (IssuerClass::Malformed, KIND),
            Class::Malformed => (
                IssuerClass::Malformed,
                "Correct keyId, region and endpoint; the endpoint must speak the protocol of AWS KMS.",
            ),
        };
        IssuerError {
            issuer: self.name.clone(),
            class,
            message: error.to_string(),
            remedy,
        }
    }
}

const KIND: &str = "Name an asymmetric key for SIGN_VERIFY of the kind ECC_NIST_P256, RSA_2048, RSA_3072 or RSA_4096.";

impl KeySigner for AwsSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let public_key = self.key.public_key().await;
            let public_key = public_key.map_err(|error| self.failed(&error))?;
            of_public_key(&self.name, public_key, KIND)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, message: &'a [u8], with: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let with = match with {
                RemoteAlgorithm::EcdsaP256 => AwsSigning::EcdsaP256,
                RemoteAlgorithm::Rsa => AwsSigning::Rsa,
            };
            let signed = self.key.sign(message, with).await;
            signed.map_err(|error| self.failed(&error))
        }
        .boxed()
    }
}
