//! Key pairs of leaves and of authorities.

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use zeroize::Zeroize;

use super::authority::IssueError;
use super::private::PrivatePem;
use crate::api::v1alpha1::KeyAlgorithm;

/// A key pair whose serialised form is wiped on drop.
pub(super) struct OwnedKey(pub(super) KeyPair);

impl OwnedKey {
    /// A new one. RSA takes seconds at 4096 bits.
    pub(super) fn generate(algorithm: KeyAlgorithm) -> Result<Self, IssueError> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => KeyPair::generate(),
            KeyAlgorithm::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyAlgorithm::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyAlgorithm::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        Ok(Self(pair?))
    }

    /// From PEM: PKCS#8, PKCS#1 or SEC 1.
    pub(super) fn parse(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        KeyPair::from_pem(text).ok().map(Self)
    }

    /// As PKCS#8 in PEM.
    pub(super) fn pem(&self) -> PrivatePem {
        PrivatePem::new(self.0.serialize_pem().into_bytes())
    }
}

impl Drop for OwnedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
