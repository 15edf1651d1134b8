//! RocksDB rewriting all its data by a full compaction, without any rate limit.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::rivals;
use super::scratch::{self, Took, measure};

/// Bytes of a value: no compression makes anything of them, they are random.
const VALUE: usize = 4000;

/// Fills a database with `bytes` of values, then measures its compaction.
pub fn compact(db: &Path, bytes: u64) -> Result<Took, String> {
    load(db, bytes)?;
    scratch::settle(db)?;
    let took = measure(|| {
        rivals::run(ldb(db).arg("compact"))?;
        scratch::flush(db)
    })?;
    rivals::remove(db)?;
    Ok(took)
}

fn ldb(db: &Path) -> Command {
    let mut command = Command::new("ldb");
    command.arg(format!("--db={}", db.display()));
    command.args([
        "--compression_type=no",
        "--file_size=67108864",
        "--write_buffer_size=67108864",
    ]);
    command
}

/// Keys come in random order, so that the tables overlap and a compaction has to write all of them anew.
fn load(db: &Path, bytes: u64) -> Result<(), String> {
    let mut child = ldb(db)
        .args(["--value_hex", "load", "--create_if_missing"])
        .args(["--disable_wal", "--bulk_load"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("ldb: {error}"))?;
    let told = |error: std::io::Error| format!("ldb takes no data: {error}");
    let stdin = child.stdin.take().ok_or("ldb has no input")?;
    let mut into = BufWriter::with_capacity(1 << 20, stdin);
    let mut noise = super::store::Noise::new(7);
    let mut value = [0; VALUE];
    let mut line = Vec::new();
    for _ in 0..bytes / VALUE as u64 {
        noise.fill(&mut value);
        line.clear();
        line.extend_from_slice(format!("{:016x} ==> 0x", noise.word()).as_bytes());
        for byte in value {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            line.push(DIGITS[usize::from(byte >> 4)]);
            line.push(DIGITS[usize::from(byte & 15)]);
        }
        line.push(b'\n');
        into.write_all(&line).map_err(told)?;
    }
    into.flush().map_err(told)?;
    drop(into);
    let status = child.wait().map_err(|error| format!("ldb: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("ldb load: {status}"))
    }
}
