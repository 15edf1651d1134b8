//! A private key as PEM that cleans up after itself and is never shown.

use std::fmt;

use zeroize::Zeroizing;

/// PEM of a private key. Wiped on drop, absent from `Debug`.
#[derive(Clone)]
pub struct PrivatePem(Zeroizing<Vec<u8>>);

impl PrivatePem {
    /// Takes over the bytes.
    pub fn new(pem: Vec<u8>) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The bytes, for the one who writes the Secret or builds a TLS configuration.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivatePem(..)")
    }
}
