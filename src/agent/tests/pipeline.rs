//! The engine on real file systems: several files at once, around the page cache, paused, stopped and put down.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use super::world::{master_key, to};
use crate::agent::class::{GUARD, JOURNAL, TEMPORARY};
use crate::agent::error::StoreError;
use crate::agent::limits::{Batch, Limits};
use crate::agent::observer::{Observer, Silent};
use crate::agent::plan::Target;
use crate::agent::store::{Outcome, Store};
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::fs::os::OsFs;

const TABLE_END: [u8; 8] = [0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88];
const NAMES: usize = 5;

fn table(size: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size)
        .map(|at| (at * 31 + at / 251 + seed).to_le_bytes()[0])
        .collect();
    bytes.extend_from_slice(&TABLE_END);
    bytes
}

/// Small tables, large ones that do not end with a block of the disk, and one with several names.
fn fill(dir: &Path, small: usize) -> BTreeMap<PathBuf, Vec<u8>> {
    let db = dir.join("db");
    fs::create_dir(&db).unwrap();
    let mut contents = BTreeMap::new();
    let sizes =
        (0..small)
            .map(|at| at * 97 % 9000)
            .chain([1 << 20, (3 << 20) + 123, (2 << 20) - 8]);
    for (at, size) in sizes.enumerate() {
        let path = db.join(format!("{at:06}.sst"));
        let bytes = table(size, at);
        fs::write(&path, &bytes).unwrap();
        contents.insert(path, bytes);
    }
    let shared = contents[&db.join("000001.sst")].clone();
    for at in 1..NAMES {
        let path = db.join(format!("9{at:05}.sst"));
        fs::hard_link(db.join("000001.sst"), &path).unwrap();
        contents.insert(path, shared.clone());
    }
    contents
}

fn run(
    dir: &Path,
    target: &Target,
    verification: Verification,
    limits: Limits,
    observer: &dyn Observer,
) -> Result<Outcome, StoreError> {
    let key = master_key();
    let store = Store::open(&OsFs, &key, dir, None, None)?.within(limits);
    let lock = store.lock()?;
    store.reencrypt(target, verification, 1_700_000_000, observer, lock.as_ref())
}

fn threads(threads: usize) -> Limits {
    Limits {
        threads,
        ..Limits::default()
    }
}

fn assert_decrypted(dir: &Path, contents: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in contents {
        assert!(fs::read(path).unwrap() == *bytes, "{}", path.display());
    }
    for entry in fs::read_dir(dir.join("db")).unwrap() {
        let path = entry.unwrap().path();
        assert!(contents.contains_key(&path), "{} is left", path.display());
        assert!(!path.to_string_lossy().contains(TEMPORARY));
    }
}

fn there_and_back(dir: &Path) {
    let contents = fill(dir, 40);
    for (method, verification, limits) in [
        (Method::Aes256Ctr, Verification::Full, threads(3)),
        (Method::Sm4Ctr, Verification::Structure, threads(1)),
        (Method::Aes128Ctr, Verification::Structure, threads(4)),
    ] {
        let outcome = run(dir, &to(method), verification, limits, &Silent).unwrap();
        assert_eq!(outcome.files, contents.len() as u64);
        for (path, bytes) in &contents {
            assert!(fs::read(path).unwrap() != *bytes, "{}", path.display());
        }
        let meta = fs::metadata(dir.join("db/000001.sst")).unwrap();
        assert_eq!(
            meta.nlink(),
            NAMES as u64,
            "names of one file stay together"
        );
    }
    let back = to(Method::Plaintext);
    run(dir, &back, Verification::Full, threads(2), &Silent).unwrap();
    assert_decrypted(dir, &contents);
}

#[test]
fn a_store_on_disk_goes_there_and_back() {
    there_and_back(tempfile::tempdir().unwrap().path());
}

#[test]
fn a_store_in_memory_goes_there_and_back() {
    // tmpfs takes no direct I/O in older kernels.
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        there_and_back(tempfile::tempdir_in(shm).unwrap().path());
    }
}

