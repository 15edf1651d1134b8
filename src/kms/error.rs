//! What can be wrong with a master key. Classes are never merged: each has its own remedy.

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
    /// The key is disabled or waits for its deletion.
    Disabled,
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
            Self::Malformed => "can not be used",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Unavailable => {
                "Check the way from the pod to the KMS endpoint: network policy, DNS, proxy. It is tried again by itself."
            }
            Self::Denied => {
                "Give the pod's identity kms:DescribeKey, kms:GenerateDataKey and kms:Decrypt on this key, in the key's policy too, and check that the pod has credentials."
            }
            Self::WrongKey => {
                "Name the symmetric key that this store was encrypted under; a key that was replaced belongs into previous-master-key."
            }
            Self::NotFound => "Correct key-id, region and account.",
            Self::Disabled => {
                "Enable the key, or cancel its deletion, and wait for it to be usable."
            }
            Self::Malformed => {
                "Correct key-id, region and endpoint; the endpoint must speak the protocol of AWS KMS."
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
    /// The key as the configuration names it.
    pub key: String,
    /// What the service or the network said.
    pub message: String,
}

impl KmsError {
    /// What to do next.
    pub fn remedy(&self) -> &'static str {
        self.class.remedy()
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
            Self::Wrong(_) => Class::WrongKey.remedy(),
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
