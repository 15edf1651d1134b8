//! Message authentication, for the journal: a key from secrets by HKDF, tags by HMAC-SHA256.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::SecretBytes;

/// A key for tags.
pub struct MacKey(SecretBytes);

impl MacKey {
    /// Derives a key that only holders of all `secrets` can make. `purpose` keeps uses apart.
    pub fn derive(secrets: &[&SecretBytes], purpose: &[u8]) -> Self {
        let mut input = zeroize::Zeroizing::new(Vec::new());
        for secret in secrets {
            input.extend_from_slice(&(secret.expose().len() as u64).to_be_bytes());
            input.extend_from_slice(secret.expose());
        }
        let mut output = vec![0; 32];
        hkdf::Hkdf::<Sha256>::new(None, &input)
            .expand(purpose, &mut output)
            .expect("32 bytes are within what HKDF can give");
        Self(SecretBytes::new(output))
    }

    /// The tag of `message`.
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).finalize().into_bytes().into()
    }

    /// Whether `tag` belongs to `message`; takes the same time whatever differs.
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        self.mac(message).verify_slice(tag).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes keys of any length");
        mac.update(message);
        mac
    }
}
