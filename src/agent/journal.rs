//! The journal: one authenticated record of what the open run is about.
//!
//! `file.dict` itself says which file is how far (its entry is the old one, or the new one that names the temporary file
//! by its IV); the journal holds what it can not say. The record's tag is made with a key that only an opened `key.dict`
//! gives, so nobody with the disk alone can stage a run, least of all a decryption.

use std::path::Path;

use super::class::JOURNAL;
use super::dictionaries::unique;
use super::error::StoreError;
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::crypto::mac::MacKey;
use crate::crypto::secret::SecretBytes;
use crate::format::envelope::Version;
use crate::format::pb::KeyDictionary;
use crate::fs::{self, Fs, Owner};

/// What the open run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// Layout of this record.
    pub version: u32,
    /// Method that all files get; `plaintext` is the sealed intent to decrypt.
    pub method: Method,
    /// The new data key; 0 when decrypting.
    pub key_id: u64,
    /// The data key whose secret signs the journal.
    pub signed_by: u64,
    /// Files under keys that are not older than this Unix second stay as they are.
    pub not_before: u64,
    /// Format that `file.dict` gets in the end.
    pub final_version: u8,
    /// How files are proven.
    pub verification: Verification,
}

impl Run {
    /// Layout that this program writes.
    pub const VERSION: u32 = 1;

    /// Format that `file.dict` gets in the end.
    pub const fn file_dict_version(&self) -> Version {
        if self.final_version == 1 {
            Version::V1
        } else {
            Version::V2
        }
    }
}

/// True when a journal is there.
pub fn is_open(fs: &dyn Fs, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(JOURNAL);
    Ok(fs
        .stat(&path)
        .map_err(StoreError::io("looking at", &path))?
        .is_some())
}

/// Writes the record, durably.
pub fn write(
    fs: &dyn Fs,
    dir: &Path,
    keys: &KeyDictionary,
    run: &Run,
    owner: Owner,
) -> Result<(), StoreError> {
    let path = dir.join(JOURNAL);
    let bytes = seal(run, keys).map_err(|why| untrusted(dir, &why))?;
    fs::replace(fs, &path, &bytes, owner, &unique()?).map_err(StoreError::io("writing", &path))
}

/// Reads the record and checks its tag.
pub fn read(fs: &dyn Fs, dir: &Path, keys: &KeyDictionary) -> Result<Option<Run>, StoreError> {
    let path = dir.join(JOURNAL);
    let bytes = fs::read(fs, &path).map_err(StoreError::io("reading", &path))?;
    bytes
        .map(|bytes| open(&bytes, keys).map_err(|why| untrusted(dir, &why)))
        .transpose()
}

/// The record with its tag before it, as it is on disk; an error says why there can be none.
pub fn seal(run: &Run, keys: &KeyDictionary) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(run).map_err(|error| error.to_string())?;
    let key = mac_key(keys, run.signed_by).ok_or("its data key is not in key.dict")?;
    let mut bytes = key.tag(&body).to_vec();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The record in `bytes`; an error says why they are not to be trusted.
pub fn open(bytes: &[u8], keys: &KeyDictionary) -> Result<Run, String> {
    let (tag, body) = bytes.split_at_checked(32).ok_or("it is too short")?;
    let run: Run =
        serde_json::from_slice(body).map_err(|error| format!("it does not parse: {error}"))?;
    if run.version != Run::VERSION {
        return Err(format!(
            "its layout {} is of another version of this program; finish the run with that version",
            run.version
        ));
    }
    let key =
        mac_key(keys, run.signed_by).ok_or("the data key that signed it is not in key.dict")?;
    if key.verify(body, tag) {
        Ok(run)
    } else {
        Err("its signature is not of this store's data keys".to_owned())
    }
}

/// Removes the record, durably.
pub fn close(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    if is_open(fs, dir)? {
        let path = dir.join(JOURNAL);
        fs.unlink(&path)
            .map_err(StoreError::io("removing", &path))?;
        fs.sync_dir(dir).map_err(StoreError::io("syncing", dir))?;
    }
    Ok(())
}

fn mac_key(keys: &KeyDictionary, id: u64) -> Option<MacKey> {
    let secret = SecretBytes::new(keys.keys.get(&id)?.key.clone());
    (!secret.expose().is_empty()).then(|| MacKey::derive(&[&secret], b"tikv-security journal v1"))
}

fn untrusted(dir: &Path, why: &str) -> StoreError {
    StoreError::Journal {
        path: dir.join(JOURNAL),
        why: why.to_owned(),
    }
}
