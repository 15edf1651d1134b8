//! Encryption methods by the names that TiKV's configuration uses (facts, encryption at rest §1.1).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `security.encryption.data-encryption-method`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Method {
    /// No encryption.
    #[serde(rename = "plaintext")]
    Plaintext,
    /// AES-128 in counter mode.
    #[serde(rename = "aes128-ctr")]
    Aes128Ctr,
    /// AES-192 in counter mode.
    #[serde(rename = "aes192-ctr")]
    Aes192Ctr,
    /// AES-256 in counter mode.
    #[serde(rename = "aes256-ctr")]
    Aes256Ctr,
    /// SM4 in counter mode; TiKV v6.3 and later.
    #[serde(rename = "sm4-ctr")]
    Sm4Ctr,
}

impl Method {
    /// All methods, in the order of their strength as a person lists them.
    pub const ALL: [Self; 5] = [
        Self::Plaintext,
        Self::Aes128Ctr,
        Self::Aes192Ctr,
        Self::Aes256Ctr,
        Self::Sm4Ctr,
    ];

    /// The name in TiKV's configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Aes128Ctr => "aes128-ctr",
            Self::Aes192Ctr => "aes192-ctr",
            Self::Aes256Ctr => "aes256-ctr",
            Self::Sm4Ctr => "sm4-ctr",
        }
    }

    /// Length of a data key in bytes (facts, encryption at rest §2.4).
    pub const fn key_len(self) -> usize {
        match self {
            Self::Plaintext => 0,
            Self::Aes128Ctr | Self::Sm4Ctr => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Ctr => 32,
        }
    }

    /// True for every method but plaintext.
    pub const fn encrypts(self) -> bool {
        !matches!(self, Self::Plaintext)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A method name that TiKV does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown encryption method {0:?}; allowed: plaintext, aes128-ctr, aes192-ctr, aes256-ctr, sm4-ctr"
)]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    /// Case does not count, as in TiKV.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownMethod(text.to_owned()))
    }
}
