//! What is written under encryption: read again after a restart, in no file in the clear, and still there after
//! tikv-security has given the store another key.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Copy;
use tikv_security_standins::engine::{Family, Operation};
use tikv_security_standins::replica::journal;
use tikv_security_standins::rows::codec::data_key;
use tikv_security_standins::rows::read::View;
use tikv_security_standins::store::directory::Directory;
use tikv_security_standins::wire::raft::{Entry, HardState, RaftLocalState};

const MARKER: &[u8] = b"PLAINTEXT-MARKER-";
const REGION: u64 = 1_000_001;
const ROWS: u64 = 2000;

#[test]
fn rows_survive_restarts_and_are_in_no_file_in_the_clear() {
    for method in ["aes128-ctr", "sm4-ctr"] {
        let copy = Copy::unpack("plaintext");
        for part in ["db", "raft-engine"] {
            fs::remove_dir_all(copy.path().join(part)).unwrap();
        }
        let configured = |text: &mut String| {
            let key = fs::canonicalize("../../tests/stores/keys/master.key").unwrap();
            text.push_str(&format!(
                "\n[security.encryption]\ndata-encryption-method = \"{method}\"\n\
                 [security.encryption.master-key]\ntype = \"file\"\npath = \"{}\"\n",
                key.display()
            ));
        };
        let directory = copy.open_as(configured);
        write(&directory);
        directory.engine.flush().unwrap();
        write_again(&directory);
        drop(directory);
        for round in 0..2 {
            let directory = copy.open_as(configured);
            assert_eq!(count(&directory), ROWS, "{method}, restart {round}");
            directory.engine.compact(Family::Default).unwrap();
        }
        for path in files(copy.path()) {
            let bytes = fs::read(&path).unwrap();
            assert!(
                !bytes.windows(MARKER.len()).any(|window| window == MARKER),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_log_that_was_cut_is_refused() {
    let copy = Copy::unpack("aes256");
    let directory = copy.open();
    write(&directory);
    drop(directory);
    // What TiKV does to a log that it cannot read: nothing is left of it.
    for path in files(&copy.path().join("raft-engine")) {
        if path
            .extension()
            .is_some_and(|extension| extension == "raftlog")
        {
            let length = fs::metadata(&path).unwrap().len();
            fs::write(&path, vec![7; usize::try_from(length).unwrap()]).unwrap();
        }
    }
    let Err(error) = Directory::open(copy.path(), &copy.options(|_| {})) else {
        panic!("it was opened")
    };
    assert!(error.contains("may lose data"), "{error}");
}

#[test]
fn a_store_opens_again_after_tikv_security_gave_it_another_key() {
    let program = product();
    for (name, to) in [
        ("aes256", "sm4-ctr"),
        ("plaintext", "aes256-ctr"),
        ("killed", "aes128-ctr"),
    ] {
        let copy = Copy::unpack(name);
        let directory = copy.open();
        write(&directory);
        let before = count(&directory);
        drop(directory);
        let key = fs::canonicalize("../../tests/stores/keys/master.key").unwrap();
        let done = Command::new(&program)
            .arg("reencrypt")
            .arg(copy.path())
            .args([
                "--to",
                to,
                "--seen-as",
                &copy.path().to_string_lossy(),
                "--master-key-file",
            ])
            .arg(&key)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let directory = copy.open_as(|text| {
            let at = text.find("[security.encryption]").unwrap_or(text.len());
            text.truncate(at);
            text.push_str(&format!(
                "\n[security.encryption]\ndata-encryption-method = \"{to}\"\n\
                 [security.encryption.master-key]\ntype = \"file\"\npath = \"{}\"\n",
                key.display()
            ));
        });
        assert_eq!(count(&directory), before, "{name}");
        let rows = View(&directory.engine)
            .scan(b"", b"b", usize::MAX, u64::MAX)
            .unwrap();
        assert!(
            rows.iter().all(|(_, value)| value
                .as_ref()
                .unwrap()
                .as_ref()
                .unwrap()
                .starts_with(MARKER)),
            "{name}"
        );
        assert_eq!(rows.len() as u64, copy.expected_rows()["a"], "{name}");
    }
}

// The way of a leader: first into the log, then into the tables.
fn write(directory: &Directory) {
    put(directory, 0..ROWS, 1);
}

fn write_again(directory: &Directory) {
    put(directory, (0..ROWS).step_by(3), 1 + ROWS / 100);
}

fn put(directory: &Directory, rows: impl Iterator<Item = u64>, mut index: u64) {
    let rows: Vec<u64> = rows.collect();
    for some in rows.chunks(100) {
        let operations: Vec<_> = some
            .iter()
            .map(|row| {
                let value = [MARKER, row.to_string().repeat(50).as_bytes()].concat();
                Operation::put(
                    Family::Default,
                    data_key(format!("zz-{row:06}").as_bytes()),
                    value,
                )
            })
            .collect();
        let entry = Entry {
            entry_type: 0,
            term: 8,
            index,
            data: journal::command(&operations),
        };
        let hard_state = Some(HardState {
            term: 8,
            vote: 0,
            commit: index,
        });
        directory
            .raft
            .append(
                REGION,
                &[entry],
                &RaftLocalState {
                    hard_state,
                    last_index: index,
                },
            )
            .unwrap();
        index += 1;
    }
    journal::replay(&directory.raft, &directory.engine).unwrap();
}

fn count(directory: &Directory) -> u64 {
    View(&directory.engine)
        .raw_scan(Family::Default, b"zz-", b"zz.", usize::MAX, false)
        .unwrap()
        .len() as u64
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

// The program under test, built when nobody names one.
fn product() -> PathBuf {
    if let Some(named) = std::env::var_os("TIKV_SECURITY_BIN") {
        return named.into();
    }
    let built = Command::new("cargo")
        .args([
            "build",
            "--locked",
            "--bin",
            "tikv-security",
            "--message-format=json",
        ])
        .current_dir("../..")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let lines = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next_back().expect("cargo names what it built")
}
