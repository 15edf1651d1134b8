//! The master key: a file, or AWS KMS by its protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use openssl::base64;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde_json::{Value, json};

use super::dictionary::EncryptedContent;
use crate::Result;
use crate::options::Options;

const SECTION: &str = "security.encryption.master-key";

/// What wraps the data keys.
pub enum Master {
    None,
    File(Vec<u8>),
    Kms { endpoint: String, region: String, key_id: String },
}

impl Master {
    /// By the configuration.
    pub fn configured(options: &Options) -> Result<Self> {
        let text = |name: &str| options.text(&format!("{SECTION}.{name}")).unwrap_or_default();
        match text("type").as_str() {
            "" | "plaintext" => Ok(Self::None),
            "file" => {
                let path = text("path");
                let hex = std::fs::read_to_string(&path).map_err(|e| format!("master key {path}: {e}"))?;
                // 64 hexadecimal digits and a newline.
                let hex = hex.strip_suffix('\n').filter(|hex| hex.len() == 64);
                let hex = hex.ok_or_else(|| format!("master key {path} is not 64 hexadecimal digits and a newline"))?;
                let bytes = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16));
                bytes.collect::<std::result::Result<_, _>>().map(Self::File).map_err(|e| format!("{path}: {e}"))
            }
            "kms" => Ok(Self::Kms { endpoint: text("endpoint"), region: text("region"), key_id: text("key-id") }),
            other => Err(format!("{SECTION}.type {other} is unknown")),
        }
    }

    /// Whether anything may be encrypted under it.
    pub fn secure(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The plain bytes of `key.dict`.
    pub fn open(&self, sealed: &EncryptedContent) -> Result<Vec<u8>> {
        let field = |name: &str| sealed.metadata.get(name).map_or(&[][..], Vec::as_slice);
        let key = match self {
            Self::None => return Err("key.dict is encrypted, but the master key is plaintext".into()),
            Self::File(key) => key.clone(),
            Self::Kms { key_id, .. } => {
                let blob = base64::encode_block(field("kms_ciphertext_key"));
                let answer = self.ask("Decrypt", &json!({"CiphertextBlob": blob, "KeyId": key_id}))?;
                base64::decode_block(answer["Plaintext"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?
            }
        };
        let opened = decrypt_aead(Cipher::aes_256_gcm(), &key, Some(field("iv")), &[], &sealed.content, field("aes_gcm_tag"));
        opened.map_err(|_| "wrong master key: key.dict does not open".into())
    }

    /// Seals `plain`. The key that the KMS made once is used again.
    pub fn seal(&self, plain: &[u8], previous: Option<&EncryptedContent>) -> Result<EncryptedContent> {
        let mut sealed = EncryptedContent::default();
        let key = match self {
            Self::None => return Err("encryption with a plaintext master key is refused".into()),
            Self::File(key) => key.clone(),
            Self::Kms { key_id, .. } => {
                let known = previous.and_then(|old| old.metadata.get("kms_ciphertext_key")).cloned();
                let answer = match &known {
                    Some(blob) => {
                        let blob = base64::encode_block(blob);
                        self.ask("Decrypt", &json!({"CiphertextBlob": blob, "KeyId": key_id}))?
                    }
                    None => self.ask("GenerateDataKey", &json!({"KeyId": key_id, "KeySpec": "AES_256"}))?,
                };
                let part = |name: &str| {
                    base64::decode_block(answer[name].as_str().unwrap_or_default()).map_err(|e| e.to_string())
                };
                let blob = known.map_or_else(|| part("CiphertextBlob"), Ok)?;
                sealed.metadata.insert("kms_vendor".into(), b"AWS".to_vec());
                sealed.metadata.insert("kms_ciphertext_key".into(), blob);
                part("Plaintext")?
            }
        };
        let mut iv = [0; 12];
        openssl::rand::rand_bytes(&mut iv).map_err(|e| e.to_string())?;
        let mut tag = [0; 16];
        let done = encrypt_aead(Cipher::aes_256_gcm(), &key, Some(&iv), &[], plain, &mut tag);
        sealed.content = done.map_err(|e| e.to_string())?;
        sealed.metadata.insert("method".into(), b"aes256-gcm".to_vec());
        sealed.metadata.insert("iv".into(), iv.to_vec());
        sealed.metadata.insert("aes_gcm_tag".into(), tag.to_vec());
        Ok(sealed)
    }

    // Unsigned: emulators do not look at signatures. A real KMS would refuse, and a real TiKV signs.
    fn ask(&self, action: &str, body: &Value) -> Result<Value> {
        let Self::Kms { endpoint, region, .. } = self else { return Err("no KMS is configured".into()) };
        let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let failed = |error: &dyn std::fmt::Display| format!("KMS {endpoint}: {error}");
        let mut stream = TcpStream::connect(host).map_err(|e| failed(&e))?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|e| failed(&e))?;
        let body = body.to_string();
        let credential = format!("AWS4-HMAC-SHA256 Credential=e2e/20260101/{region}/kms/aws4_request, SignedHeaders=host, Signature=0");
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: TrentService.{action}\r\nAuthorization: {credential}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(|e| failed(&e))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|e| failed(&e))?;
        let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(failed(&format!("{action}: {} {content}", head.lines().next().unwrap_or_default())));
        }
        serde_json::from_str(content).map_err(|e| failed(&e))
    }
}
