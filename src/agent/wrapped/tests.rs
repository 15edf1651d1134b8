//! Key files in real memory; a provider that never answers.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

pub(in crate::agent) use super::write;
use super::{Pending, Provided, UnwrapError};
use crate::api::wrapped::WrappedKey;
use crate::crypto::secret::SecretBytes;
use crate::kms::check_file_key;
use crate::kms::retry::Retry;

pub(in crate::agent) fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

pub(in crate::agent) fn key(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; 32])
}

/// One whose provider refuses connections.
pub(in crate::agent) fn pending(directory: &TempDir, grace: Option<u64>) -> Pending {
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("wrapped"), "vault:v1:d3JhcHBlZA==").unwrap();
    std::fs::write(path("token"), "hvs.token").unwrap();
    let order = serde_json::json!({
        "file": path("key"), "wrapped": path("wrapped"), "offlineGraceSeconds": grace,
        "by": {"vaultTransit": {
            "address": "http://127.0.0.1:1", "mount": "transit", "key": "k", "auth": {"token": {"file": path("token")}},
        }},
    });
    let order: WrappedKey = order.to_string().parse().unwrap();
    Pending {
        retry: Retry {
            deadline: Duration::from_millis(100),
            ..Retry::DEFAULT
        },
        ..Pending::new(order)
    }
}

#[test]
fn a_key_file_is_what_tikv_reads_and_for_its_owner_only() {
    let directory = memory();
    let file = directory.path().join("k");
    for byte in [0xa5, 0x0f] {
        write(&file, &key(byte)).unwrap();
        let text = std::fs::read(&file).unwrap();
        assert_eq!(text.len(), 65);
        check_file_key(&file, &text).unwrap();
        assert_eq!(&text[..2], format!("{byte:02x}").as_bytes());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o400);
    }
    let names = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 1, "nothing half-written is left");
}

#[test]
fn what_an_interrupted_write_left_behind_is_in_nobodys_way() {
    let directory = memory();
    std::fs::write(directory.path().join(".k.new"), "half").unwrap();
    let file = directory.path().join("k");
    write(&file, &key(1)).unwrap();
    assert_eq!(std::fs::read(&file).unwrap().len(), 65);
}

#[test]
fn no_key_is_written_to_a_disk() {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let error = write(&directory.path().join("k"), &key(1)).unwrap_err();
    assert!(matches!(error, UnwrapError::NotInMemory(_)), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_master_key_is_not_written() {
    let directory = memory();
    let short = SecretBytes::new(vec![1; 16]);
    let error = write(&directory.path().join("k"), &short).unwrap_err();
    assert!(matches!(error, UnwrapError::Size(16)), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_running_tikv_is_left_alone_and_nobody_is_asked() {
    let directory = memory();
    write(&directory.path().join("key"), &key(1)).unwrap();
    let provided = pending(&directory, None).provide(true).unwrap();
    assert_eq!(provided, Provided::InUse);
}

#[test]
fn what_is_in_memory_is_used_within_the_grace_only() {
    let directory = memory();
    let refused = |grace| pending(&directory, grace).provide(false).unwrap_err();
    let error = refused(Some(3600));
    assert_eq!(
        error.code(),
        "MasterKeyUnavailable",
        "nothing is in memory: {error}"
    );
    let file = directory.path().join("key");
    write(&file, &key(1)).unwrap();
    assert_eq!(refused(None).code(), "MasterKeyUnavailable");
    let provided = pending(&directory, Some(3600)).provide(false).unwrap();
    assert!(matches!(provided, Provided::Offline { .. }), "{provided:?}");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3700);
    let times = std::fs::FileTimes::new().set_modified(old);
    std::fs::File::open(&file)
        .unwrap()
        .set_times(times)
        .unwrap();
    assert_eq!(
        refused(Some(3600)).code(),
        "MasterKeyUnavailable",
        "too old"
    );
}

/// A key in memory says nothing of the next pod.
#[test]
fn the_provider_is_asked_though_the_key_is_in_memory() {
    let directory = memory();
    let order = pending(&directory, Some(3600));
    assert!(!order.is_provided());
    write(&directory.path().join("key"), &key(1)).unwrap();
    assert!(order.is_provided());
    let error = order.prove().unwrap_err();
    assert_eq!(error.code(), "MasterKeyUnavailable", "{error}");
    assert!(error.to_string().contains("can not start without it"));
}

/// Only an outage is bridged: who is refused must not go on with what is in memory.
#[test]
fn the_grace_is_for_an_outage_only() {
    let directory = memory();
    write(&directory.path().join("key"), &key(1)).unwrap();
    let order = pending(&directory, Some(3600));
    std::fs::remove_file(directory.path().join("token")).unwrap();
    let error = order.provide(false).unwrap_err();
    assert_eq!(error.code(), "MasterKeyDenied", "{error}");
    std::fs::remove_file(directory.path().join("wrapped")).unwrap();
    let error = order.provide(false).unwrap_err();
    assert_eq!(error.code(), "WrappedKeyMissing", "{error}");
}
