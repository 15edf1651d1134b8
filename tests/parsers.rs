//! Foreign bytes: files that a real TiKV wrote, cut at every byte, with every bit flipped, changed at random; and the
//! corpora of the fuzz targets. Nothing panics, and nothing damaged passes for whole.
#![allow(clippy::unwrap_used)]

mod data_dir;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use data_dir::DataDir;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tikv_security::agent::journal::{self, Run};
use tikv_security::api::desired::Verification;
use tikv_security::api::method::Method;
use tikv_security::format::envelope::{self, HEADER_LEN};
use tikv_security::format::file_dict::FileDict;
use tikv_security::format::key_dict;
use tikv_security::kms::MasterKey;

/// Reserved bytes of the header of a dictionary, which nobody reads.
const RESERVED: std::ops::Range<usize> = 1..4;

fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        (bit, damaged)
    })
}

/// Container, checksum made anew: what somebody who wants to deceive would do.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes[HEADER_LEN..]);
    bytes[4..8].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A real `file.dict` in its log form, short enough to try everything.
fn file_dict_with_log() -> Vec<u8> {
    let bytes = fs::read(DataDir::unpack("killed").at("file.dict")).unwrap();
    let end = records(&bytes)[12];
    bytes[..end].to_vec()
}

/// Where the records of a dictionary begin, and the end.
fn records(bytes: &[u8]) -> Vec<usize> {
    let content = u64::from_be_bytes(bytes[8..16].try_into().unwrap());
    let mut at = HEADER_LEN + usize::try_from(content).unwrap();
    let mut starts = vec![at];
    while at < bytes.len() {
        let length = |from: usize| usize::from(u16::from_be_bytes([bytes[from], bytes[from + 1]]));
        at += 9 + length(at + 4) + length(at + 6);
        starts.push(at);
    }
    starts
}

#[test]
fn a_log_that_was_cut_loses_its_last_record_and_no_other() {
    let bytes = file_dict_with_log();
    let starts = records(&bytes);
    assert!(starts.len() > 4, "{} records", starts.len() - 1);
    for len in 0..bytes.len() {
        let read = FileDict::parse(&bytes[..len]);
        if len < starts[0] {
            assert!(read.is_err(), "{len} bytes");
            continue;
        }
        // The file ends between two records, or within one, which is then the torn one.
        let begun = *starts.iter().rfind(|&&start| start <= len).unwrap();
        let whole = FileDict::parse(&bytes[..begun]).unwrap();
        let read = read.unwrap();
        assert_eq!(read.entries, whole.entries, "{len} bytes");
        assert_eq!(read.torn_bytes, len - begun, "{len} bytes");
    }
}

/// The checksum of a record covers neither its type nor its lengths. What a flipped bit there can do: the last record
/// is taken for a torn one, which is reported. Everything else is an error.
#[test]
fn a_flipped_bit_in_a_log_is_an_error_or_costs_the_last_record_and_is_reported() {
    let bytes = file_dict_with_log();
    let starts = records(&bytes);
    let whole = FileDict::parse(&bytes).unwrap();
    let last = starts[starts.len() - 2];
    let without_last = FileDict::parse(&bytes[..last]).unwrap();
    for (bit, damaged) in flips(&bytes) {
        match FileDict::parse(&damaged) {
            Err(_) => {}
            Ok(read) if RESERVED.contains(&(bit / 8)) => assert_eq!(read, whole),
            Ok(read) => {
                assert!(
                    bit / 8 >= last,
                    "bit {bit} changed the dictionary unnoticed"
                );
                assert_eq!(read.entries, without_last.entries, "bit {bit}");
                assert_eq!(read.torn_bytes, bytes.len() - last, "bit {bit}");
            }
        }
    }
}

#[test]
fn a_damaged_file_dictionary_without_a_log_is_refused() {
    for store in ["dict-v1", "aes256"] {
        let dict = DataDir::unpack(store).file_dict();
        let bytes = dict.encode(dict.version);
        for len in 0..bytes.len() {
            assert!(
                FileDict::parse(&bytes[..len]).is_err(),
                "{store}: {len} bytes"
            );
        }
        for (bit, damaged) in flips(&bytes) {
            match FileDict::parse(&damaged) {
                Err(_) => {}
                Ok(read) => {
                    assert!(RESERVED.contains(&(bit / 8)), "{store}: bit {bit}");
                    assert_eq!(read.entries, dict.entries, "{store}: bit {bit}");
                }
            }
        }
    }
}

