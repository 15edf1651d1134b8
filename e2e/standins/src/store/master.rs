//! The master key: none, a file, or AWS KMS (facts, encryption at rest §1.2, §2.3, §2.6).

use std::sync::{Mutex, PoisonError};

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

use super::dictionary::EncryptedContent;
use super::kms::Kms;
use crate::Result;
use crate::options::Options;

/// What wraps the data keys.
pub enum Master {
    Plaintext,
    File(Vec<u8>),
    Kms(Box<Kms>, Mutex<Option<Wrapped>>),
}

/// A key that the KMS made, in the clear and as the KMS encrypted it. It is used for every later write.
#[derive(Clone)]
pub struct Wrapped {
    pub plain: Vec<u8>,
    pub blob: Vec<u8>,
}

/// Why `key.dict` does not open. A wrong key makes TiKV try the previous one.
pub enum OpenError {
    Wrong(String),
    Hard(String),
}

impl Master {
    /// By a table of the configuration, `master-key` or `previous-master-key`.
    pub fn configured(options: &Options, table: &str) -> Result<Self> {
        let section = format!("security.encryption.{table}");
        let text = |name: &str| {
            options
                .text(&format!("{section}.{name}"))
                .unwrap_or_default()
        };
        match text("type").as_str() {
            "" | "plaintext" => Ok(Self::Plaintext),
            "file" => file_key(&text("path")).map(Self::File),
            "kms" => Kms::configured(options, &section)
                .map(|kms| Self::Kms(Box::new(kms), Mutex::default())),
            other => Err(format!("{section}.type {other} is unknown")),
        }
    }

    /// Whether anything may be encrypted under it.
    pub fn secure(&self) -> bool {
        !matches!(self, Self::Plaintext)
    }

    /// The plain bytes of `key.dict`.
    pub fn open(&self, sealed: &EncryptedContent) -> std::result::Result<Vec<u8>, OpenError> {
        let field = |name: &str| sealed.metadata.get(name).map_or(&[][..], Vec::as_slice);
        let method = field("method");
        let key = match self {
            Self::Plaintext if method == b"plaintext" => return Ok(sealed.content.clone()),
            Self::Plaintext => {
                return Err(OpenError::Wrong(
                    "key.dict is encrypted, the master key is plaintext".into(),
                ));
            }
            Self::Kms(kms, known) => match field("kms_vendor") {
                b"AWS" => {
                    let blob = field("kms_ciphertext_key").to_vec();
                    let plain = kms.decrypt(&blob).map_err(OpenError::Wrong)?;
                    let wrapped = Wrapped {
                        plain: plain.clone(),
                        blob,
                    };
                    *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(wrapped);
                    plain
                }
                b"" => return Err(OpenError::Wrong("missing KMS vendor".into())),
                _ => return Err(OpenError::Hard("KMS vendor mismatch".into())),
            },
            Self::File(_) if method != b"aes256-gcm" => {
                return Err(OpenError::Hard("encryption method mismatch".into()));
            }
            Self::File(key) => key.clone(),
        };
        let tag = field("aes_gcm_tag");
        let opened = decrypt_aead(
            Cipher::aes_256_gcm(),
            &key,
            Some(field("iv")),
            &[],
            &sealed.content,
            tag,
        );
        opened.map_err(|_| OpenError::Wrong("wrong master key".into()))
    }

    /// Seals `plain`.
    pub fn seal(&self, plain: &[u8]) -> Result<EncryptedContent> {
        let mut sealed = EncryptedContent::default();
        let mut note =
            |name: &str, value: &[u8]| _ = sealed.metadata.insert(name.to_owned(), value.to_vec());
        let key = match self {
            Self::Plaintext => {
                note("method", b"plaintext");
                sealed.content = plain.to_vec();
                return Ok(sealed);
            }
            Self::File(key) => key.clone(),
            Self::Kms(kms, known) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let wrapped = match known.clone() {
                    Some(wrapped) => wrapped,
                    None => kms.generate()?,
                };
                *known = Some(wrapped.clone());
                note("kms_vendor", b"AWS");
                note("kms_ciphertext_key", &wrapped.blob);
                wrapped.plain
            }
        };
        let mut iv = [0; 12];
        openssl::rand::rand_bytes(&mut iv).map_err(|e| e.to_string())?;
        let mut tag = [0; 16];
        let done = encrypt_aead(Cipher::aes_256_gcm(), &key, Some(&iv), &[], plain, &mut tag);
        note("method", b"aes256-gcm");
        note("iv", &iv);
        note("aes_gcm_tag", &tag);
        sealed.content = done.map_err(|e| e.to_string())?;
        Ok(sealed)
    }
}

// 64 hexadecimal digits and a newline: 65 bytes, nothing else.
fn file_key(path: &str) -> Result<Vec<u8>> {
    let bytes =
        std::fs::read(path).map_err(|e| format!("failed to access master key, {path}: {e}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let digits = text
        .strip_suffix('\n')
        .filter(|digits| digits.len() == 64 && digits.is_ascii());
    let digits = digits
        .ok_or_else(|| format!("mismatch master key file size, {path}: expected 65 bytes"))?;
    let bytes = (0..32).map(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16));
    bytes
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| format!("master key {path}: {e}"))
}
