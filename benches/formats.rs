//! What is read, written and hashed beside the ciphers: `file.dict` of a large store, and the fingerprints of the proof.

mod processor;

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use sha2::{Digest, Sha256};
use tikv_security::crypto::fingerprint::FingerprintKey;
use tikv_security::format::envelope::Version;
use tikv_security::format::file_dict::FileDict;
use tikv_security::format::pb::FileInfo;

use processor::ProcessorTime;

const FILES: u64 = 100_000;

fn dictionary() -> FileDict {
    let entry = |number: u64| {
        let info = FileInfo {
            key_id: 7,
            iv: u128::from(number).to_be_bytes().to_vec(),
            method: 4,
        };
        (format!("/var/lib/tikv/db/{number:06}.sst"), info)
    };
    FileDict {
        entries: (0..FILES).map(entry).collect::<BTreeMap<_, _>>(),
        ..FileDict::empty(Version::V2)
    }
}

fn file_dict(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group(format!("file.dict of {FILES} entries"));
    let dictionary = dictionary();
    let snapshot = dictionary.encode(Version::V2);
    // What TiKV appends while it runs, behind an empty snapshot.
    let mut log = FileDict::empty(Version::V2).encode(Version::V2);
    for (name, info) in &dictionary.entries {
        log.extend(record(name, info));
    }
    group.throughput(Throughput::Bytes(snapshot.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| dictionary.encode(black_box(Version::V2)));
    });
    for (name, bytes) in [("parse", &snapshot), ("replay", &log)] {
        assert_eq!(FileDict::parse(bytes).as_ref(), Ok(&dictionary), "{name}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        // The time to let go of the dictionary is not counted.
        group.bench_function(name, |bencher| {
            bencher.iter_with_large_drop(|| FileDict::parse(black_box(bytes)));
        });
    }
    group.finish();
}

/// An appended entry: checksum, lengths of name and entry, 1 for "insert", name, entry.
fn record(name: &str, info: &FileInfo) -> Vec<u8> {
    let body = [name.as_bytes(), &info.encode_to_vec()].concat();
    let lengths = [name.len(), body.len() - name.len()];
    let mut record = crc32fast::hash(&body).to_be_bytes().to_vec();
    for length in lengths {
        record.extend(u16::try_from(length).expect("a short name").to_be_bytes());
    }
    record.push(1);
    record.extend(body);
    record
}

fn fingerprint(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("fingerprint");
    let bytes = vec![1; 1 << 20];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let key = FingerprintKey::from([7; 16]);
    group.bench_function("POLYVAL", |bencher| {
        bencher.iter(|| key.of(black_box(&bytes)));
    });
    group.bench_function("SHA-256", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&bytes)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = processor::short();
    targets = file_dict, fingerprint
}
criterion_main!(benches);