#[test]
fn ten_thousand_names_of_one_file_stay_together() {
    const MANY: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    fs::create_dir(&db).unwrap();
    let name = |at: u64| db.join(format!("{at:06}.sst"));
    let bytes = table(4096, 1);
    fs::write(name(0), &bytes).unwrap();
    (1..MANY).for_each(|at| fs::hard_link(name(0), name(at)).unwrap());
    for method in [Method::Aes256Ctr, Method::Plaintext] {
        let outcome = run(
            dir.path(),
            &to(method),
            Verification::Full,
            threads(2),
            &Silent,
        );
        assert_eq!(outcome.unwrap().files, MANY);
        assert_eq!(fs::metadata(name(MANY - 1)).unwrap().nlink(), MANY);
        assert_eq!(fs::read(name(1)).unwrap() == bytes, !method.encrypts());
    }
}

#[test]
fn a_run_whose_time_is_over_lets_tikv_start_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let contents = fill(dir.path(), 40);
    let target = Target {
        not_before: 0,
        ..to(Method::Aes256Ctr)
    };
    let limits = Limits {
        until: Some(Instant::now()),
        batch: Batch {
            files: 16,
            ..Limits::default().batch
        },
        ..threads(2)
    };
    let mut runs = 1;
    while run(dir.path(), &target, Verification::Full, limits, &Silent)
        .unwrap()
        .time_is_over
    {
        assert!(!dir.path().join(GUARD).exists());
        assert!(!dir.path().join(JOURNAL).exists());
        runs += 1;
    }
    assert_eq!(runs, 43_u32.div_ceil(16));
    let back = to(Method::Plaintext);
    run(dir.path(), &back, Verification::Full, threads(2), &Silent).unwrap();
    assert_decrypted(dir.path(), &contents);
}

/// Waits before the first block until it is let go; stops when asked to.
struct Paused {
    tell: mpsc::SyncSender<()>,
    wait: Mutex<mpsc::Receiver<()>>,
    once: AtomicBool,
    bytes: AtomicU64,
    stop: bool,
}

impl Observer for Paused {
    fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::SeqCst);
    }

    fn stop(&self) -> bool {
        if !self.once.swap(true, Ordering::SeqCst) {
            self.tell.send(()).unwrap();
            self.wait.lock().unwrap().recv().unwrap();
        }
        self.stop && self.bytes.load(Ordering::SeqCst) > 1 << 20
    }
}

fn pause_and_go_on(stop: bool) -> (tempfile::TempDir, BTreeMap<PathBuf, Vec<u8>>, bool) {
    let dir = tempfile::tempdir().unwrap();
    let contents = fill(dir.path(), 20);
    let (tell, paused) = mpsc::sync_channel(1);
    let (go_on, wait) = mpsc::channel();
    let observer = Paused {
        tell,
        wait: Mutex::new(wait),
        once: AtomicBool::new(false),
        bytes: AtomicU64::new(0),
        stop,
    };
    let interrupted = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let target = to(Method::Aes256Ctr);
            run(
                dir.path(),
                &target,
                Verification::Full,
                threads(1),
                &observer,
            )
        });
        paused.recv().unwrap();
        assert_eq!(observer.bytes.load(Ordering::SeqCst), 0);
        go_on.send(()).unwrap();
        matches!(run.join().unwrap(), Err(StoreError::Interrupted))
    });
    (dir, contents, interrupted)
}

#[test]
fn a_paused_run_waits_and_goes_on() {
    let (dir, contents, interrupted) = pause_and_go_on(false);
    assert!(!interrupted);
    let back = to(Method::Plaintext);
    run(dir.path(), &back, Verification::Full, threads(2), &Silent).unwrap();
    assert_decrypted(dir.path(), &contents);
}

#[test]
fn a_stopped_run_holds_tikv_back_until_the_next_has_finished_it() {
    let (dir, contents, interrupted) = pause_and_go_on(true);
    assert!(interrupted);
    assert!(dir.path().join(GUARD).exists());
    let back = to(Method::Plaintext);
    let outcome = run(dir.path(), &back, Verification::Full, threads(2), &Silent).unwrap();
    assert!(outcome.resumed);
    assert_decrypted(dir.path(), &contents);
    assert!(!dir.path().join(GUARD).exists());
}
