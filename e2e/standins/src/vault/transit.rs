//! The transit engine: keys with versions, AES-256-GCM.

use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde_json::{Value, json};

use super::{Said, Vault, decode, encode, parse, random, text};

/// A key of the engine.
pub(super) struct Key {
    kind: String,
    /// The last one is current; the first one has the number 1.
    versions: Vec<[u8; 32]>,
    min_decryption_version: usize,
    /// As OpenBao has it.
    soft_deleted: bool,
}

impl Key {
    fn encrypts(&self) -> bool {
        self.kind == "aes256-gcm96"
    }

    fn describe(&self, name: &str) -> Value {
        let versions = 1..=self.versions.len();
        let versions: Value = versions
            .map(|at| (at.to_string(), json!(1_700_000_000)))
            .collect();
        json!({
            "name": name, "type": self.kind, "derived": false, "exportable": false,
            "allow_plaintext_backup": false, "deletion_allowed": false, "auto_rotate_period": 0,
            "min_available_version": 0, "min_encryption_version": 0,
            "min_decryption_version": self.min_decryption_version, "latest_version": self.versions.len(),
            "supports_encryption": self.encrypts(), "supports_decryption": self.encrypts(),
            "supports_derivation": self.encrypts(), "supports_signing": !self.encrypts(),
            "imported_key": false, "soft_deleted": self.soft_deleted, "keys": versions,
        })
    }

    fn seal(&self, plain: &[u8]) -> String {
        let (nonce, mut tag) = (random::<12>(), [0; 16]);
        let key = self.versions.last().expect("a key has a version");
        let cipher = Cipher::aes_256_gcm();
        let content = encrypt_aead(cipher, key, Some(&nonce), b"", plain, &mut tag);
        let content = content.expect("AES-GCM takes any plaintext");
        let blob = [&nonce[..], &content, &tag].concat();
        format!("vault:v{}:{}", self.versions.len(), encode(&blob))
    }

    fn open(&self, sealed: &str) -> Result<Vec<u8>, Said> {
        let invalid = |why: &str| Said::error(400, &format!("invalid ciphertext: {why}"));
        let rest = sealed
            .strip_prefix("vault:v")
            .ok_or_else(|| invalid("no prefix"))?;
        let (version, content) = rest
            .split_once(':')
            .ok_or_else(|| invalid("wrong number of fields"))?;
        let version: usize = version
            .parse()
            .map_err(|_| invalid("version number could not be decoded"))?;
        if version > self.versions.len() {
            return Err(invalid("version is too new"));
        }
        if version == 0 || version < self.min_decryption_version {
            let words = "ciphertext or signature version is disallowed by policy (too old)";
            return Err(Said::error(400, words));
        }
        let blob = decode(content).ok_or_else(|| invalid("could not decode base64"))?;
        if blob.len() < 28 {
            return Err(invalid("unable to decrypt"));
        }
        let (nonce, rest) = blob.split_at(12);
        let (content, tag) = rest.split_at(rest.len() - 16);
        let key = &self.versions[version - 1];
        // As Vault since 1.6: the one who asked is wrong, and the status says that the server is.
        decrypt_aead(Cipher::aes_256_gcm(), key, Some(nonce), b"", content, tag)
            .map_err(|_| Said::error(500, "cipher: message authentication failed"))
    }
}

impl Vault {
    /// An operation below the engine's mount.
    pub(super) fn transit(&mut self, method: &str, operation: &str, body: &[u8]) -> Said {
        let parts: Vec<&str> = operation.split('/').collect();
        let body = parse(body);
        match (method, parts.as_slice()) {
            ("GET", ["keys", name]) => match self.keys.get(*name) {
                Some(key) => Said::data(&key.describe(name)),
                None => Said::error(404, ""),
            },
            ("POST" | "PUT", ["keys", name]) => {
                let kind = Some(text(&body, "type")).filter(|kind| !kind.is_empty());
                self.make_key(name, kind.unwrap_or("aes256-gcm96"));
                Said::nothing()
            }
            ("POST" | "PUT", ["keys", name, "rotate"]) => match self.keys.get_mut(*name) {
                Some(key) => {
                    key.versions.push(random());
                    Said::nothing()
                }
                None => Said::error(400, "key not found"),
            },
            ("POST" | "PUT", ["keys", name, "config"]) => match self.keys.get_mut(*name) {
                Some(key) => {
                    let least = body["min_decryption_version"].as_u64().unwrap_or(1);
                    key.min_decryption_version = usize::try_from(least).unwrap_or(1);
                    Said::nothing()
                }
                None => Said::error(400, "no existing key named that could be found"),
            },
            ("POST" | "PUT", ["datakey", "plaintext", name]) => match self.usable(name) {
                Err(said) => said,
                Ok(key) => {
                    let plain = random::<32>();
                    let wrapped = key.seal(&plain);
                    Said::data(
                        &json!({"plaintext": encode(&plain), "ciphertext": wrapped, "key_version": 1}),
                    )
                }
            },
            ("POST" | "PUT", ["encrypt", name]) => match self.usable(name) {
                Err(said) => said,
                Ok(key) => match decode(text(&body, "plaintext")) {
                    Some(plain) => {
                        Said::data(&json!({"ciphertext": key.seal(&plain), "key_version": 1}))
                    }
                    None => Said::error(400, "failed to base64-decode plaintext"),
                },
            },
            ("POST" | "PUT", ["decrypt", name]) => {
                let opened = self
                    .usable(name)
                    .and_then(|key| key.open(text(&body, "ciphertext")));
                match opened {
                    Ok(plain) => Said::data(&json!({"plaintext": encode(&plain)})),
                    Err(said) => said,
                }
            }
            _ => Said::error(404, "unsupported path"),
        }
    }

    /// Makes a key, if there is none of this name.
    pub fn make_key(&mut self, name: &str, kind: &str) {
        self.keys.entry(name.to_owned()).or_insert_with(|| Key {
            kind: kind.to_owned(),
            versions: vec![random()],
            min_decryption_version: 1,
            soft_deleted: false,
        });
    }

    /// Takes all keys out of use, or back into it, as OpenBao's soft deletion does.
    pub fn soft_delete_all(&mut self, deleted: bool) {
        for key in self.keys.values_mut() {
            key.soft_deleted = deleted;
        }
    }

    fn usable(&self, name: &str) -> Result<&Key, Said> {
        let key = self.keys.get(name);
        let key = key.ok_or_else(|| Said::error(400, "encryption key not found"))?;
        if key.soft_deleted {
            return Err(Said::error(400, "key is soft-deleted"));
        }
        if !key.encrypts() {
            let words = format!("message encryption not supported for key type {}", key.kind);
            return Err(Said::error(400, &words));
        }
        Ok(key)
    }
}
