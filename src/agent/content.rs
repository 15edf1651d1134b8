//! Tells plaintext from anything else by what a file of its kind must look like (facts, encryption at rest §5.4).

use super::class::Kind;

/// Bytes of the beginning that are looked at: the first block of RocksDB's log format.
pub const HEAD: usize = 32 * 1024;
/// Bytes of the end that are looked at.
pub const TAIL: usize = 16;

const TABLE_MAGIC: [&[u8]; 2] = [
    &[0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88],
    &[0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb],
];
const BLOB_MAGIC: &[u8] = &[0x14, 0xa6, 0xe0, 0x2b];
const RAFT_MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const OPTIONS_HEAD: &[u8] = b"# This is a RocksDB option file.";

/// What the look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is what such a file looks like in the clear.
    Fits,
    /// It is not.
    Differs,
    /// Such a file has no fixed look, or there is nothing in it.
    Silent,
}

/// Looks at the decrypted `head` (up to [`HEAD`] bytes) and `tail` (up to [`TAIL`]).
pub fn look(kind: Kind, head: &[u8], tail: &[u8]) -> Look {
    if head.is_empty() {
        return Look::Silent;
    }
    let fits = match kind {
        Kind::Table => TABLE_MAGIC.iter().any(|magic| tail.ends_with(magic)),
        Kind::Log => first_record(head),
        Kind::Options => head.starts_with(OPTIONS_HEAD),
        Kind::Identity => head
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()),
        Kind::Blob => head.starts_with(BLOB_MAGIC),
        Kind::RaftLog => head.starts_with(RAFT_MAGIC),
        Kind::Spare | Kind::Opaque => return Look::Silent,
    };
    if fits { Look::Fits } else { Look::Differs }
}

/// The first record of a 32 KiB block: masked CRC-32C, length, type; little-endian.
fn first_record(head: &[u8]) -> bool {
    let Some((header, body)) = head.split_first_chunk::<7>() else {
        return false;
    };
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let kind = header[6];
    // 1 to 4 are the plain record types; 5 to 8 carry a log number first; higher ones are metadata of newer versions.
    if !(1..=11).contains(&kind) && kind < 128 {
        return false;
    }
    let Some(payload) = body.get(..length) else {
        return false;
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    stored == crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::{Look, look};
    use crate::agent::class::Kind;

    #[test]
    fn each_kind_is_told_from_noise() {
        let noise: Vec<u8> = (0..100_u8)
            .map(|i| i.wrapping_mul(151).wrapping_add(200))
            .collect();
        for kind in [
            Kind::Table,
            Kind::Log,
            Kind::Options,
            Kind::Identity,
            Kind::Blob,
            Kind::RaftLog,
        ] {
            assert_eq!(look(kind, &noise, &noise[84..]), Look::Differs, "{kind:?}");
        }
        assert_eq!(look(Kind::Opaque, &noise, &noise[84..]), Look::Silent);
        assert_eq!(look(Kind::Table, &[], &[]), Look::Silent);
    }

    #[test]
    fn a_log_record_is_recognised_by_its_checksum() {
        let payload = b"batch";
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[1]), payload);
        let mut head = crc
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
            .to_le_bytes()
            .to_vec();
        head.extend_from_slice(&[5, 0, 1]);
        head.extend_from_slice(payload);
        assert_eq!(look(Kind::Log, &head, &head), Look::Fits);
        head[8] ^= 1;
        assert_eq!(look(Kind::Log, &head, &head), Look::Differs);
    }
}
