//! Full verifications on a real file system.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::world::{master_key, to};
use crate::agent::observer::Silent;
use crate::agent::store::Store;
use crate::agent::verify::Run;
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::fs::os::OsFs;

fn table(size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size)
        .map(|at| (at * 31 + at / 251).to_le_bytes()[0])
        .collect();
    bytes.extend_from_slice(&[0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88]);
    bytes
}

#[test]
fn every_byte_is_read_in_bounded_steps_and_what_is_wrong_is_counted() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    fs::create_dir(dir.join("db")).unwrap();
    let sizes = [0, 100, 5000, (3 << 20) + 123];
    for (at, size) in sizes.iter().enumerate() {
        fs::write(dir.join(format!("db/{at:06}.sst")), table(*size)).unwrap();
    }
    let key = master_key();
    let store = Store::open(&OsFs, &key, Path::new(dir), None, None).unwrap();
    let lock = store.lock().unwrap();
    let target = to(Method::Aes256Ctr);
    store
        .reencrypt(
            &target,
            Verification::Full,
            1_700_000_000,
            &Silent,
            lock.as_ref(),
        )
        .unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let all: u64 = sizes.iter().map(|size| *size as u64 + 8).sum();

    let mut run = Run::begin(&store.measure().unwrap(), now);
    let mut steps = 0;
    while !run.go_on(&OsFs, 1 << 20) {
        steps += 1;
    }
    assert!(steps >= 3, "{steps} steps for {all} bytes");
    let report = run.end(&store.measure().unwrap(), now);
    assert_eq!(
        (report.files, report.bytes, report.failed, report.gone),
        (4, all, 0, 0)
    );

    // TiKV removes one, and another is damaged.
    let mut run = Run::begin(&store.measure().unwrap(), now);
    fs::remove_file(dir.join("db/000001.sst")).unwrap();
    let damaged = dir.join("db/000002.sst");
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    while !run.go_on(&OsFs, u64::MAX) {}
    let report = run.end(&store.measure().unwrap(), now);
    assert_eq!((report.files, report.failed, report.gone), (2, 1, 1));
    assert_eq!(report.findings[0].code, "ContentMismatch");
}
