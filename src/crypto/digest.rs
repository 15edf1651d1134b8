//! SHA-256.

use sha2::Digest;

/// A running digest.
#[derive(Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
