//! Signatures of documents with a key of the person who runs the command.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

/// Why there is no signature. Says nothing of the key's content.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Another form.
    #[error(
        "this is no PKCS#8 private key in PEM; make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    )]
    NotPkcs8,
    /// Another curve or algorithm.
    #[error(
        "this is no ECDSA key on the curve P-256; make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    )]
    NotP256,
    /// The library failed.
    #[error("the library made no signature")]
    Failed,
}

/// ECDSA on P-256 with SHA-256 over `message`, in DER (FIPS 186-5; RFC 3279 §2.2.3).
pub fn p256(pkcs8_pem: &[u8], message: &[u8]) -> Result<Vec<u8>, SignError> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pkcs8_pem).map_err(|_| SignError::NotPkcs8)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der())
        .map_err(|_| SignError::NotP256)?;
    let signature = pair
        .sign(&SystemRandom::new(), message)
        .map_err(|_| SignError::Failed)?;
    Ok(signature.as_ref().to_vec())
}
