//! A version of an asymmetric key in Google Cloud KMS that signs.

use hyper::Method;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

use super::{GcpKms, wire};
use crate::kms::error::{Class, KmsError};
use crate::kms::rest::Failure;

/// What a version may be that signs for a CA here.
const ALGORITHMS: [&str; 4] = [
    "EC_SIGN_P256_SHA256",
    "RSA_SIGN_PKCS1_2048_SHA256",
    "RSA_SIGN_PKCS1_3072_SHA256",
    "RSA_SIGN_PKCS1_4096_SHA256",
];

impl GcpKms {
    /// The public key of the version that `key_id` of the settings names: subject public key info, DER. Refuses what does not sign, or otherwise than by
    /// ECDSA on P-256 or RSA PKCS#1 v1.5, with SHA-256.
    pub async fn public_key(&self) -> Result<Vec<u8>, KmsError> {
        let asked = self.ask_public_key().await;
        asked.map_err(|failure| self.failed(&failure))
    }

    /// The signature of a message: DER of r and s, or the number of RSA.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let asked = self.ask_signature(message).await;
        asked.map_err(|failure| self.failed(&failure))
    }

    async fn ask_public_key(&self) -> Result<Vec<u8>, Failure> {
        let object = format!("{}/publicKey", self.version()?);
        let told: wire::PublicKey = self.ask(Method::GET, &object, "", None).await?;
        if crc32c::crc32c(told.pem.as_bytes()) != told.pem_crc32c {
            return Err(wire::damaged());
        }
        if !ALGORITHMS.contains(&told.algorithm.as_str()) {
            let message = format!("its algorithm is {}", told.algorithm);
            return Err(Failure::new(Class::WrongKey, message));
        }
        let key = SubjectPublicKeyInfoDer::from_pem_slice(told.pem.as_bytes());
        key.map(|key| key.to_vec())
            .map_err(|_| Failure::new(Class::Malformed, "it gave no public key in PEM"))
    }

    async fn ask_signature(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let version = self.version()?;
        let body = wire::digest(&Sha256::digest(message));
        let verb = ":asymmetricSign";
        let told: wire::Signed = self.ask(Method::POST, version, verb, Some(body)).await?;
        if !told.verified_digest_crc32c {
            return Err(wire::damaged());
        }
        if told.name != version {
            let message = format!("{} signed in its place", told.name);
            return Err(Failure::new(Class::WrongKey, message));
        }
        let signature = told.signature.checked(told.signature_crc32c)?;
        if signature.is_empty() {
            return Err(Failure::new(Class::Malformed, "it gave no signature"));
        }
        Ok(signature)
    }

    fn version(&self) -> Result<&str, Failure> {
        let name = self.settings.key_id.as_str();
        let parts: Vec<&str> = name.split('/').collect();
        let fixed = [
            "projects",
            "locations",
            "keyRings",
            "cryptoKeys",
            "cryptoKeyVersions",
        ];
        let named = parts.len() == 10
            && parts.iter().step_by(2).eq(fixed.iter())
            && parts.iter().all(|part| !part.is_empty());
        if named && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(name);
        }
        Err(Failure::new(
            Class::Malformed,
            "it is not projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V",
        ))
    }
}
