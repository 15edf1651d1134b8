//! The command line on stores that a real TiKV wrote: what it says agrees with their manifests, and every store can be
//! turned into every method and back without a changed byte of content, by every back end that this CPU has. OpenSSL does
//! the decryption that judges.
#![allow(clippy::unwrap_used)]

mod data_dir;

use std::collections::BTreeMap;
use std::fs;

use data_dir::{DataDir, SEEN_AS, decrypt, digest};
use serde_json::Value;
use tikv_security::api::method::Method;
use tikv_security::crypto::Backend;
use tikv_security::format::pb;

/// Not content: what every run rewrites, and what no TiKV encrypts.
const NOT_CONTENT: [&str; 3] = ["file.dict", "key.dict", "last_tikv.toml"];

struct Fixture {
    dir: DataDir,
    manifest: Value,
}

impl Fixture {
    fn unpack(name: &str) -> Self {
        let manifest = fs::read(data_dir::stores().join(name).join("manifest.json")).unwrap();
        Self {
            dir: DataDir::unpack(name),
            manifest: serde_json::from_slice(&manifest).unwrap(),
        }
    }

    /// Digests of what TiKV wrote, by path.
    fn contents(&self) -> BTreeMap<String, String> {
        let files = self.manifest["files"].as_array().unwrap().iter();
        files
            .map(|file| {
                let digest = file
                    .get("sha256_plaintext")
                    .unwrap_or(&file["sha256_on_disk"]);
                (text(&file["path"]), text(digest))
            })
            .filter(|(path, _)| !NOT_CONTENT.contains(&path.as_str()))
            .collect()
    }

    fn assert_is(&self, method: Method, context: &str) {
        let (entries, keys) = self.dir.dictionaries();
        let old_keys: Vec<String> = self.manifest["data_keys"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert!(
            keys.keys
                .keys()
                .all(|id| !old_keys.contains(&id.to_string())),
            "{context}: an old data key is kept"
        );
        for (path, expected) in self.contents() {
            let mut bytes = fs::read(self.dir.at(&path)).unwrap();
            let marked = bytes
                .windows(16)
                .any(|window| window == b"PLAINTEXT-MARKER");
            assert!(
                !(marked && method.encrypts()),
                "{context}: {path} holds plaintext"
            );
            let entry = entries.get(&format!("{SEEN_AS}/{path}"));
            if let Some(entry) = entry {
                assert_eq!(
                    pb::method::from_wire(entry.method),
                    Some(method),
                    "{context}: {path}"
                );
                bytes = decrypt(method, &keys.keys[&entry.key_id].key, &entry.iv, &bytes);
            } else {
                let plain =
                    !method.encrypts() || path.ends_with("CURRENT") || path.ends_with(".tmp");
                assert!(plain || bytes.is_empty(), "{context}: {path} has no entry");
            }
            assert_eq!(
                digest(&bytes),
                expected,
                "{context}: the content of {path} changed"
            );
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `aes256-ctr`, also of the manifests' `Aes256Ctr`; no method is plaintext.
fn method_name(value: &Value) -> String {
    value.as_str().map_or_else(
        || "plaintext".to_owned(),
        |name| {
            name.to_lowercase()
                .replace("ctr", "-ctr")
                .replace("--", "-")
        },
    )
}

fn try_store(name: &str) {
    let store = Fixture::unpack(name);
    let inspected = store.dir.document(&["inspect"]);
    let said: BTreeMap<String, String> = inspected["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (text(&file["path"]), method_name(&file["method"])))
        .collect();
    for file in store.manifest["files"].as_array().unwrap() {
        let path = text(&file["path"]);
        assert_eq!(
            said[&path],
            method_name(&file["method"]),
            "{name}: inspect says of {path}"
        );
    }
    assert_eq!(inspected["dataDir"], SEEN_AS);
    for to in [
        Method::Aes128Ctr,
        Method::Sm4Ctr,
        Method::Aes192Ctr,
        Method::Plaintext,
        Method::Aes256Ctr,
        Method::Plaintext,
    ] {
        let context = format!("{name} to {to}");
        let planned = store
            .dir
            .document(&["reencrypt", "--to", to.name(), "--dry-run"]);
        let done = store.dir.document(&["reencrypt", "--to", to.name()]);
        assert_eq!(
            planned["bytes"], done["bytes"],
            "{context}: the dry run said otherwise"
        );
        store.assert_is(to, &context);
        let verified = store.dir.run(&["verify"]);
        assert!(
            verified.status.success(),
            "{context}: {}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
    for backend in Backend::ALL {
        if backend.available() {
            try_back_end(name, backend);
        } else {
            println!("NOT RUN: {}, this CPU lacks it", backend.name());
        }
    }
}

/// Every direction by one back end: a first key, a new key, other methods, none. OpenSSL judges.
fn try_back_end(name: &str, backend: Backend) {
    let store = DataDir::small(name);
    let before = store.contents();
    for to in [
        Method::Aes128Ctr,
        Method::Aes128Ctr,
        Method::Sm4Ctr,
        Method::Sm4Ctr,
        Method::Aes192Ctr,
        Method::Plaintext,
        Method::Aes256Ctr,
        Method::Plaintext,
    ] {
        let context = format!("{name} to {to} by {}", backend.name());
        let mut command = store.command(&["reencrypt", "--to", to.name()]);
        let done = command.env("TIKV_SECURITY_KERNEL", backend.name()).output();
        let said = done
            .as_ref()
            .map(|done| String::from_utf8_lossy(&done.stderr));
        assert!(
            done.as_ref().unwrap().status.success(),
            "{context}: {said:?}"
        );
        assert_eq!(store.contents(), before, "{context}");
        let wire = pb::method::to_wire(to);
        let entries = store.dictionaries().0;
        assert_eq!(entries.is_empty(), !to.encrypts(), "{context}");
        assert!(
            entries.values().all(|entry| entry.method == wire),
            "{context}"
        );
    }
}

macro_rules! stores {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            try_store($name);
        })*
    };
}

stores! {
    aes128: "aes128",
    aes192: "aes192",
    aes256_with_titan_blobs: "aes256",
    dictionary_of_version_1: "dict-v1",
    encryption_enabled_later: "enabled-later",
    killed_in_the_middle_of_writes: "killed",
    master_key_rotated: "master-key-rotated",
    three_methods_in_one_store: "method-changed",
    never_encrypted: "plaintext",
    sm4: "sm4",
    switched_off: "switched-off",
}

#[test]
fn a_wrong_master_key_is_refused_with_a_remedy_and_changes_nothing() {
    let mut store = Fixture::unpack("aes256");
    let before = fs::read(store.dir.at("key.dict")).unwrap();
    store.dir.master_key = store.dir.master_key.with_file_name("master2.key");
    let output = store.dir.run(&["reencrypt", "--to", "aes128-ctr"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("next:"), "{said}");
    assert_eq!(fs::read(store.dir.at("key.dict")).unwrap(), before);
}

#[test]
fn a_store_in_use_is_refused() {
    let store = Fixture::unpack("aes256");
    let lock = fs::File::create(store.dir.at("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let output = store.dir.run(&["reencrypt", "--to", "aes128-ctr"]);
    assert_eq!(
        output.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
