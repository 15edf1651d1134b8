//! A CA key in a hardware security module, by PKCS#11.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::remote::Remedies;
use super::{IssuerError, KeySigner, Signing, SigningKey};
use crate::kms::pkcs11::Pkcs11;
use crate::tls::authority::RemoteAlgorithm;

const REMEDIES: Remedies = Remedies {
    unavailable: "Check that the token is there and reachable (the vendor's own tool, pkcs11-tool --list-slots) and that its label is right. It is tried again by itself.",
    denied: "Correct the PIN in the Secret; some tokens lock themselves after a few wrong ones.",
    not_found: "Correct the label, and give public and private key the same one.",
    disabled: "Give the private key CKA_SIGN, or name another key.",
    leaving: "Keep the key.",
    kind: "Name a key pair on the curve P-256, or RSA of 2048 bits or more.",
    malformed: "Correct module, token, key and the PIN's Secret; the image must be the one for HSMs, and the module must be in it and offer CKM_ECDSA or CKM_SHA256_RSA_PKCS.",
};

/// A key pair in a token.
pub struct HsmSigner {
    name: String,
    key: Pkcs11,
}

impl HsmSigner {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(name: impl Into<String>, key: Pkcs11) -> Self {
        Self {
            name: name.into(),
            key,
        }
    }
}

impl KeySigner for HsmSigner {
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>> {
        async move {
            let key = self.key.signing_key().await;
            let key = key.map_err(|error| REMEDIES.told(&self.name, &error))?;
            Ok(SigningKey {
                public_key: key.public_key,
                algorithm: if key.rsa {
                    RemoteAlgorithm::Rsa
                } else {
                    RemoteAlgorithm::EcdsaP256
                },
            })
        }
        .boxed()
    }

    fn sign<'a>(&'a self, message: &'a [u8], _: RemoteAlgorithm) -> BoxFuture<'a, Signing> {
        async move {
            let signed = self.key.sign(message).await;
            signed.map_err(|error| REMEDIES.told(&self.name, &error))
        }
        .boxed()
    }
}
