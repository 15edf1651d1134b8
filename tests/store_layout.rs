//! What lies about in a data directory: hard links, stale entries, leftovers, directories elsewhere, links, files of
//! nobody. Either it comes out as TiKV would read it, or the store is refused and nothing is changed.
#![allow(clippy::unwrap_used)]

mod data_dir;

use std::fs;
use std::os::unix::fs::MetadataExt;

use data_dir::{DataDir, SEEN_AS, codes, plain};
use serde_json::Value;
use tikv_security::format::pb::FileInfo;

const TABLE: &str = "db/000018.sst";

fn named(path: &str) -> String {
    format!("{SEEN_AS}/{path}")
}

/// Refused with this word and a next step, and not a byte changed.
fn refused(store: &DataDir, arguments: &[&str], exit: i32, code: &str) -> Value {
    let before = store.image();
    let (status, document, said) = store.fails(arguments);
    assert_eq!(status, exit, "{said}");
    assert_eq!(document["error"]["code"], code, "{said}");
    assert!(said.contains("next: "), "{said}");
    assert!(store.image() == before, "{said}: something was changed");
    document["error"].clone()
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let store = DataDir::small("aes256");
    let (second, third) = ("import/0a0b_2_1_1_default.sst", "db/900018.sst");
    fs::create_dir_all(store.at("import")).unwrap();
    for name in [second, third] {
        fs::hard_link(store.at(TABLE), store.at(name)).unwrap();
    }
    store.change_entries(|entries| {
        let entry = entries[&named(TABLE)].clone();
        entries.extend([second, third].map(|name| (named(name), entry.clone())));
    });
    let before = store.contents();
    let inspected = store.document(&["inspect"]);
    assert_eq!(codes(&inspected), Vec::<String>::new());
    store.document(&["reencrypt", "--to", "sm4-ctr"]);
    assert_eq!(store.contents(), before);
    let inode = |name| fs::metadata(store.at(name)).unwrap().ino();
    assert_eq!([inode(second), inode(third)], [inode(TABLE); 2]);
    let entries = store.dictionaries().0;
    assert_eq!(entries[&named(TABLE)], entries[&named(third)]);
}

#[test]
fn names_of_one_file_with_different_entries_are_refused() {
    let store = DataDir::small("aes256");
    fs::hard_link(store.at(TABLE), store.at("db/900018.dbtmp")).unwrap();
    store.change_entries(|entries| {
        let other = FileInfo {
            iv: vec![9; 16],
            ..entries[&named(TABLE)].clone()
        };
        entries.insert(named("db/900018.dbtmp"), other);
    });
    let error = refused(
        &store,
        &["reencrypt", "--to", "aes256-ctr"],
        3,
        "StoreInconsistent",
    );
    assert!(
        error["message"].as_str().unwrap().contains(TABLE),
        "{error}"
    );
}

#[test]
fn a_copy_outside_that_keeps_the_old_bytes_is_told() {
    let store = DataDir::small("aes256");
    let outside = tempfile::tempdir_in(store.path().parent().unwrap()).unwrap();
    fs::hard_link(store.at(TABLE), outside.path().join("copy")).unwrap();
    assert_eq!(codes(&store.document(&["inspect"])), ["LinkedElsewhere"]);
}

#[test]
fn stale_entries_leftovers_and_spares() {
    let store = DataDir::small("aes256");
    let noise = |length: usize| {
        (0..length)
            .map(|at| u8::try_from(at * 151 % 251).unwrap())
            .collect::<Vec<_>>()
    };
    fs::create_dir_all(store.at("import/.clone")).unwrap();
    fs::create_dir_all(store.at("snap")).unwrap();
    fs::create_dir_all(store.at("raft-engine.REMOVE")).unwrap();
    // Ciphertext without an entry: all garbage for TiKV (facts, encryption at rest §5.3).
    let leftovers = [
        "import/.clone/0a0b_2_1_1_default.sst",
        "snap/rev_1_6_8_write.sst.tmp",
        "snap/gen_1_6_8_write.sst.clone",
        "raft-engine.REMOVE/0000000000000001.raftlog",
        "file.123456.tmp",
    ];
    for path in leftovers {
        fs::write(store.at(path), noise(3000)).unwrap();
    }
    let spare = "raft-engine/0000000000000009.raftlog.reserved";
    fs::write(store.at(spare), noise(5000)).unwrap();
    fs::write(store.at("db/notes.txt"), b"mine").unwrap();
    store.change_entries(|entries| {
        let entry = entries[&named(TABLE)].clone();
        entries.insert(named("snap/rev_9_9_9_write.sst"), entry.clone());
        entries.insert(
            named(spare),
            FileInfo {
                iv: vec![3; 16],
                ..entry.clone()
            },
        );
        entries.insert(named("db/CURRENT"), entry);
    });
    // CURRENT is in the clear under an entry of long ago: TiKV reads it as it is (facts §5.2).
    let mut before = store.contents();
    before.insert(
        "db/CURRENT".to_owned(),
        data_dir::digest(&fs::read(store.at("db/CURRENT")).unwrap()),
    );
    before.retain(|path, _| !leftovers.contains(&path.as_str()));
    let found = codes(&store.document(&["inspect"]));
    assert_eq!(found, ["UnknownFile", "StaleEntries"]);
    store.document(&["reencrypt", "--to", "aes128-ctr"]);
    assert_eq!(store.contents(), before);
    let entries = store.dictionaries().0;
    assert!(!entries.contains_key(&named("db/CURRENT")));
    assert!(!entries.contains_key(&named("snap/rev_9_9_9_write.sst")));
    assert_eq!(fs::read(store.at("db/notes.txt")).unwrap(), b"mine");
}

