//! Files of a store under their dictionary entries, and what the beginning and end of each kind must look like.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::cipher;
use super::dictionary::{Dictionaries, FileInfo};
use super::wal;
use crate::Result;

/// First bytes of a file of the raft engine.
pub const RAFT_MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const SST_MAGIC: [u8; 8] = [0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88];
const BLOB_MAGIC: [u8; 4] = [0x14, 0xa6, 0xe0, 0x2b];

/// The plaintext of a file.
pub fn read(dictionaries: &Dictionaries, path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (info, key) = dictionaries.lookup(path)?;
    cipher::apply(info.method, &key, &info.iv, 0, &bytes)
}

/// Writes a new file: entry first, then the bytes.
pub fn create(dictionaries: &mut Dictionaries, path: &Path, content: &[u8]) -> Result<()> {
    let mut file = Appender::create(dictionaries, path)?;
    file.append(content)
}

/// A file that only grows.
pub struct Appender {
    file: fs::File,
    path: PathBuf,
    info: FileInfo,
    key: Vec<u8>,
    offset: u64,
}

impl Appender {
    /// Makes the entry, then the file.
    pub fn create(dictionaries: &mut Dictionaries, path: &Path) -> Result<Self> {
        let (info, key) = dictionaries.insert(path)?;
        let file = fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), info, key, offset: 0 })
    }

    /// Adds bytes at the end; they survive the death of the process.
    pub fn append(&mut self, content: &[u8]) -> Result<()> {
        let bytes = cipher::apply(self.info.method, &self.key, &self.info.iv, self.offset, content)?;
        self.file.write_all(&bytes).map_err(|e| format!("{}: {e}", self.path.display()))?;
        self.offset += content.len() as u64;
        Ok(())
    }

    /// How long the file is.
    pub fn length(&self) -> u64 {
        self.offset
    }
}

/// Opens every file of the engines. A real TiKV refuses most of what does not look right, and repairs some of it by
/// throwing data away (facts, encryption at rest §6.1); this one refuses all, so that a mistake is seen.
pub fn check_all(dictionaries: &Dictionaries, directory: &Path) -> Result<usize> {
    let mut count = 0;
    for part in ["db", "db/titandb", "raft-engine"] {
        let Ok(entries) = fs::read_dir(directory.join(part)) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            // Never encrypted, or without meaning (facts, §5.1, §5.2).
            if name == "LOCK" || name.ends_with(".reserved") || name.contains("tsec") {
                continue;
            }
            let content = if name == "CURRENT" { fs::read(&path).map_err(|e| e.to_string())? } else { read(dictionaries, &path)? };
            if !content.is_empty() && !looks_right(&name, &content) {
                return Err(format!("Corruption: {} is not what it must be", path.display()));
            }
            count += 1;
        }
    }
    Ok(count)
}

fn looks_right(name: &str, content: &[u8]) -> bool {
    let kind = name.rsplit('.').next().unwrap_or_default();
    match kind {
        "sst" => content.ends_with(&SST_MAGIC),
        "log" => wal::first_record_fits(content),
        "blob" => content.starts_with(&BLOB_MAGIC),
        "raftlog" | "rewrite" => content.starts_with(RAFT_MAGIC),
        _ if name.starts_with("MANIFEST-") => wal::first_record_fits(content),
        _ if name.starts_with("OPTIONS-") => content.starts_with(b"# This is a RocksDB option file."),
        _ if name == "CURRENT" => content.starts_with(b"MANIFEST-"),
        _ if name == "IDENTITY" => content.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()),
        _ => true,
    }
}
