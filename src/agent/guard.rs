//! Keeps TiKV from starting while a data directory is between two states (facts, encryption at rest §6.2).

use std::path::Path;

use super::class::GUARD;
use super::dictionaries::unique;
use super::error::StoreError;
use crate::fs::{self, Fs, Owner};

/// How our mark begins; TiKV's own is empty.
const TEXT: &[u8] = b"tikv-security is re-encrypting this store. Do not start TiKV and do not remove this file:\n\
    run 'tikv-security reencrypt' on this directory or start the pod, and it goes on and removes it.\n";

/// Whose mark is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None.
    Absent,
    /// Ours: a run began and did not end.
    Ours,
    /// TiKV's: the store is suspect.
    Foreign,
}

/// Looks whose mark is there.
pub fn look(fs: &dyn Fs, dir: &Path) -> Result<Mark, StoreError> {
    let path = dir.join(GUARD);
    let Some(bytes) = fs::read(fs, &path).map_err(StoreError::io("reading", &path))? else {
        return Ok(Mark::Absent);
    };
    Ok(if bytes == TEXT {
        Mark::Ours
    } else {
        Mark::Foreign
    })
}

/// Sets the mark, durably.
pub fn set(fs: &dyn Fs, dir: &Path, owner: Owner) -> Result<(), StoreError> {
    let path = dir.join(GUARD);
    fs::replace(fs, &path, TEXT, owner, &unique()?).map_err(StoreError::io("writing", &path))
}

/// Removes our mark, durably.
pub fn clear(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    if look(fs, dir)? == Mark::Ours {
        let path = dir.join(GUARD);
        fs.unlink(&path)
            .map_err(StoreError::io("removing", &path))?;
        fs.sync_dir(dir).map_err(StoreError::io("syncing", dir))?;
    }
    Ok(())
}
