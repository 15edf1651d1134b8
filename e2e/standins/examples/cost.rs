//! What encryption costs a RocksDB under TiKV's encryption: processor time of writes, compaction and reads, by method.
//!
//! `cargo run --release --example cost [ROWS]`. Ciphers are OpenSSL's, as TiKV's are; `OPENSSL_ia32cap=~0x200000000000000`
//! shows a processor without AES instructions. Everything stays in the page cache: the disk is not measured.

use std::time::Duration;

use tikv_security_standins::Result;
use tikv_security_standins::engine::{Family, Operation};
use tikv_security_standins::options::Options;
use tikv_security_standins::store::directory::Directory;

const VALUE: usize = 1024;
const METHODS: [&str; 5] = [
    "plaintext",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "sm4-ctr",
];
/// Rounds in turns; the cheapest counts, because other work can only add to it.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let rows = std::env::args()
        .nth(1)
        .map_or(Ok(200_000), |text| text.parse());
    let rows: u64 = rows.map_err(|error| format!("ROWS: {error}"))?;
    let mut best = vec![[f64::MAX; 3]; METHODS.len()];
    for _ in 0..ROUNDS {
        for (method, best) in METHODS.iter().zip(&mut best) {
            for (best, figure) in best.iter_mut().zip(measure(method, rows)?) {
                *best = best.min(figure);
            }
        }
    }
    println!(
        "{rows} rows of {VALUE} bytes; microseconds of processor time a row, and what is more than plaintext"
    );
    println!(
        "{:<12}{:>16}{:>20}{:>20}",
        "method", "write", "compaction", "read"
    );
    let plain = best[0];
    for (method, figures) in METHODS.iter().zip(best) {
        print!("{method:<12}");
        for (figure, plain) in figures.iter().zip(plain) {
            print!("{figure:>11.2} {:>+7.0} %", (figure / plain - 1.0) * 100.0);
        }
        println!();
    }
    Ok(())
}

/// Microseconds of processor time a row: written and flushed, compacted, read at random.
fn measure(method: &str, rows: u64) -> Result<[f64; 3]> {
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let key = place.path().join("master.key");
    std::fs::write(&key, format!("{}\n", "5a".repeat(32))).map_err(|error| error.to_string())?;
    let data = place.path().join("data");
    std::fs::create_dir(&data).map_err(|error| error.to_string())?;
    let options = Options::parse(&format!(
        "[storage]\ndata-dir = \"{}\"\n[rocksdb.defaultcf]\nwrite-buffer-size = \"64MB\"\n\
         [security.encryption]\ndata-encryption-method = \"{method}\"\n\
         [security.encryption.master-key]\ntype = \"file\"\npath = \"{}\"\n",
        data.display(),
        key.display()
    ))?;
    let store = Directory::open(&data, &options)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let per_row = |spent: Duration| spent.as_secs_f64() * 1e6 / rows as f64;

    let before = processor_time();
    for first in (0..rows).step_by(32) {
        let batch = (first..rows.min(first + 32)).map(|row| {
            let value = (0..VALUE / 8)
                .flat_map(|_| random.next().to_le_bytes())
                .collect();
            Operation::put(Family::Default, name(row), value)
        });
        store.engine.write(&batch.collect::<Vec<_>>(), false)?;
    }
    store.engine.flush()?;
    let written = processor_time() - before;

    let before = processor_time();
    store.engine.compact(Family::Default)?;
    let compacted = processor_time() - before;

    let before = processor_time();
    for _ in 0..rows {
        let row = random.next() % rows;
        if store.engine.get(Family::Default, &name(row))?.is_none() {
            return Err(format!("row {row} is not there"));
        }
    }
    let read = processor_time() - before;
    Ok([written, compacted, read].map(per_row))
}

/// Rows do not come in order, so flushed tables overlap as they do in a store that is used.
fn name(row: u64) -> Vec<u8> {
    format!("row-{:016x}", row.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
}

/// Xorshift: values that no compression makes smaller.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Of all threads of this process, user and kernel.
fn processor_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written into `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanoseconds)
}
