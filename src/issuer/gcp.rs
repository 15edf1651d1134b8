//! A CA key in Google Cloud KMS.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::{Remedies, of_public_key};
use super::{IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::gcp::GcpKms;
use crate::tls::authority::RemoteAlgorithm;

const REMEDIES: Remedies = Remedies {
    unavailable: "Check the way from the operator to the KMS endpoint: network policy, DNS, proxy. It is tried again by itself.",
    denied: "Give the operator's identity roles/cloudkms.signerVerifier on the key, and check that it has credentials.",
    not_found: "Correct keyVersion; what is destroyed does not come back.",
    disabled: "Enable the version.",
    leaving: "Restore the version and enable it, or name another one: without it no certificate can be renewed.",
    kind: "Name a version of a key for ASYMMETRIC_SIGN with the algorithm EC_SIGN_P256_SHA256 or RSA_SIGN_PKCS1_2048_SHA256, …3072… or …4096_SHA256.",
    malformed: "Correct keyVersion and endpoint; the endpoint must speak the protocol of Cloud KMS.",
};

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
}

impl KeySigner for GcpSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let public_key = self.key.public_key().await;
            let public_key = public_key.map_err(|error| REMEDIES.told(&self.name, &error))?;
            of_public_key(&self.name, public_key, REMEDIES.kind)
        }
        .boxed()
    }

    /// The version knows by itself with what it signs.
    fn sign<'a>(&'a self, message: &'a [u8], _: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let signed = self.key.sign(message).await;
            signed.map_err(|error| REMEDIES.told(&self.name, &error))
        }
        .boxed()
    }
}
