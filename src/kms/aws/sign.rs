//! An asymmetric key in AWS KMS that signs.

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyUsageType, MessageType, SigningAlgorithmSpec};
use sha2::{Digest, Sha256};

use super::AwsKms;
use super::classify::classify;
use crate::kms::error::{Class, KmsError};
use crate::kms::provider::Kms as _;
use crate::kms::signing::SigningAlgorithm;

/// Longest message that the service hashes itself, in bytes (API reference of AWS KMS, Sign).
const LONGEST: usize = 4096;

impl AwsKms {
    /// The public key: subject public key info, DER. Refuses a key that is not for signing.
    pub async fn public_key(&self) -> Result<Vec<u8>, KmsError> {
        let request = self.client().await?.get_public_key();
        let answer = request.key_id(&self.settings.key_id).send().await;
        let answer = answer.map_err(|error| classify(&self.settings.key_id, &error))?;
        if answer.key_usage != Some(KeyUsageType::SignVerify) {
            return Err(self.error(Class::WrongKey, "its usage is not SIGN_VERIFY"));
        }
        let key = answer.public_key.map(Blob::into_inner).unwrap_or_default();
        if key.is_empty() {
            return Err(self.error(Class::Malformed, "it gave no public key"));
        }
        Ok(key)
    }

    /// The signature of a message: DER of r and s, or the number of RSA.
    pub async fn sign(&self, message: &[u8], with: SigningAlgorithm) -> Result<Vec<u8>, KmsError> {
        let algorithm = match with {
            SigningAlgorithm::EcdsaP256 => SigningAlgorithmSpec::EcdsaSha256,
            SigningAlgorithm::Rsa => SigningAlgorithmSpec::RsassaPkcs1V15Sha256,
        };
        let (kind, sent) = if message.len() <= LONGEST {
            (MessageType::Raw, message.to_vec())
        } else {
            (MessageType::Digest, Sha256::digest(message).to_vec())
        };
        let request = self.client().await?.sign();
        let request = request
            .key_id(&self.settings.key_id)
            .message_type(kind)
            .message(Blob::new(sent))
            .signing_algorithm(algorithm);
        let answer = request.send().await;
        let answer = answer.map_err(|error| classify(&self.settings.key_id, &error))?;
        let signature = answer.signature.map(Blob::into_inner).unwrap_or_default();
        if signature.is_empty() {
            return Err(self.error(Class::Malformed, "it gave no signature"));
        }
        Ok(signature)
    }
}
