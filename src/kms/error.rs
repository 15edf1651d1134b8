//! What can be wrong with a master key. Classes are never merged: each has its own remedy.

use std::time::Duration;

use super::file_key::FileKeyError;
use crate::crypto::rng::NoRandomness;

/// In which way a master key can not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No answer, or "not now": may pass by itself, the only class that is tried again.
    Unavailable,
    /// Permission or credentials are missing.
    Denied,
    /// Not the key that wrapped this, or a key that can not wrap.
    WrongKey,
    /// There is no such key.
    NotFound,
    /// The key is disabled.
    Disabled,
    /// The key waits for its deletion: what is under it is lost when nobody cancels that.
    PendingDeletion,
    /// The request, the answer, the configuration or the envelope is malformed.
    Malformed,
}

impl Class {
    /// Stable word for machines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "MasterKeyUnavailable",
            Self::Denied => "MasterKeyDenied",
            Self::WrongKey => "MasterKeyWrong",
            Self::NotFound => "MasterKeyNotFound",
            Self::Disabled => "MasterKeyDisabled",
            Self::PendingDeletion => "MasterKeyPendingDeletion",
            Self::Malformed => "MasterKeyMalformed",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Unavailable => "does not answer",
            Self::Denied => "refuses access",
            Self::WrongKey => "is not the key that is needed",
            Self::NotFound => "does not exist",
            Self::Disabled => "is disabled",
            Self::PendingDeletion => "waits for its deletion",
            Self::Malformed => "can not be used",
        }
    }
}

/// Whose key it is: what to do next depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// AWS KMS, or whatever speaks its protocol.
    Aws,
    /// Google Cloud KMS.
    Gcp,
    /// Azure Key Vault and managed HSMs.
    Azure,
    /// The transit engine of Vault or OpenBao.
    Vault,
    /// A hardware security module, by PKCS#11.
    Pkcs11,
}

impl Service {
    const fn remedy(self, class: Class) -> &'static str {
        match (class, self) {
            (Class::Unavailable, Self::Vault) => {
                "Check that Vault is unsealed and not throttling, and the way from the pod to it: network policy, DNS, proxy. It is tried again by itself."
            }
            (Class::Unavailable, Self::Pkcs11) => {
                "Check that the token is there and reachable (the vendor's own tool, pkcs11-tool --list-slots) and that its label is right. It is tried again by itself."
            }
            (Class::Unavailable, _) => {
                "Check the way from the pod to the KMS endpoint: network policy, DNS, proxy. It is tried again by itself."
            }
            (Class::Denied, Self::Aws) => {
                "Give the pod's identity kms:DescribeKey, kms:GenerateDataKey and kms:Decrypt on this key, in the key's policy too, and check that the pod has credentials."
            }
            (Class::Denied, Self::Gcp) => {
                "Give the identity cloudkms.cryptoKeys.get, cloudkms.cryptoKeyVersions.useToEncrypt and useToDecrypt on this key and cloudkms.locations.generateRandomBytes on its project, and check credentials and clock of the pod."
            }
            (Class::Denied, Self::Azure) => {
                "Give the application get, encrypt and decrypt on this key and the right to ask the managed HSM for random bytes, and check its certificate and the clock of the pod."
            }
            (Class::Denied, Self::Vault) => {
                "Give the identity a policy with update on MOUNT/decrypt/KEY (and for the operator read on MOUNT/keys/KEY, update on MOUNT/datakey/plaintext/KEY), and check role, audience, secret id or token, the clocks, and that Vault reaches the API server."
            }
            (Class::Denied, Self::Pkcs11) => {
                "Correct the PIN in its Secret, or unlock the token by the vendor's means. A PIN that was refused is not tried again by the same process."
            }
            (Class::WrongKey, Self::Pkcs11) => "Name the AES key of the token that wrapped this.",
            (Class::NotFound, Self::Pkcs11) => {
                "Correct key, or make the key: pkcs11-tool --keygen --key-type AES:32 --label LABEL. A key that was deleted must be restored from a backup of the token."
            }
            (Class::Disabled, Self::Pkcs11) => "Give the key CKA_ENCRYPT and CKA_DECRYPT.",
            (Class::PendingDeletion, Self::Pkcs11) => "Keep the key: without it the data is lost.",
            (Class::Malformed, Self::Pkcs11) => {
                "Correct module, token, key and the PIN's Secret; the image must be the one for HSMs, and the module must be in it and offer CKM_AES_GCM."
            }
            (Class::WrongKey, Self::Vault) => {
                "Name the key of the transit engine that wrapped this: a symmetric key that is not derived, in the same Vault or in one that was restored from it."
            }
            (Class::WrongKey, Self::Azure) => {
                "Name the RSA key that this store was encrypted under. When the key was rotated in the vault, make the version that wrapped this the current one again."
            }
            (Class::WrongKey, _) => {
                "Name the symmetric key that this store was encrypted under; a key that was replaced belongs into previous-master-key."
            }
            (Class::NotFound, Self::Aws) => "Correct key-id, region and account.",
            (Class::NotFound, Self::Gcp) => {
                "Correct key-id: projects/P/locations/L/keyRings/R/cryptoKeys/K of a key that has a primary version."
            }
            (Class::NotFound, Self::Azure) => {
                "Correct the name of the key and the URL of the vault."
            }
            (Class::NotFound, Self::Vault) => {
                "Correct key, mount and namespace; a key that was deleted must be restored from a backup of Vault."
            }
            (Class::Disabled, Self::Vault) => {
                "Lower min_decryption_version of the key so far that the version is allowed that wrapped this, or restore the key when it was soft-deleted."
            }
            (Class::Disabled, Self::Azure) => {
                "Enable the current version of the key, extend its validity, and wait for it to be usable."
            }
            (Class::Disabled, _) => "Enable the key and wait for it to be usable.",
            (Class::PendingDeletion, Self::Aws) => {
                "Cancel its deletion at once (kms:CancelKeyDeletion) and enable it: without the key the data is lost."
            }
            (Class::PendingDeletion, Self::Gcp) => {
                "Restore the key version at once (gcloud kms keys versions restore) and enable it: without it the data is lost."
            }
            (Class::PendingDeletion, Self::Azure) => {
                "Recover the key at once (az keyvault key recover): without it the data is lost."
            }
            (Class::PendingDeletion, Self::Vault) => "Keep the key: without it the data is lost.",
            (Class::Malformed, Self::Vault) => {
                "Correct address, CA, mount, key and the path of the auth method; the address must speak the API of Vault over TLS."
            }
            (Class::Malformed, Self::Aws) => {
                "Correct key-id, region and endpoint; the endpoint must speak the protocol of AWS KMS."
            }
            (Class::Malformed, Self::Gcp) => {
                "Correct key-id, endpoint and the credentials file; the location of the key must offer Cloud HSM, whose random bytes TiKV asks for."
            }
            (Class::Malformed, Self::Azure) => {
                "Correct the name of the key, the URL of the vault, the name of the managed HSM and the client certificate, a PKCS#12 file without a password."
            }
        }
    }
}

