//! A small store on the simulated file system, and what must always be true of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::class::{GUARD, TEMPORARY};
use crate::agent::dictionaries::{self, State};
use crate::agent::error::StoreError;
use crate::agent::limits::{Batch, Limits};
use crate::agent::observer::Silent;
use crate::agent::plan::Target;
use crate::agent::store::{Outcome, Store};
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::crypto::Transform;
use crate::crypto::secret::SecretBytes;
use crate::fs::tests::sim::SimFs;
use crate::kms::MasterKey;
use crate::tikv::store_config::StoreConfig;

pub const DIR: &str = "/var/lib/tikv";

/// A master key that every test uses.
pub fn master_key() -> MasterKey {
    MasterKey::File(SecretBytes::new(vec![0x42; 32]))
}

pub fn to(method: Method) -> Target {
    Target {
        method,
        not_before: u64::MAX,
        key_id: None,
        decrypt: !method.encrypts(),
    }
}

/// Batches of two files, so that a run has several, with one flush for both and then one for each.
pub fn small_batches(flush_together: usize) -> Limits {
    Limits {
        batch: Batch {
            files: 2,
            bytes: 1 << 20,
            flush_together,
        },
        ..Limits::default()
    }
}

/// What TiKV must find under each path.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// A plaintext store: an empty file, one of a part of a sector, one of several sectors and a tail
/// that has two names, and `CURRENT`.
pub fn plaintext() -> (SimFs, Contents) {
    let fs = SimFs::new(&[DIR, "/var/lib/tikv/db", "/var/lib/tikv/raft-engine"]);
    let mut table: Vec<u8> = (0..1300_u32)
        .map(|i| i.to_le_bytes()[0].wrapping_mul(7))
        .collect();
    table.extend_from_slice(&[0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88]);
    let files: [(&str, Vec<u8>); 5] = [
        ("db/000010.sst", table),
        ("db/000011.log", Vec::new()),
        ("db/IDENTITY", b"0b5c7e6e-row-PLAINTEXT-MARKER".to_vec()),
        ("db/CURRENT", b"MANIFEST-000005\n".to_vec()),
        (
            "raft-engine/0000000000000001.raftlog",
            b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5\0\0\0\0\0\0\0\x01tail".to_vec(),
        ),
    ];
    let mut contents = Contents::new();
    for (path, bytes) in files {
        let path = format!("{DIR}/{path}");
        fs.put(&path, &bytes);
        contents.insert(PathBuf::from(path), bytes);
    }
    fs.put_link(
        &format!("{DIR}/db/000010.sst"),
        &format!("{DIR}/db/000012.sst"),
    );
    let linked = contents[Path::new("/var/lib/tikv/db/000010.sst")].clone();
    contents.insert(PathBuf::from("/var/lib/tikv/db/000012.sst"), linked);
    (fs, contents)
}

/// The same store, encrypted.
pub fn encrypted(method: Method) -> (SimFs, Contents) {
    encrypted_with(method, &master_key())
}

/// The same store, encrypted under another master key.
pub fn encrypted_with(method: Method, key: &MasterKey) -> (SimFs, Contents) {
    let (fs, contents) = plaintext();
    run_with(&fs, &to(method), key).unwrap();
    (fs.image(crate::fs::tests::sim::Survival::Nothing), contents)
}

/// One run of the engine.
pub fn run(fs: &SimFs, target: &Target) -> Result<Outcome, StoreError> {
    run_with(fs, target, &master_key())
}

fn run_with(fs: &SimFs, target: &Target, key: &MasterKey) -> Result<Outcome, StoreError> {
    let store = Store::open(fs, key, Path::new(DIR), Some(DIR), None::<&StoreConfig>)?;
    let lock = store.lock()?;
    store.reencrypt(
        target,
        Verification::Full,
        1_700_000_000,
        &Silent,
        lock.as_ref(),
    )
}

/// True when TiKV would be let start.
pub fn tikv_may_start(fs: &SimFs) -> bool {
    fs.content(&Path::new(DIR).join(GUARD)).is_none()
}

/// What TiKV reads through the dictionaries must be what it wrote.
pub fn assert_readable(fs: &SimFs, contents: &Contents, context: &str) {
    let state = dictionaries::load(fs, Path::new(DIR), &master_key())
        .unwrap_or_else(|error| panic!("{context}: the dictionaries do not open: {error}"));
    for (path, expected) in contents {
        let mut bytes = fs
            .content(path)
            .unwrap_or_else(|| panic!("{context}: {} is gone", path.display()));
        if let State::Has(dictionaries) = &state {
            let entry = dictionaries.files.entries.get(&*path.to_string_lossy());
            let stream = dictionaries::stream(&dictionaries.keys, entry)
                .unwrap_or_else(|bad| panic!("{context}: {}: {bad:?}", path.display()));
            Transform::new(stream, None).apply(0, &mut bytes);
        }
        assert!(
            bytes == *expected,
            "{context}: {} reads wrong",
            path.display()
        );
    }
}

/// The end of a run: as the target wants it, nothing left over, nothing more to do.
pub fn assert_finished(
    fs: &SimFs,
    contents: &Contents,
    target: &Target,
    old_keys: &[u64],
    context: &str,
) {
    assert!(tikv_may_start(fs), "{context}: the guard is still there");
    assert_readable(fs, contents, context);
    let left: Vec<_> = fs
        .paths()
        .into_iter()
        .filter(|path| {
            path.to_string_lossy().contains(TEMPORARY) || path.ends_with("tikv-security.journal")
        })
        .collect();
    assert!(left.is_empty(), "{context}: left over: {left:?}");
    let keys = keys(fs);
    assert!(
        keys.iter().all(|id| !old_keys.contains(id)),
        "{context}: an old data key is kept"
    );
    if target.method.encrypts() {
        for path in contents.keys().filter(|path| !path.ends_with("CURRENT")) {
            let bytes = fs.content(path).unwrap();
            let marker = b"PLAINTEXT-MARKER";
            assert!(
                !bytes.windows(marker.len()).any(|window| window == marker),
                "{context}: {} holds plaintext",
                path.display()
            );
        }
    } else {
        assert!(keys.is_empty(), "{context}: dictionaries are kept");
    }
}

/// Ids of all data keys.
pub fn keys(fs: &SimFs) -> Vec<u64> {
    keys_under(fs, &master_key())
}

/// Ids of all data keys, opened by this master key.
pub fn keys_under(fs: &SimFs, key: &MasterKey) -> Vec<u64> {
    match dictionaries::load(fs, Path::new(DIR), key).unwrap() {
        State::Never => Vec::new(),
        State::Has(dictionaries) => dictionaries.keys.keys.keys().copied().collect(),
    }
}