/// Moves the raft engine to a directory of its own, as on another volume.
fn raft_engine_elsewhere(store: &DataDir) -> (tempfile::TempDir, String) {
    let elsewhere = tempfile::tempdir().unwrap();
    let raft = elsewhere.path().join("raft");
    fs::rename(store.at("raft-engine"), &raft).unwrap();
    store.change_entries(|entries| {
        let from = named("raft-engine");
        let moved = entries.iter().map(|(name, entry)| {
            let name = name
                .strip_prefix(&from)
                .map_or_else(|| name.clone(), |rest| format!("{}{rest}", raft.display()));
            (name, entry.clone())
        });
        *entries = moved.collect();
    });
    fs::remove_file(store.at("last_tikv.toml")).unwrap();
    (elsewhere, raft.to_string_lossy().into_owned())
}

fn config(store: &DataDir, raft: &str, wal: &str) -> String {
    let path = store.path().with_extension("toml");
    let key = store.master_key.display();
    let text = format!(
        "[storage]\ndata-dir = \"{SEEN_AS}\"\n[raft-engine]\ndir = \"{raft}\"\n{wal}[security.encryption]\n\
         data-encryption-method = \"aes256-ctr\"\n[security.encryption.master-key]\ntype = \"file\"\npath = \"{key}\"\n"
    );
    fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_directory_elsewhere_is_part_of_the_store_or_the_store_is_refused() {
    let store = DataDir::small("aes256");
    let (_elsewhere, raft) = raft_engine_elsewhere(&store);
    let error = refused(
        &store,
        &["reencrypt", "--to", "sm4-ctr"],
        3,
        "StoreInconsistent",
    );
    assert!(
        error["message"].as_str().unwrap().contains(&raft),
        "{error}"
    );
    assert_eq!(
        codes(&store.document_of_findings(&["inspect"])),
        ["EntriesElsewhere", "StaleEntries"]
    );

    let read = || {
        let (entries, keys) = store.dictionaries();
        let name = format!("{raft}/0000000000000001.raftlog");
        plain(&entries[&name], &keys, &fs::read(&name).unwrap())
    };
    let before = (store.contents(), read());
    let config = config(&store, &raft, "");
    let inspected = store.document(&["inspect", "--config", &config]);
    assert_eq!(codes(&inspected), Vec::<String>::new());
    store.document(&["reencrypt", "--config", &config, "--to", "sm4-ctr"]);
    assert!((store.contents(), read()) == before);
    let verified = store.run(&["verify", "--config", &config, "--require", "sm4-ctr"]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    fs::remove_file(config).unwrap();
}

#[test]
fn a_directory_that_is_not_mounted_is_named() {
    let store = DataDir::small("aes256");
    let config = config(&store, "/nowhere/raft", "");
    let error = refused(
        &store,
        &["reencrypt", "--config", &config, "--to", "sm4-ctr"],
        2,
        "Configuration",
    );
    assert!(
        error["message"].as_str().unwrap().contains("/nowhere/raft"),
        "{error}"
    );
    fs::remove_file(config).unwrap();
}

#[test]
fn a_root_inside_of_another_root_is_looked_at_once() {
    let store = DataDir::small("aes256");
    let (_elsewhere, raft) = raft_engine_elsewhere(&store);
    let wal = format!("{raft}/wal");
    fs::create_dir(&wal).unwrap();
    let moved = format!("{wal}/000016.log");
    fs::rename(store.at("db/000016.log"), &moved).unwrap();
    store.change_entries(|entries| {
        let entry = entries.remove(&named("db/000016.log")).unwrap();
        entries.insert(moved.clone(), entry);
    });
    let config = config(&store, &raft, &format!("[rocksdb]\nwal-dir = \"{wal}/\"\n"));
    let inspected = store.document(&["inspect", "--config", &config]);
    assert_eq!(codes(&inspected), Vec::<String>::new());
    let paths = inspected["files"].as_array().unwrap().iter();
    assert_eq!(
        paths
            .filter(|file| file["path"].as_str().unwrap().ends_with("000016.log"))
            .count(),
        1
    );
    fs::remove_file(config).unwrap();
}

#[test]
fn what_a_symbolic_link_hides_is_not_taken_for_stale() {
    let store = DataDir::small("aes256");
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("db");
    fs::rename(store.at("db"), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, store.at("db")).unwrap();
    let error = refused(
        &store,
        &["reencrypt", "--to", "sm4-ctr"],
        3,
        "StoreInconsistent",
    );
    assert!(
        error["message"].as_str().unwrap().contains("symbolic link"),
        "{error}"
    );
}

#[test]
fn another_spelling_of_a_file_is_not_taken_for_stale() {
    let store = DataDir::small("aes256");
    store.change_entries(|entries| {
        let entry = entries.remove(&named(TABLE)).unwrap();
        entries.insert(format!("{SEEN_AS}//{TABLE}"), entry);
    });
    refused(
        &store,
        &["reencrypt", "--to", "sm4-ctr"],
        3,
        "StoreInconsistent",
    );
}

#[test]
fn the_path_of_tikv_is_detected() {
    let store = DataDir::small("aes256");
    fs::remove_file(store.at("last_tikv.toml")).unwrap();
    store.change_entries(|entries| {
        let moved = entries
            .iter()
            .map(|(name, entry)| (name.replace(SEEN_AS, "/data/db/tikv"), entry.clone()));
        *entries = moved.collect();
    });
    let mut command = store.command(&["inspect"]);
    let seen: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let without = seen
        .iter()
        .filter(|word| *word != "--seen-as" && *word != SEEN_AS);
    command = std::process::Command::new(env!("CARGO_BIN_EXE_tikv-security"));
    let output = command.args(without).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["dataDir"], "/data/db/tikv");
    assert_eq!(codes(&document), Vec::<String>::new());
}

#[test]
fn a_tiflash_store_is_refused() {
    let store = DataDir::small("aes256");
    fs::create_dir(store.at("db/dmf_12")).unwrap();
    store.change_entries(|entries| {
        let entry = entries[&named(TABLE)].clone();
        entries.insert(named("db/dmf_12"), entry);
    });
    refused(&store, &["reencrypt", "--to", "sm4-ctr"], 3, "TiFlash");

    let store = DataDir::small("plaintext");
    let config = store.path().with_extension("toml");
    fs::write(&config, "[server]\nlabels = { engine = \"tiflash\" }\n").unwrap();
    refused(
        &store,
        &[
            "reencrypt",
            "--to",
            "sm4-ctr",
            "--config",
            &config.to_string_lossy(),
        ],
        3,
        "TiFlash",
    );
    fs::remove_file(config).unwrap();
}

#[test]
fn damaged_dictionaries_are_refused() {
    for name in ["key.dict", "file.dict"] {
        let store = DataDir::small("aes256");
        let mut bytes = fs::read(store.at(name)).unwrap();
        bytes[30] ^= 1;
        fs::write(store.at(name), bytes).unwrap();
        let code = if name == "key.dict" {
            "KeyDictionaryDamaged"
        } else {
            "FileDictionaryDamaged"
        };
        for command in ["reencrypt --to sm4-ctr", "inspect", "verify"] {
            let arguments: Vec<_> = command.split(' ').collect();
            refused(&store, &arguments, 9, code);
        }
        fs::remove_file(store.at(name)).unwrap();
        refused(
            &store,
            &["reencrypt", "--to", "sm4-ctr"],
            9,
            "DictionaryMissing",
        );
    }
}

#[test]
fn a_store_that_tikv_marked_as_damaged_is_refused() {
    let store = DataDir::small("aes256");
    fs::write(store.at("panic_mark_file"), b"").unwrap();
    refused(&store, &["reencrypt", "--to", "sm4-ctr"], 3, "PanicMark");
}