/// A KMS could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("KMS key {key} {}: {message}", class.says())]
pub struct KmsError {
    /// In which way.
    pub class: Class,
    /// Whose.
    pub service: Service,
    /// The key as the configuration names it.
    pub key: String,
    /// What the service or the network said.
    pub message: String,
    /// When the service wants to be asked again.
    pub after: Option<Duration>,
}

impl KmsError {
    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        self.service.remedy(self.class)
    }
}

/// A master key could not open or seal `key.dict`.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The key file can not be used.
    #[error(transparent)]
    File(#[from] FileKeyError),
    /// The KMS could not help.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// `key.dict` is under another master key: TiKV tries `previous-master-key` then (facts, encryption at rest §2.6).
    #[error("key.dict is not under the configured master key: {0}")]
    Wrong(String),
    /// A transition that TiKV itself refuses (facts, encryption at rest §2.6).
    #[error("key.dict was written under another kind of master key: {0}")]
    Mismatch(String),
    /// The envelope lacks something or has something in a wrong size.
    #[error("key.dict is damaged: {0}")]
    Malformed(String),
    /// No nonce.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl MasterKeyError {
    /// In which way the master key can not be used.
    pub fn class(&self) -> Class {
        match self {
            Self::File(error) => error.class(),
            Self::Kms(error) => error.class,
            Self::Wrong(_) | Self::Mismatch(_) => Class::WrongKey,
            Self::Malformed(_) => Class::Malformed,
            Self::Randomness(_) => Class::Unavailable,
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Kms(error) => error.remedy(),
            Self::File(_) => {
                "Put 64 hexadecimal digits and one newline, 65 bytes, where [security.encryption.master-key] path points, readable by the user of TiKV."
            }
            Self::Wrong(_) => {
                "Name the master key that this store was encrypted under; one that was replaced belongs into previous-master-key."
            }
            Self::Mismatch(_) => {
                "Configure the kind of master key that key.dict was written under; between KMS vendors go through a file key."
            }
            Self::Malformed(_) => {
                "Restore key.dict from a backup of this store, or replace the store by a new, empty one."
            }
            Self::Randomness(_) => "Check that getrandom(2) works in this container.",
        }
    }
}
