//! Both dictionaries of a store, together: read, checked against each other, written durably.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message;

use super::error::StoreError;
use crate::api::method::Method;
use crate::crypto::CtrStream;
use crate::crypto::rng;
use crate::crypto::secret::SecretBytes;
use crate::format::envelope::{self, Version};
use crate::format::file_dict::FileDict;
use crate::format::key_dict;
use crate::format::pb::{DataKey, EncryptedContent, FileInfo, KeyDictionary, method};
use crate::fs::{self, Fs, Owner};
use crate::kms::MasterKey;

/// The master key: opens and closes `key.dict`.
pub trait Sealer: Send + Sync {
    /// Decrypts the content of `key.dict`.
    fn open(&self, content: &EncryptedContent) -> Result<SecretBytes, StoreError>;
    /// Encrypts a content; `previous` is what the file held before, whose KMS-made key is used again (facts §2.3).
    fn seal(
        &self,
        plaintext: &SecretBytes,
        previous: Option<&EncryptedContent>,
    ) -> Result<EncryptedContent, StoreError>;
    /// Proves that the key can be used, before the first dictionary is made with it.
    fn prove(&self) -> Result<(), StoreError>;
    /// Whether data keys are protected by it: TiKV does not encrypt with a plaintext master key.
    fn is_secure(&self) -> bool;
    /// True when the content that was opened last is under the master key before the present one.
    fn is_under_previous(&self) -> bool {
        false
    }
}

impl Sealer for MasterKey {
    fn open(&self, content: &EncryptedContent) -> Result<SecretBytes, StoreError> {
        Ok(Self::open(self, content)?)
    }

    fn seal(
        &self,
        plaintext: &SecretBytes,
        previous: Option<&EncryptedContent>,
    ) -> Result<EncryptedContent, StoreError> {
        Ok(Self::seal(self, plaintext, previous)?)
    }

    fn prove(&self) -> Result<(), StoreError> {
        Ok(Self::prove(self)?)
    }

    fn is_secure(&self) -> bool {
        Self::is_secure(self)
    }
}

/// The dictionaries of a store that has, or had, encryption.
#[derive(Clone, Debug)]
pub struct Dictionaries {
    /// `file.dict`.
    pub files: FileDict,
    /// `key.dict`, opened.
    pub keys: KeyDictionary,
    /// `key.dict` as it was read.
    pub sealed: EncryptedContent,
    /// Mode and owner of `key.dict`.
    pub owner: Owner,
}

/// What the data directory says about encryption.
#[derive(Clone, Debug)]
pub enum State {
    /// No dictionaries, or an empty `file.dict` alone, which TiKV treats the same (facts §2.5).
    Never,
    /// Both dictionaries.
    Has(Box<Dictionaries>),
}

/// Reads both dictionaries. Changes nothing.
pub fn load(fs: &dyn Fs, dir: &Path, sealer: &dyn Sealer) -> Result<State, StoreError> {
    let (files_path, keys_path) = (dir.join("file.dict"), dir.join("key.dict"));
    let files = fs::read(fs, &files_path).map_err(StoreError::io("reading", &files_path))?;
    let keys = fs::read(fs, &keys_path).map_err(StoreError::io("reading", &keys_path))?;
    match (files, keys) {
        (None, None) => Ok(State::Never),
        (Some(files), None) => {
            if FileDict::parse(&files)?.entries.is_empty() {
                Ok(State::Never)
            } else {
                Err(StoreError::HalfDictionaries {
                    present: "file.dict",
                    missing: "key.dict",
                })
            }
        }
        (None, Some(_)) => Err(StoreError::HalfDictionaries {
            present: "key.dict",
            missing: "file.dict",
        }),
        (Some(files), Some(keys)) => {
            let files = FileDict::parse(&files)?;
            let sealed = envelope::parse_encrypted(&keys).map_err(StoreError::KeyDictEnvelope)?;
            let plaintext = sealer.open(&sealed)?;
            let keys = key_dict::parse(plaintext.expose())?;
            let owner = fs
                .stat(&keys_path)
                .map_err(StoreError::io("looking at", &keys_path))?
                .map(|meta| meta.owner)
                .unwrap_or_default();
            Ok(State::Has(Box::new(Dictionaries {
                files,
                keys,
                sealed,
                owner,
            })))
        }
    }
}

