//! A CA key in Google Cloud KMS.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::of_public_key;
use super::{IssuerClass, IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::gcp::GcpKms;
use crate::kms::{Class, KmsError};
use crate::tls::authority::RemoteAlgorithm;

const KIND: &str = "Name a version of a key for ASYMMETRIC_SIGN with the algorithm EC_SIGN_P256_SHA256 or RSA_SIGN_PKCS1_2048_SHA256, …3072… or …4096_SHA256.";

/// A version of a key that signs in Google Cloud KMS.
pub struct GcpSigner {
    name: String,
    key: GcpKms,
}

impl GcpSigner {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(name: impl Into<String>, key: GcpKms) -> Self {
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
                "Give the operator's identity roles/cloudkms.signerVerifier on the key, and check that it has credentials.",
            ),
            Class::NotFound => (
                IssuerClass::NotFound,
                "Correct keyVersion; what is destroyed does not come back.",
            ),
            Class::Disabled => (IssuerClass::Refused, "Enable the version."),
            Class::PendingDeletion => (
                IssuerClass::Refused,
                "Restore the version and enable it, or name another one: without it no certificate can be renewed.",
            ),
            Class::WrongKey => (IssuerClass::Malformed, KIND),
            Class::Malformed => (
                IssuerClass::Malformed,
                "Correct keyVersion and endpoint; the endpoint must speak the protocol of Cloud KMS.",
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

impl KeySigner for GcpSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let public_key = self.key.public_key().await;
            let public_key = public_key.map_err(|error| self.failed(&error))?;
            of_public_key(&self.name, public_key, KIND)
        }
        .boxed()
    }

    /// The version knows by itself with what it signs.
    fn sign<'a>(&'a self, message: &'a [u8], _: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let signed = self.key.sign(message).await;
            signed.map_err(|error| self.failed(&error))
        }
        .boxed()
    }
}
