//! With what keys in services sign for a CA.

/// With what a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// RSA, PKCS#1 v1.5, with SHA-256.
    Rsa,
}
