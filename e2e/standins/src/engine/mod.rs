//! RocksDB, with TiKV's column families and TiKV's encryption underneath.

mod calls;
mod raw;
pub mod titan;

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use self::raw::Part;
use crate::Result;
use crate::store::keys::KeyManager;

/// Column families, by the number that the shim gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Family {
    Default = 0,
    Lock = 1,
    Write = 2,
    Raft = 3,
}

impl Family {
    /// By TiKV's name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "" | "default" => Ok(Self::Default),
            "lock" => Ok(Self::Lock),
            "write" => Ok(Self::Write),
            "raft" => Ok(Self::Raft),
            other => Err(format!("column family {other} not found")),
        }
    }

    /// TiKV's name.
    pub fn name(self) -> &'static str {
        ["default", "lock", "write", "raft"][self as usize]
    }
}

/// One operation of a batch; without a value it deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub family: Family,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Operation {
    /// Writes a value.
    pub fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self {
            family,
            key,
            value: Some(value),
        }
    }

    /// Deletes a key.
    pub fn delete(family: Family, key: Vec<u8>) -> Self {
        Self {
            family,
            key,
            value: None,
        }
    }
}

/// Sizes by the configuration.
pub struct Settings {
    pub write_buffer: u64,
    pub max_open_files: u32,
}

/// An open database.
pub struct Engine {
    raw: *mut raw::Engine,
    // RocksDB's threads ask it until the database is closed.
    _keys: Arc<KeyManager>,
}

// SAFETY: RocksDB's handle may be used by many threads at once.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

impl Engine {
    /// Opens `db/` of a data directory, or makes it.
    pub fn open(
        path: &Path,
        log: &Path,
        keys: Arc<KeyManager>,
        settings: &Settings,
    ) -> Result<Self> {
        let text = |path: &Path| {
            CString::new(path.to_string_lossy().as_bytes()).map_err(|e| e.to_string())
        };
        let (path, log) = (text(path)?, text(log)?);
        let calls = calls::table(&keys);
        let settings = raw::Settings {
            write_buffer: settings.write_buffer,
            max_open_files: i32::try_from(settings.max_open_files).unwrap_or(i32::MAX),
        };
        let mut error = std::ptr::null_mut();
        // SAFETY: all pointers live through the call; `keys` lives as long as the engine.
        let raw = unsafe {
            raw::engine_open(
                path.as_ptr(),
                log.as_ptr(),
                &raw const calls,
                &raw const settings,
                &raw mut error,
            )
        };
        if raw.is_null() {
            return Err(format!("failed to create kv engine: {}", taken(error)));
        }
        Ok(Self { raw, _keys: keys })
    }

    /// All operations or none.
    pub fn write(&self, operations: &[Operation], sync: bool) -> Result<()> {
        let raw: Vec<_> = operations
            .iter()
            .map(|one| raw::Operation {
                family: one.family as u32,
                deletes: i32::from(one.value.is_none()),
                key: Part::of(&one.key),
                value: Part::of(one.value.as_deref().unwrap_or_default()),
            })
            .collect();
        // SAFETY: the parts borrow from `operations`.
        checked(unsafe { raw::engine_write(self.raw, raw.as_ptr(), raw.len(), i32::from(sync)) })
    }

    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (mut value, mut length, mut error) = (std::ptr::null_mut(), 0, std::ptr::null_mut());
        // SAFETY: the key lives through the call; what is found is copied and released.
        unsafe {
            match raw::engine_get(
                self.raw,
                family as u32,
                Part::of(key),
                &raw mut value,
                &raw mut length,
                &raw mut error,
            ) {
                0 => {
                    let found = std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec();
                    raw::free(value.cast());
                    Ok(Some(found))
                }
                1 => Ok(None),
                _ => Err(taken(error)),
            }
        }
    }

    /// Walks over a family.
    pub fn iterate(&self, family: Family) -> Cursor<'_> {
        // SAFETY: the cursor does not outlive the engine.
        Cursor {
            raw: unsafe { raw::engine_iterate(self.raw, family as u32) },
            _engine: self,
        }
    }

    /// Keys whose newest value is a Titan blob, and where that blob is.
    pub fn blob_indexes(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // SAFETY: `note` gets the vector back, and parts that live through its call.
        checked(unsafe {
            raw::engine_blob_indexes(self.raw, (&raw mut found).cast::<c_void>(), note)
        })?;
        Ok(found)
    }

    /// Writes what is in memory into tables.
    pub fn flush(&self) -> Result<()> {
        // SAFETY: the engine is open.
        checked(unsafe { raw::engine_flush(self.raw) })
    }

    /// Writes all tables of a family anew.
    pub fn compact(&self, family: Family) -> Result<()> {
        self.compact_by(family, 1, true)
    }

    /// Compacts a family; with `force` the tables of the lowest level are written anew as well.
    pub fn compact_by(&self, family: Family, threads: u32, force: bool) -> Result<()> {
        // SAFETY: the engine is open.
        checked(unsafe { raw::engine_compact(self.raw, family as u32, threads, i32::from(force)) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: closed once, and cursors are gone.
        unsafe { raw::engine_close(self.raw) }
    }
}

/// A position in a family; it sees the state of the moment at which it was made.
pub struct Cursor<'a> {
    raw: *mut raw::Iterator,
    _engine: &'a Engine,
}

impl Cursor<'_> {
    /// To the first key at or after `key`.
    pub fn seek(&mut self, key: &[u8]) {
        // SAFETY: the key lives through the call. The same holds below.
        unsafe { raw::iterator_seek(self.raw, Part::of(key)) }
    }

    /// To the last key at or before `key`.
    pub fn seek_back(&mut self, key: &[u8]) {
        // SAFETY: see `seek`.
        unsafe { raw::iterator_seek_back(self.raw, Part::of(key)) }
    }

    /// One forward.
    pub fn next(&mut self) {
        // SAFETY: see `seek`; only called at an entry.
        unsafe { raw::iterator_next(self.raw) }
    }

    /// One back.
    pub fn previous(&mut self) {
        // SAFETY: see `next`.
        unsafe { raw::iterator_previous(self.raw) }
    }

    /// Key and value here; `None` at the end.
    pub fn entry(&self) -> Result<Option<(&[u8], &[u8])>> {
        // SAFETY: the parts live until the cursor moves, which needs `&mut self`.
        unsafe {
            if raw::iterator_valid(self.raw) == 0 {
                return checked(raw::iterator_error(self.raw)).map(|()| None);
            }
            Ok(Some((
                raw::iterator_key(self.raw).bytes(),
                raw::iterator_value(self.raw).bytes(),
            )))
        }
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // SAFETY: released once.
        unsafe { raw::iterator_release(self.raw) }
    }
}

unsafe extern "C" fn note(context: *mut c_void, key: Part, value: Part) {
    // SAFETY: `blob_indexes` hands in its vector.
    let found = unsafe { &mut *context.cast::<Vec<(Vec<u8>, Vec<u8>)>>() };
    // SAFETY: both live through this call.
    found.push(unsafe { (key.bytes().to_vec(), value.bytes().to_vec()) });
}

fn checked(error: *mut c_char) -> Result<()> {
    if error.is_null() {
        Ok(())
    } else {
        Err(taken(error))
    }
}

// The text of an error, which is released.
fn taken(error: *mut c_char) -> String {
    if error.is_null() {
        return "unknown error".to_owned();
    }
    // SAFETY: the shim makes errors with `strdup`.
    unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        raw::free(error.cast());
        text
    }
}
