//! The form of a wrapped key: `pkcs11:v1:` and base64 of nonce (12 bytes), ciphertext (32) and tag (16).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kms::error::Class;
use crate::kms::rest::Failure;

const PREFIX: &str = "pkcs11:v1:";
/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;

/// What a token made of a key.
pub(super) struct Wrapped {
    pub(super) nonce: [u8; NONCE],
    /// With its tag at the end.
    pub(super) sealed: Vec<u8>,
}

impl Wrapped {
    /// As it is stored.
    pub(super) fn to_text(&self) -> String {
        let bytes = [&self.nonce[..], &self.sealed].concat();
        format!("{PREFIX}{}", STANDARD.encode(bytes))
    }

    /// From what was stored.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let foreign = || {
            let message = "what is to be unwrapped was not wrapped by a token";
            Failure::new(Class::WrongKey, message)
        };
        let text = std::str::from_utf8(bytes).map_err(|_| foreign())?;
        let content = text.strip_prefix(PREFIX).ok_or_else(foreign)?;
        let content = STANDARD.decode(content).map_err(|_| foreign())?;
        let (nonce, sealed) = content.split_first_chunk().ok_or_else(foreign)?;
        if sealed.len() != 32 + TAG {
            return Err(foreign());
        }
        let (nonce, sealed) = (*nonce, sealed.to_vec());
        Ok(Self { nonce, sealed })
    }
}
