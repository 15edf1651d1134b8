//! The data directory: locks, panic mark, keys and engines, opened in TiKV's order (facts, encryption at rest §2.5).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dictionary::replace;
use super::keys::{KeyManager, Settings};
use super::master::Master;
use super::raftlog::RaftLog;
use crate::engine::{self, Engine, titan};
use crate::options::Options;
use crate::replica::journal;
use crate::{Result, log};

/// An opened store.
pub struct Directory {
    pub keys: Arc<KeyManager>,
    pub raft: RaftLog,
    pub engine: Engine,
    /// Held as long as the process lives.
    pub lock: fs::File,
}

impl Directory {
    /// Opens a data directory. PD has answered before.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        replace(&path.join("last_tikv.toml"), options.source.as_bytes())?;
        let held = lock(path)?;
        let mark = path.join("panic_mark_file");
        if mark.is_file() {
            return Err(format!(
                "panic_mark_file {} exists, there must be something wrong with the db. Do not remove the \
                 panic_mark_file and force the TiKV node to restart.",
                mark.display()
            ));
        }
        placeholder(path, options)?;
        let keys = open_keys(path, options).map_err(|error| {
            format!("Encryption failed to initialize: {error}. code: KV:Encryption")
        })?;
        let (database, raft) = (path.join("db"), path.join("raft-engine"));
        let existed = database.join("CURRENT").exists();
        if existed && !any_raft_log(&raft) {
            return Err("Cannot find raft data set.".into());
        }
        for part in [&raft, &database, &path.join("snap"), &path.join("import")] {
            fs::create_dir_all(part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        tidy(path);
        let raft = RaftLog::open(&raft, Arc::clone(&keys), options)?;
        let engine = open_engine(path, &database, &keys, options)?;
        journal::validate(&raft, &engine)?;
        journal::replay(&raft, &engine)?;
        let blobs = titan::inline(&engine, &database, &keys)?;
        log(&format!(
            "store open; encryption is {}, {} raft logs, {blobs} values of Titan blobs moved into tables",
            if keys.enabled() { "on" } else { "off" },
            raft.ids().len()
        ));
        Ok(Self {
            keys,
            raft,
            engine,
            lock: held,
        })
    }
}

fn open_keys(path: &Path, options: &Options) -> Result<Arc<KeyManager>> {
    let settings = Settings::configured(options)?;
    // Built first, so a key that cannot be read ends the boot also when the method is plaintext.
    let master = Master::configured(options, "master-key")?;
    KeyManager::open(path, settings, master, || {
        Master::configured(options, "previous-master-key")
    })
}

fn open_engine(
    path: &Path,
    database: &Path,
    keys: &Arc<KeyManager>,
    options: &Options,
) -> Result<Engine> {
    let files = options.number("rocksdb.max-open-files").unwrap_or(1000);
    let settings = engine::Settings {
        write_buffer: options
            .size("rocksdb.defaultcf.write-buffer-size")
            .unwrap_or(128 << 20),
        max_open_files: u32::try_from(files).unwrap_or(u32::MAX),
    };
    Engine::open(
        database,
        &path.join("rocksdb.info"),
        Arc::clone(keys),
        &settings,
    )
}

fn lock(path: &Path) -> Result<fs::File> {
    let failed = |error: &dyn std::fmt::Display| {
        format!(
            "lock {} failed, maybe another instance is using this directory. {error}",
            path.display()
        )
    };
    let file = fs::File::create(path.join("LOCK")).map_err(|e| failed(&e))?;
    file.try_lock().map_err(|e| failed(&e))?;
    Ok(file)
}

// Deleted and made again at every boot.
fn placeholder(path: &Path, options: &Options) -> Result<()> {
    let file = path.join("space_placeholder_file");
    _ = fs::remove_file(&file);
    let size = options.size("storage.reserve-space").unwrap_or(0);
    if size == 0 {
        return Ok(());
    }
    let done = fs::File::create(&file).and_then(|file| file.set_len(size));
    done.map_err(|error| format!("{}: {error}", file.display()))
}

fn any_raft_log(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().ends_with(".raftlog"))
}

// What TiKV deletes at boot without telling the dictionary.
fn tidy(path: &Path) {
    _ = fs::remove_dir_all(path.join("import/.temp"));
    _ = fs::remove_dir_all(path.join("import/.clone"));
    let Ok(entries) = fs::read_dir(path.join("snap")) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
    {
        _ = fs::remove_file(entry.path());
    }
}

/// The lock that keeps two servers from one address.
pub fn lock_address(address: &str) -> Result<fs::File> {
    // SAFETY: always succeeds.
    let user = unsafe { libc::getuid() };
    let directory = PathBuf::from(format!("/tmp/{user}_TIKV_LOCK_FILES"));
    let file = directory.join(address.replace(':', "_"));
    let failed = |error: &dyn std::fmt::Display| {
        format!(
            "{} already in use, maybe another instance is binding with this address. {error}",
            file.display()
        )
    };
    fs::create_dir_all(&directory).map_err(|e| failed(&e))?;
    let lock = fs::File::create(&file).map_err(|e| failed(&e))?;
    lock.try_lock().map_err(|e| failed(&e))?;
    Ok(lock)
}