/// The tag of AES-GCM, not the checksum, is what protects the data keys: it is made anew here.
#[test]
fn a_damaged_key_dictionary_is_refused_even_with_a_right_checksum() {
    for store in ["aes256", "sm4", "master-key-rotated"] {
        let store = DataDir::unpack(store);
        let bytes = fs::read(store.at("key.dict")).unwrap();
        let master = MasterKey::from_file(&store.master_key).unwrap();
        let open = |bytes: &[u8]| {
            let sealed = envelope::parse_encrypted(bytes).map_err(|error| error.to_string())?;
            let plain = master.open(&sealed).map_err(|error| error.to_string())?;
            key_dict::parse(plain.expose()).map_err(|error| error.to_string())
        };
        let whole = open(&bytes).unwrap();
        for len in 0..bytes.len() {
            assert!(open(&bytes[..len]).is_err(), "{len} bytes");
        }
        for (bit, damaged) in flips(&bytes) {
            if bit / 8 < HEADER_LEN {
                let noticed = RESERVED.contains(&(bit / 8)) || open(&damaged).is_err();
                assert!(noticed, "bit {bit}");
            } else {
                assert!(open(&damaged).is_err(), "bit {bit}");
                // What is beside the tag, say the name of a field that nobody reads, may differ: the keys may not.
                if let Ok(read) = open(&with_checksum(damaged)) {
                    assert!(read == whole, "bit {bit} changed the data keys unnoticed");
                }
            }
        }
    }
}

fn signed_journal() -> Vec<u8> {
    let run = Run {
        version: Run::VERSION,
        method: Method::Aes256Ctr,
        key_id: 7,
        signed_by: 7,
        not_before: 1_700_000_000,
        final_version: 2,
        verification: Verification::Full,
    };
    journal::seal(&run, &targets::journal_keys()).unwrap()
}

#[test]
fn a_damaged_journal_is_not_believed() {
    let bytes = signed_journal();
    let keys = targets::journal_keys();
    assert!(journal::open(&bytes, &keys).is_ok());
    for len in 0..bytes.len() {
        assert!(journal::open(&bytes[..len], &keys).is_err(), "{len} bytes");
    }
    for (bit, damaged) in flips(&bytes) {
        assert!(journal::open(&damaged, &keys).is_err(), "bit {bit}");
    }
    let longer = [&bytes[..], b" "].concat();
    assert!(journal::open(&longer, &keys).is_err());
}

/// Every file of the corpora, whole, cut at every byte and with every bit flipped.
#[test]
fn corpora_of_the_fuzz_targets() {
    for (name, target) in targets::TARGETS {
        let dir = Path::new("fuzz/corpus").join(name);
        let mut files = 0;
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(bytes.len() <= 4096, "{}: seeds are small", dir.display());
            target(&bytes);
            for len in 0..bytes.len() {
                target(&bytes[..len]);
            }
            for (_, damaged) in flips(&bytes) {
                target(&damaged);
            }
            files += 1;
        }
        assert!(files > 0, "{} is empty", dir.display());
        println!("{name}: {files} files");
    }
}

/// Some changes at once: bytes replaced, pieces cut out, doubled and moved. A failure prints its seed and its bytes.
#[test]
fn random_changes() {
    let change = (
        0..4_u8,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let changes = prop::collection::vec(change, 1..6);
    for (name, target) in targets::TARGETS {
        let seeds: Vec<Vec<u8>> = fs::read_dir(Path::new("fuzz/corpus").join(name))
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        let input = (prop::sample::select(seeds), &changes, any::<bool>()).prop_map(
            |(mut bytes, changes, checksum)| {
                for (kind, from, to, byte) in changes {
                    if bytes.is_empty() {
                        break;
                    }
                    let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                    let range = from.min(to)..from.max(to);
                    match kind {
                        0 => bytes[from] = byte,
                        1 => drop(bytes.drain(range)),
                        2 => bytes
                            .splice(from..from, bytes[range].to_vec())
                            .for_each(drop),
                        _ => bytes[range].rotate_left(usize::from(byte).min(from.abs_diff(to))),
                    }
                }
                // Otherwise hardly anything gets past a checksum.
                if checksum && bytes.len() > HEADER_LEN {
                    bytes = with_length_and_checksum(bytes);
                }
                bytes
            },
        );
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let done = runner.run(&input, |bytes| {
            target(&bytes);
            Ok(())
        });
        if let Err(error) = done {
            panic!("{name}: {error}");
        }
    }
}

fn with_length_and_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() - HEADER_LEN;
    bytes[8..16].copy_from_slice(&(length as u64).to_be_bytes());
    with_checksum(bytes)
}
