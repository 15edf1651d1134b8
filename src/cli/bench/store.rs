//! Stores that are re-encrypted under a new data key, over and over.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use super::contest::{self, Contestant, Report};
use super::scratch::{self, Scratch, Took, measure};
use super::{SmallFilesArgs, StoreArgs, rivals, rocksdb};
use crate::agent::limits::Limits;
use crate::agent::observer::Silent;
use crate::agent::plan::Target;
use crate::agent::store::Store;
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::crypto::secret::SecretBytes;
use crate::fs::os::OsFs;
use crate::kms::MasterKey;

const TABLE: u64 = 64 << 20;
const SMALL: u64 = 4 << 10;
/// The compaction is measured on at most so much: loading the database takes longest of all.
const ROCKSDB: u64 = 1 << 30;
const COPY: &str = "cp -r + sync";
const OPENSSL: &str = "openssl enc twice";
const COMPACTION: &str = "RocksDB full compaction";
const FULL: &str = "reencrypt, verification full";
const STRUCTURE: &str = "reencrypt, verification structure";

/// `bench store`.
pub fn tables(args: &StoreArgs) -> Result<Report, String> {
    let (files, common) = ((args.size << 20).div_ceil(TABLE), &args.common);
    let bytes = files * TABLE;
    let scratch = Scratch::below(&common.dir, bytes * 2 + ROCKSDB * 2)?;
    let store = TestStore::make(&scratch, files, TABLE)?;
    let mut not_run = BTreeMap::new();
    let db = scratch.path("rocksdb");
    let openssl = scratch.path("openssl");
    let mut contestants = store.contestants(&scratch);
    if rivals::is_installed("openssl") {
        let from = store.dir.join("db");
        contestants.push(rival(OPENSSL, bytes, move || {
            rivals::openssl(&from, &openssl)
        }));
    } else {
        not_run.insert(OPENSSL, "the program openssl is not installed".to_owned());
    }
    if rivals::is_installed("ldb") {
        let part = bytes.min(ROCKSDB);
        contestants.push(rival(COMPACTION, part, move || rocksdb::compact(&db, part)));
    } else {
        let why = "the program ldb is not installed (Debian: rocksdb-tools)";
        not_run.insert(COMPACTION, why.to_owned());
    }
    let results = contest::hold(&mut contestants, common.rounds)?;
    Ok(Report {
        bench: "store",
        files,
        bytes,
        rounds: common.rounds,
        results,
        not_run,
    })
}

/// `bench small-files`.
pub fn small_files(args: &SmallFilesArgs) -> Result<Report, String> {
    let (files, common) = (args.files, &args.common);
    let bytes = files * SMALL;
    let scratch = Scratch::below(&common.dir, bytes * 3)?;
    let store = TestStore::make(&scratch, files, SMALL)?;
    let results = contest::hold(&mut store.contestants(&scratch), common.rounds)?;
    Ok(Report {
        bench: "small-files",
        files,
        bytes,
        rounds: common.rounds,
        results,
        not_run: BTreeMap::new(),
    })
}

fn rival<'a>(
    name: &'static str,
    bytes: u64,
    turn: impl FnMut() -> Result<Took, String> + 'a,
) -> Contestant<'a> {
    Contestant {
        name,
        ours: false,
        bytes,
        turn: Box::new(turn),
    }
}

/// An encrypted store of tables of equal size, with a key of its own.
struct TestStore {
    dir: std::path::PathBuf,
    key: MasterKey,
    bytes: u64,
}

impl TestStore {
    fn make(scratch: &Scratch, files: u64, size: u64) -> Result<Self, String> {
        eprintln!("making a store of {files} files of {size} bytes");
        let dir = scratch.path("store");
        let db = dir.join("db");
        let told = |error: std::io::Error| format!("{}: {error}", db.display());
        fs::create_dir_all(&db).map_err(told)?;
        let mut noise = Noise::new(1);
        let mut block = vec![0; usize::try_from(size.min(1 << 20)).unwrap_or(1 << 20)];
        for number in 0..files {
            let mut file = fs::File::create(db.join(format!("{number:06}.sst"))).map_err(told)?;
            let mut left = size;
            while left > 0 {
                noise.fill(&mut block);
                left = left.saturating_sub(block.len() as u64);
                if left == 0 {
                    let end = block.len() - TABLE_END.len();
                    block[end..].copy_from_slice(&TABLE_END);
                }
                file.write_all(&block).map_err(told)?;
            }
        }
        let store = Self {
            dir,
            key: MasterKey::File(SecretBytes::new(vec![7; 32])),
            bytes: files * size,
        };
        store.turn(Verification::Structure)?;
        Ok(store)
    }

    /// The whole work under a new data key, as `tikv-security reencrypt` does it.
    fn turn(&self, verification: Verification) -> Result<Took, String> {
        scratch::settle(&self.dir)?;
        let target = Target {
            method: Method::Aes256Ctr,
            not_before: u64::MAX,
            key_id: None,
            decrypt: false,
        };
        measure(|| {
            let run = || {
                let store = Store::open(&OsFs, &self.key, &self.dir, None, None)?
                    .within(Limits::of_this_machine());
                let lock = store.lock()?;
                store.reencrypt(&target, verification, 1, &Silent, lock.as_ref())
            };
            let outcome = run().map_err(|error| error.to_string())?;
            if outcome.bytes < self.bytes {
                return Err("not everything was rewritten".to_owned());
            }
            Ok(())
        })
    }

    fn contestants<'a>(&'a self, scratch: &Scratch) -> Vec<Contestant<'a>> {
        let ours = |name, verification| Contestant {
            name,
            ours: true,
            bytes: self.bytes,
            turn: Box::new(move || self.turn(verification)),
        };
        let to = scratch.path("copy");
        vec![
            ours(STRUCTURE, Verification::Structure),
            rival(COPY, self.bytes, move || {
                rivals::copy(&self.dir.join("db"), &to)
            }),
            ours(FULL, Verification::Full),
        ]
    }
}

/// How every table of RocksDB ends.
const TABLE_END: [u8; 8] = [0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88];

/// Bytes that no compression makes smaller: xorshift64*, fast and always the same.
pub struct Noise(u64);

impl Noise {
    /// From a seed that is not 0.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.word().to_le_bytes()[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SmallFilesArgs, small_files};
    use crate::cli::bench::{Common, Output};

    #[test]
    fn a_small_measurement_has_everybody_in_it_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let report = small_files(&SmallFilesArgs {
            common: Common {
                dir: dir.path().to_owned(),
                rounds: 1,
                output: Output::Json,
            },
            files: 40,
        })
        .unwrap();
        assert_eq!(report.results.len(), 3);
        assert!(report.results[0].ratio_to.contains_key(super::COPY));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