/// Which key stream an entry asks for; `None` is plaintext.
pub fn stream(
    keys: &KeyDictionary,
    entry: Option<&FileInfo>,
) -> Result<Option<CtrStream>, BadEntry> {
    let Some(entry) = entry else {
        return Ok(None);
    };
    let method = method::from_wire(entry.method)
        .ok_or_else(|| BadEntry::Other(format!("method {}", entry.method)))?;
    if !method.encrypts() {
        return Ok(None);
    }
    let key = keys
        .keys
        .get(&entry.key_id)
        .ok_or(BadEntry::UnknownKey(entry.key_id))?;
    let iv = <[u8; 16]>::try_from(&entry.iv[..])
        .map_err(|_| BadEntry::Other(format!("an IV of {} bytes", entry.iv.len())))?;
    CtrStream::new(method, &SecretBytes::new(key.key.clone()), iv)
        .map_err(|error| BadEntry::Other(error.to_string()))
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// No such key.
    UnknownKey(u64),
    /// Anything else.
    Other(String),
}

/// Makes a new data key and its id.
pub fn new_key(
    keys: &BTreeMap<u64, DataKey>,
    method: Method,
    now: u64,
) -> Result<(u64, DataKey), StoreError> {
    let mut id = rng::key_id()?;
    while keys.contains_key(&id) {
        id = rng::key_id()?;
    }
    let key = DataKey {
        key: rng::key(method)?.expose().to_vec(),
        method: method::to_wire(method),
        creation_time: now,
        was_exposed: false,
    };
    Ok((id, key))
}

/// Keys that no entry needs and that are not current.
pub fn unused_keys(dictionaries: &Dictionaries) -> BTreeSet<u64> {
    let used: BTreeSet<u64> = dictionaries
        .files
        .entries
        .values()
        .filter(|entry| method::from_wire(entry.method).is_none_or(Method::encrypts))
        .map(|entry| entry.key_id)
        .collect();
    dictionaries
        .keys
        .keys
        .keys()
        .copied()
        .filter(|id| *id != dictionaries.keys.current_key_id && !used.contains(id))
        .collect()
}

/// The writing side: every write is whole-file, durable and atomic.
pub struct Writer<'a> {
    fs: &'a dyn Fs,
    dir: PathBuf,
    sealer: &'a dyn Sealer,
}

impl<'a> Writer<'a> {
    /// A writer for the dictionaries of `dir`.
    pub fn new(fs: &'a dyn Fs, dir: &Path, sealer: &'a dyn Sealer) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            sealer,
        }
    }

    /// Writes `key.dict`, and returns its sealed content.
    pub fn keys(
        &self,
        keys: &KeyDictionary,
        previous: Option<&EncryptedContent>,
        owner: Owner,
    ) -> Result<EncryptedContent, StoreError> {
        let path = self.dir.join("key.dict");
        let plaintext = SecretBytes::new(keys.encode_to_vec());
        let sealed = self.sealer.seal(&plaintext, previous)?;
        // A dictionary that can not be opened again would lose the store: prove it before the old one goes.
        let opened = self.sealer.open(&sealed)?;
        if opened.expose() != plaintext.expose() {
            return Err(StoreError::Verification {
                path,
                what: "key.dict",
            });
        }
        fs::replace(
            self.fs,
            &path,
            &envelope::seal_encrypted(&sealed),
            owner,
            &unique()?,
        )
        .map_err(StoreError::io("writing", &path))?;
        Ok(sealed)
    }

    /// Writes `file.dict` compacted, in format `version`.
    pub fn files(
        &self,
        files: &FileDict,
        version: Version,
        owner: Owner,
    ) -> Result<(), StoreError> {
        let path = self.dir.join("file.dict");
        let bytes = files.encode(version);
        fs::replace(self.fs, &path, &bytes, owner, &unique()?)
            .map_err(StoreError::io("writing", &path))
    }
}

/// A suffix that no earlier try has used: after a crash an old temporary file may be there again.
pub fn unique() -> Result<String, StoreError> {
    let number = u64::from_ne_bytes(rng::bytes()?);
    Ok(format!("{}{number:016x}", super::class::TEMPORARY))
}

#[cfg(test)]
mod tests {
    use super::{BadEntry, stream};
    use crate::format::pb::{FileInfo, KeyDictionary};

    #[test]
    fn an_entry_without_its_key_is_named() {
        let entry = FileInfo {
            key_id: 7,
            iv: vec![0; 16],
            method: 4,
        };
        let result = stream(&KeyDictionary::default(), Some(&entry));
        assert_eq!(result.err(), Some(BadEntry::UnknownKey(7)));
    }
}
