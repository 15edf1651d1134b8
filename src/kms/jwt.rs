//! Signed statements (RFC 7519) by which an identity asks for a token: RS256 only, which is what the vendors take.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::Class;
use super::rest::Failure;

/// An RSA key that signs.
pub(super) struct Signer(KeyPair);

impl Signer {
    /// From PEM, PKCS#8 or PKCS#1.
    pub(super) fn from_pem(pem: &str) -> Result<Self, Failure> {
        let unusable = || Failure::new(Class::Malformed, "its private key is no RSA key in PEM");
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(unusable()),
        }
        .map(Self)
        .map_err(|_| unusable())
    }

    /// From PKCS#8.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, Failure> {
        KeyPair::from_pkcs8(der)
            .map(Self)
            .map_err(|_| Failure::new(Class::Malformed, "its private key is no RSA key"))
    }

    /// Header and claims, signed.
    pub(super) fn sign(
        &self,
        header: &Value,
        claims: &Value,
    ) -> Result<Zeroizing<String>, Failure> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut text = Zeroizing::new(format!("{}.{}", part(header), part(claims)));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Failure::new(Class::Malformed, "its private key can not sign"))?;
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(text)
    }
}
