//! Data directories that a real TiKV wrote are opened, and all of their rows are there.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::{Copy, stores};
use tikv_security_standins::rows::read::View;

#[test]
fn every_row_of_every_store_is_read() {
    for name in names() {
        let copy = Copy::unpack(&name);
        let directory = copy.open();
        let rows = View(&directory.engine)
            .scan(b"", b"", usize::MAX, u64::MAX)
            .unwrap();
        let mut counts = BTreeMap::<String, u64>::new();
        for (key, value) in rows {
            let key = String::from_utf8_lossy(&key).into_owned();
            let value = value.unwrap().unwrap();
            assert!(value.starts_with(b"PLAINTEXT-MARKER-"), "{name}: {key}");
            let prefix = key
                .trim_end_matches(|letter: char| letter.is_ascii_digit())
                .trim_end_matches('-');
            *counts.entry(prefix.to_owned()).or_default() += 1;
        }
        assert_eq!(counts, copy.expected_rows(), "{name}");
    }
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(stores()).unwrap().flatten();
    let found = entries.filter(|entry| entry.path().join("manifest.json").is_file());
    let mut names: Vec<String> = found
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
