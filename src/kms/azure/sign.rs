//! A version of a key in Azure that signs.

use hyper::Method;
use sha2::{Digest, Sha256};

use super::{AzureKeyVault, classify, wire};
use crate::kms::der;
use crate::kms::error::{Class, KmsError};
use crate::kms::oauth::now;
use crate::kms::rest::Failure;
use crate::kms::signing::SigningAlgorithm;

/// Bytes of r and s of `ES256`, side by side.
const SIDES: usize = 64;

impl AzureKeyVault {
    /// The public key of this version: subject public key info, DER. Refuses what may not sign.
    pub async fn public_key(&self, version: &str) -> Result<Vec<u8>, KmsError> {
        let asked = self.ask_public_key(version).await;
        asked.map_err(|failure| self.failed(&failure))
    }

    /// The signature of a message: DER of r and s, or the number of RSA.
    pub async fn sign(
        &self,
        version: &str,
        message: &[u8],
        with: SigningAlgorithm,
    ) -> Result<Vec<u8>, KmsError> {
        let asked = self.ask_signature(version, message, with).await;
        asked.map_err(|failure| self.failed(&failure))
    }

    async fn ask_public_key(&self, version: &str) -> Result<Vec<u8>, Failure> {
        let path = format!("keys/{}/{}", self.settings.key_name, checked(version)?);
        let vault = &self.settings.vault_url;
        let answer = self.ask(Method::GET, vault, &path, None).await?;
        if answer.status == 404 {
            return Err(self.lost(classify(&answer, false)).await);
        }
        let told: wire::SigningKey = wire::read(&answer)?;
        told.public_key(now())
    }

    async fn ask_signature(
        &self,
        version: &str,
        message: &[u8],
        with: SigningAlgorithm,
    ) -> Result<Vec<u8>, Failure> {
        let (name, version) = (&self.settings.key_name, checked(version)?);
        let path = format!("keys/{name}/{version}/sign");
        let vault = &self.settings.vault_url;
        let algorithm = match with {
            SigningAlgorithm::EcdsaP256 => "ES256",
            SigningAlgorithm::Rsa => "RS256",
        };
        let body = wire::algorithm(algorithm, &Sha256::digest(message));
        let answer = self.ask(Method::POST, vault, &path, Some(body.as_bytes()));
        let answer = answer.await?;
        if answer.status == 404 {
            return Err(self.lost(classify(&answer, false)).await);
        }
        let told: wire::Operation = wire::read(&answer)?;
        let signature = told.value.into_bytes();
        let short = || Failure::new(Class::Malformed, "its signature has another length");
        match with {
            SigningAlgorithm::Rsa if signature.is_empty() => Err(short()),
            SigningAlgorithm::Rsa => Ok(signature),
            SigningAlgorithm::EcdsaP256 => Some(signature)
                .filter(|sides| sides.len() == SIDES)
                .and_then(|sides| der::ecdsa_signature(&sides))
                .ok_or_else(short),
        }
    }
}

/// The version becomes part of a path.
fn checked(version: &str) -> Result<&str, Failure> {
    if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(version);
    }
    let message = "the version of a key is 32 hexadecimal digits";
    Err(Failure::new(Class::Malformed, message))
}
