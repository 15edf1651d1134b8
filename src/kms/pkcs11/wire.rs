//! The form of a wrapped key: `pkcs11:v1:` and base64 of nonce (12 bytes, or the 16 of some modules), ciphertext (32) and
//! tag (16).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kms::error::Class;
use crate::kms::rest::Failure;

const PREFIX: &str = "pkcs11:v1:";
/// Bytes of a nonce of ours.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;
/// Bytes of a key with its tag.
const SEALED: usize = 32 + TAG;
/// Bytes that a nonce can have: Luna in FIPS mode makes 16.
const NONCES: [usize; 2] = [NONCE, 16];

/// What a token made of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) nonce: Vec<u8>,
    /// With its tag at the end.
    pub(super) sealed: Vec<u8>,
}

impl Wrapped {
    /// From what a module gave for `nonce`. A module that made another one may have it at the end of its answer.
    pub(super) fn of(nonce: &[u8; NONCE], mut answer: Vec<u8>) -> Result<Self, Failure> {
        let more = answer.len().checked_sub(SEALED);
        let nonce = match more {
            Some(0) => nonce.to_vec(),
            Some(own) if NONCES.contains(&own) => answer.split_off(SEALED),
            _ => {
                let message = format!("a wrapped key has {} bytes, not {SEALED}", answer.len());
                return Err(Failure::new(Class::Malformed, message));
            }
        };
        let sealed = answer;
        Ok(Self { nonce, sealed })
    }

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
        let mut nonce = STANDARD.decode(content).map_err(|_| foreign())?;
        let length = nonce.len().checked_sub(SEALED);
        let length = length.filter(|length| NONCES.contains(length));
        let sealed = nonce.split_off(length.ok_or_else(foreign)?);
        Ok(Self { nonce, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::{NONCE, SEALED, Wrapped};

    #[test]
    fn a_nonce_of_ours_and_one_of_the_modules_are_both_kept() {
        let ours = [7; NONCE];
        for own in [0, NONCE, 16] {
            let mut answer = vec![1; SEALED];
            answer.extend(vec![2; own]);
            let wrapped = Wrapped::of(&ours, answer).unwrap();
            let nonce = if own == 0 {
                vec![7; NONCE]
            } else {
                vec![2; own]
            };
            assert_eq!(
                (&wrapped.nonce, &wrapped.sealed),
                (&nonce, &vec![1; SEALED])
            );
            let back = Wrapped::parse(wrapped.to_text().as_bytes()).unwrap();
            assert_eq!(back, wrapped);
        }
        for length in [0, SEALED - 1, SEALED + 1, SEALED + 13, SEALED + 32] {
            assert!(Wrapped::of(&ours, vec![1; length]).is_err(), "{length}");
        }
    }
}
