//! One file: its new bytes beside the old ones, proven, durable. The old file stays untouched.

use std::path::{Path, PathBuf};

use super::class::{Class, TEMPORARY};
use super::content::{self, Look};
use super::dictionaries::{self, BadEntry};
use super::error::{Refusal, StoreError};
use super::inventory::ends;
use super::observer::Observer;
use super::plan::Group;
use crate::api::desired::Verification;
use crate::crypto::Transform;
use crate::crypto::digest::Sha256;
use crate::format::pb::{FileInfo, KeyDictionary};
use crate::fs::{self, Fs};

/// Bytes read, transformed and written at once.
const BLOCK: usize = 1 << 20;

/// The temporary name beside `path` for the content that `entry` describes: by its IV, which no other try ever has.
pub fn temporary(path: &Path, entry: &FileInfo) -> PathBuf {
    use std::fmt::Write;
    let mut suffix = TEMPORARY.to_owned();
    for byte in &entry.iv {
        // Writing to a String does not fail.
        let _ = write!(suffix, "{byte:02x}");
    }
    fs::with_suffix(path, &suffix)
}

/// Writes the new content of `group` beside each of its names.
///
/// Guarantees: when it returns, content and length of every temporary file are durable and were compared; the names are
/// durable only after the caller has synced their directories.
/// Errors: after any error the temporary files are of no use; recovery removes them.
pub fn group(
    fs: &dyn Fs,
    group: &Group,
    keys: &KeyDictionary,
    entry: &FileInfo,
    verification: Verification,
    observer: &dyn Observer,
) -> Result<(), StoreError> {
    let Some(first) = group.names.first() else {
        return Ok(());
    };
    let to = temporary(&first.path, entry);
    let transform = transform(keys, group.entry(), Some(entry), &first.relative)?;
    let source = fs
        .open(&first.path)
        .map_err(StoreError::io("opening", &first.path))?;
    let target = fs
        .create(&to, first.meta.owner)
        .map_err(StoreError::io("creating", &to))?;
    let block = usize::try_from(first.meta.size).unwrap_or(BLOCK);
    let mut buffer = vec![0; block.clamp(1, BLOCK)];
    let mut written = Sha256::default();
    let mut offset = 0;
    loop {
        let read = source
            .read_at(offset, &mut buffer)
            .map_err(StoreError::io("reading", &first.path))?;
        if read == 0 {
            break;
        }
        let block = &mut buffer[..read];
        transform.apply(offset, block);
        written.update(block);
        target
            .write_at(offset, block)
            .map_err(StoreError::io("writing", &to))?;
        offset += read as u64;
        observer.bytes(read as u64);
    }
    if offset != first.meta.size {
        return Err(StoreError::Verification {
            path: first.path.clone(),
            what: "its length",
        });
    }
    target.sync().map_err(StoreError::io("syncing", &to))?;
    target.drop_cache();
    drop(target);
    if verification == Verification::Full {
        read_back(fs, &to, written, &mut buffer)?;
    }
    structure(fs, group, keys, entry, &to)?;
    for name in group.names.iter().skip(1) {
        let link = temporary(&name.path, entry);
        fs.link(&to, &link)
            .map_err(StoreError::io("linking", &link))?;
    }
    Ok(())
}

fn transform(
    keys: &KeyDictionary,
    old: Option<&FileInfo>,
    new: Option<&FileInfo>,
    path: &str,
) -> Result<Transform, StoreError> {
    let stream = |entry| {
        dictionaries::stream(keys, entry).map_err(|bad| {
            let path = path.to_owned();
            StoreError::Refused(match bad {
                BadEntry::UnknownKey(key_id) => Refusal::UnknownKey { path, key_id },
                BadEntry::Other(why) => Refusal::BadEntry { path, why },
            })
        })
    };
    Ok(Transform::new(stream(old)?, stream(new)?))
}

/// Everything that the device returns must be what was written.
fn read_back(
    fs: &dyn Fs,
    path: &Path,
    written: Sha256,
    buffer: &mut [u8],
) -> Result<(), StoreError> {
    let file = fs.open(path).map_err(StoreError::io("opening", path))?;
    let mut read_back = Sha256::default();
    let mut offset = 0;
    loop {
        let read = file
            .read_at(offset, buffer)
            .map_err(StoreError::io("reading back", path))?;
        if read == 0 {
            break;
        }
        read_back.update(&buffer[..read]);
        offset += read as u64;
    }
    if read_back.finish() == written.finish() {
        Ok(())
    } else {
        Err(StoreError::Verification {
            path: path.to_owned(),
            what: "its digest",
        })
    }
}

/// Head and tail must decrypt to the same under the old and the new entry, and look like what the file is.
fn structure(
    fs: &dyn Fs,
    group: &Group,
    keys: &KeyDictionary,
    entry: &FileInfo,
    to: &Path,
) -> Result<(), StoreError> {
    let Some(first) = group.names.first() else {
        return Ok(());
    };
    let old = transform(keys, group.entry(), None, &first.relative)?;
    let new = transform(keys, Some(entry), None, &first.relative)?;
    let before = ends(fs, &first.path, first.meta.size, &old)?;
    let after = ends(fs, to, first.meta.size, &new)?;
    let differs = |what| StoreError::Verification {
        path: first.path.clone(),
        what,
    };
    match (before, after) {
        (Some(before), Some(after)) if before == after => {
            if let Class::Data(kind) = first.class
                && first.look == Look::Fits
                && content::look(kind, &after.0, &after.1) != Look::Fits
            {
                return Err(differs("its structure"));
            }
            Ok(())
        }
        _ => Err(differs("its beginning or end")),
    }
}
