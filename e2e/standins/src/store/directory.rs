//! The data directory: locks, panic mark, dictionaries, files, and the rows in write-ahead logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::cipher;
use super::dictionary::{Dictionaries, replace};
use super::files::{self, Appender, RAFT_MAGIC};
use super::master::Master;
use super::wal;
use crate::options::Options;
use crate::{Result, log};

// Column family operations and plain ones of a write batch.
const PUT: u8 = 1;
const SEQUENCE_AND_COUNT: usize = 12;
const ROTATE_AT: u64 = 4 << 20;
const OPTIONS: &[u8] = b"# This is a RocksDB option file.\n[Version]\n  rocksdb_version=8.10.0\n  options_file_version=1.1\n";
// A version edit that names the comparator.
const COMPARATOR: &[u8] = b"leveldb.BytewiseComparator";

/// A version of a row: greater ones win.
pub type Version = u64;

/// An opened store.
pub struct Directory {
    path: PathBuf,
    dictionaries: Dictionaries,
    log: Appender,
    number: u64,
    sequence: u64,
    // Held as long as the process lives.
    _locks: Vec<fs::File>,
    /// Rows by key.
    pub rows: BTreeMap<String, (Version, String)>,
}

impl Directory {
    /// Opens a data directory in TiKV's order: lock, panic mark, dictionaries, raft engine, key-value engine.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        for part in ["db", "raft-engine", "snap", "import"] {
            fs::create_dir_all(path.join(part)).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let mut locks = vec![lock(&path.join("LOCK"))?];
        let mark = path.join("panic_mark_file");
        if mark.is_file() {
            return Err(format!("panic_mark_file {} exists, there must be something wrong with the db", mark.display()));
        }
        replace(&path.join("last_tikv.toml"), options.source.as_bytes())?;
        let method = cipher::method(&options.text("security.encryption.data-encryption-method").unwrap_or_default())?;
        let mut dictionaries = Dictionaries::open(path, method, &Master::configured(options)?)?;
        locks.push(lock(&path.join("raft-engine/LOCK"))?);
        locks.push(lock(&path.join("db/LOCK"))?);
        let count = files::check_all(&dictionaries, path)?;
        log(&format!("{count} files open, encryption {}", if dictionaries.enabled() { "on" } else { "off" }));
        bootstrap(path, &mut dictionaries)?;
        let (rows, last, sequence) = replay(path, &dictionaries)?;
        log(&format!("{} rows", rows.len()));
        let number = last + 1;
        let log = Appender::create(&mut dictionaries, &log_path(path, number))?;
        Ok(Self { path: path.to_owned(), dictionaries, log, number, sequence, _locks: locks, rows })
    }

    /// Keeps the row with the greater version.
    pub fn put(&mut self, key: &str, version: Version, value: &str) -> Result<()> {
        if self.rows.get(key).is_some_and(|(known, _)| *known >= version) {
            return Ok(());
        }
        if self.log.length() > ROTATE_AT {
            self.number += 1;
            self.log = Appender::create(&mut self.dictionaries, &log_path(&self.path, self.number))?;
        }
        let batch = batch(self.sequence, key, &format!("{version} {value}"));
        let offset = usize::try_from(self.log.length()).unwrap_or(usize::MAX);
        self.log.append(&wal::record(offset, &batch))?;
        self.sequence += 1;
        self.rows.insert(key.to_owned(), (version, value.to_owned()));
        Ok(())
    }
}

fn bootstrap(path: &Path, dictionaries: &mut Dictionaries) -> Result<()> {
    if path.join("db/CURRENT").exists() {
        return Ok(());
    }
    let mut edit = vec![1, u8::try_from(COMPARATOR.len()).unwrap_or(0)];
    edit.extend(COMPARATOR);
    let manifest = wal::record(0, &edit);
    let raft = [RAFT_MAGIC, &1_u64.to_be_bytes()].concat();
    for (name, content) in [
        ("db/MANIFEST-000001", manifest.as_slice()),
        ("db/OPTIONS-000002", OPTIONS),
        ("db/IDENTITY", b"5f5c3c52-0000-4000-8000-73746e64696e"),
        ("raft-engine/0000000000000001.raftlog", &raft),
        ("raft-engine/0000000000000001.rewrite", &raft),
    ] {
        files::create(dictionaries, &path.join(name), content)?;
    }
    // Never encrypted, and without an entry.
    replace(&path.join("db/CURRENT"), b"MANIFEST-000001\n")
}

type Replayed = (BTreeMap<String, (Version, String)>, u64, u64);

fn replay(path: &Path, dictionaries: &Dictionaries) -> Result<Replayed> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path.join("db")).map_err(|e| e.to_string())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.split_once('.').map_or(&*name, |(number, _)| number);
        let number = number.rsplit('-').next().unwrap_or_default();
        if let Ok(number) = number.parse::<u64>() {
            numbers.push((number, name.ends_with(".log")));
        }
    }
    numbers.sort_unstable();
    let (mut rows, mut sequence) = (BTreeMap::new(), 1);
    for (number, _) in numbers.iter().filter(|(_, is_log)| *is_log) {
        for record in wal::records(&files::read(dictionaries, &log_path(path, *number))?) {
            let first = record.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
            sequence = sequence.max(first + 1);
            let Some((key, version, value)) = row(&record) else { continue };
            let newer = rows.get(&key).is_none_or(|(known, _): &(Version, String)| *known < version);
            if newer {
                rows.insert(key, (version, value));
            }
        }
    }
    Ok((rows, numbers.last().map_or(0, |(number, _)| *number), sequence))
}

// A batch of one row of ours; what a real TiKV wrote has other operations and is left alone.
fn row(record: &[u8]) -> Option<(String, Version, String)> {
    let (kind, rest) = record.get(SEQUENCE_AND_COUNT..)?.split_first()?;
    if *kind != PUT {
        return None;
    }
    let (key, rest) = slice(rest)?;
    let (content, rest) = slice(rest)?;
    let key = std::str::from_utf8(key).ok()?;
    let (version, value) = std::str::from_utf8(content).ok()?.split_once(' ')?;
    rest.is_empty().then_some((key.to_owned(), version.parse().ok()?, value.to_owned()))
}

fn batch(sequence: u64, key: &str, content: &str) -> Vec<u8> {
    let mut batch = [&sequence.to_le_bytes()[..], &1_u32.to_le_bytes(), &[PUT]].concat();
    for part in [key, content] {
        let mut length = part.len();
        while length >= 0x80 {
            batch.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        batch.push(u8::try_from(length).unwrap_or(0));
        batch.extend(part.as_bytes());
    }
    batch
}

fn slice(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut used) = (0_usize, 0);
    loop {
        let byte = *bytes.get(used)?;
        length |= usize::from(byte & 0x7f) << (7 * used);
        used += 1;
        if byte < 0x80 {
            return bytes.get(used..)?.split_at_checked(length);
        }
        if used > 4 {
            return None;
        }
    }
}

fn log_path(path: &Path, number: u64) -> PathBuf {
    path.join(format!("db/{number:06}.log"))
}

fn lock(path: &Path) -> Result<fs::File> {
    let file = fs::File::options().create(true).write(true).truncate(false).open(path);
    let file = file.map_err(|e| format!("{}: {e}", path.display()))?;
    let failed = |_| format!("lock {} failed, maybe another instance is using this directory.", path.display());
    file.try_lock().map_err(failed)?;
    Ok(file)
}
