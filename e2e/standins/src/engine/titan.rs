//! Reads Titan's blob files, so that rows of a store that used Titan can be served. Blobs are read and moved into
//! RocksDB; none are written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{Engine, Family, Operation, raw};
use crate::Result;
use crate::store::keys::KeyManager;

const RECORD: u8 = 1;
const HEADER: usize = 9;

/// Puts the values of all blobs that are in use into the tables; answers how many there were. The blob files stay.
pub fn inline(engine: &Engine, database: &Path, keys: &KeyManager) -> Result<usize> {
    let found = engine.blob_indexes()?;
    let mut operations = Vec::new();
    for (key, index) in &found {
        let value = read(database, keys, index)
            .map_err(|error| format!("Titan blob of {key:02x?}: {error}"))?;
        operations.push(Operation::put(Family::Default, key.clone(), value));
    }
    engine.write(&operations, true)?;
    Ok(found.len())
}

fn read(database: &Path, keys: &KeyManager, index: &[u8]) -> Result<Vec<u8>> {
    let mut rest = index;
    let kind = take(&mut rest, 1)?[0];
    let (number, offset, size) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
    if kind != RECORD {
        return Err(format!("an index of type {kind}"));
    }
    let path = database.join(format!("titandb/{number:06}.blob"));
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(&path).map_err(failed)?;
    let mut record = vec![0; usize::try_from(size).map_err(|e| e.to_string())?];
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.read_exact(&mut record))
        .map_err(failed)?;
    if let Some(cipher) = keys.cipher(&path)? {
        cipher.apply(offset, &mut record)?;
    }
    let (header, body) = record
        .split_at_checked(HEADER)
        .ok_or("a record without a header")?;
    if crc32c::crc32c(&record[4..]).to_le_bytes() != header[..4] {
        return Err(format!(
            "Corruption: BlobRecord checksum mismatch in {}",
            path.display()
        ));
    }
    let plain = inflate(header[8], body)?;
    let mut rest = plain.as_slice();
    sliced(&mut rest)?;
    Ok(sliced(&mut rest)?.to_vec())
}

// RocksDB puts the length before what it compressed.
fn inflate(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    if kind == 0 {
        return Ok(body.to_vec());
    }
    let mut rest = body;
    let length = usize::try_from(varint(&mut rest)?).map_err(|e| e.to_string())?;
    let mut out = vec![0_u8; length];
    // SAFETY: both buffers live through the call, with the lengths that are told.
    let done = unsafe {
        raw::engine_inflate(
            i32::from(kind),
            raw::Part::of(rest),
            out.as_mut_ptr().cast(),
            length,
        )
    };
    if done == 0 {
        Ok(out)
    } else {
        Err(format!("compression {kind} does not decompress"))
    }
}

fn sliced<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).map_err(|e| e.to_string())?;
    take(rest, length)
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("a number without an end".into())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).ok_or("cut off")?;
    *rest = after;
    Ok(taken)
}
