//! What files look like under their entries: only their ends are read.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::class::{Class, Kind};
use super::content::{self, HEAD, Look};
use super::dictionaries::{self, BadEntry};
use super::error::StoreError;
use super::inventory::StoreFile;
use super::peek::{Ends, Peek};
use super::pool;
use crate::crypto::Transform;
use crate::format::pb::KeyDictionary;
use crate::fs::buffer::Buffer;
use crate::fs::{File, Fs};

/// A data file and what it turned out to look like.
type Seen<'a> = (&'a StoreFile, Kind, OnceLock<Result<Look, BadEntry>>);

/// Looks at all data files.
pub fn at_all(
    fs: &dyn Fs,
    keys: &KeyDictionary,
    files: &mut [Arc<StoreFile>],
    threads: usize,
) -> Result<(), StoreError> {
    let data = files.iter().filter_map(|file| match file.class {
        Class::Data(kind) => Some((&**file, kind, OnceLock::new())),
        _ => None,
    });
    let all: Vec<Seen<'_>> = data.collect();
    pool::each_ahead(
        threads,
        &all,
        || Buffer::new(HEAD),
        |(file, ..)| begin(fs, file),
        |(file, kind, seen), begun, buffer| {
            // A file is looked at once.
            let _ = seen.set(at(file, *kind, keys, begun, buffer)?);
            Ok(())
        },
    )?;
    let seen: Vec<_> = all
        .into_iter()
        .map(|(.., seen)| seen.into_inner())
        .collect();
    let data = files
        .iter_mut()
        .filter(|file| matches!(file.class, Class::Data(_)));
    for (file, seen) in data.zip(seen) {
        let file = Arc::make_mut(file);
        match seen {
            Some(Ok(look)) => file.look = look,
            Some(Err(bad)) => file.bad_entry = Some(Box::new(bad)),
            None => {}
        }
    }
    Ok(())
}

/// Opens a file and asks the device for its ends; `None` when the file is gone meanwhile.
fn begin(fs: &dyn Fs, file: &StoreFile) -> Result<Option<Box<dyn File>>, StoreError> {
    let content = file.pending.then(|| file.content()).flatten();
    let opened = open(fs, &content.unwrap_or_else(|| file.path()))?;
    if let Some(opened) = &opened {
        for (offset, len) in Peek::ranges(file.meta.size) {
            opened.read_ahead(offset, len);
        }
    }
    Ok(opened)
}

fn at(
    file: &StoreFile,
    kind: Kind,
    keys: &KeyDictionary,
    begun: Option<Box<dyn File>>,
    buffer: &mut Buffer,
) -> Result<Result<Look, BadEntry>, StoreError> {
    let transform = match dictionaries::stream(keys, file.entry.as_ref()) {
        Ok(stream) => Transform::new(stream, None),
        Err(bad) => return Ok(Err(bad)),
    };
    let Some(begun) = begun else {
        return Ok(Ok(Look::Silent));
    };
    let peek = peek(begun.as_ref(), &file.path(), file.meta.size, buffer)?;
    let never_written = peek.begins_with_zeros();
    let (head, tail) = peek.reveal(&transform);
    Ok(Ok(match content::look(kind, &head, &tail) {
        // Space that was reserved and never written is raw zeros, under any key (facts, encryption at rest §5.2).
        Look::Differs if never_written => Look::Silent,
        look => look,
    }))
}

/// The first and the last bytes of a file, transformed; `None` when the file is gone meanwhile.
pub fn ends(
    fs: &dyn Fs,
    path: &Path,
    size: u64,
    transform: &Transform,
) -> Result<Option<Ends>, StoreError> {
    let Some(file) = open(fs, path)? else {
        return Ok(None);
    };
    let peek = peek(file.as_ref(), path, size, &mut Buffer::new(HEAD))?;
    Ok(Some(peek.reveal(transform)))
}

fn open(fs: &dyn Fs, path: &Path) -> Result<Option<Box<dyn File>>, StoreError> {
    match fs.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("opening", path)(error)),
    }
}

fn peek(file: &dyn File, path: &Path, size: u64, buffer: &mut Buffer) -> Result<Peek, StoreError> {
    let mut peek = Peek::new(size);
    for (offset, len) in Peek::ranges(size) {
        // No further than the file was long when it was listed: a log that grows meanwhile ends anywhere.
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(len);
        let block = &mut buffer.bytes()[..len.min(left)];
        let read = file
            .read_at(offset, block)
            .map_err(StoreError::io("reading", path))?;
        peek.see(offset, &block[..read]);
    }
    Ok(peek)
}
