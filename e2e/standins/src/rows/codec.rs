//! How TiKV writes keys and numbers.

use crate::Result;

/// What data keys begin with in RocksDB.
pub const DATA: u8 = b'z';
const GROUP: usize = 8;
const FULL: u8 = 0xff;

/// A key of RocksDB for a key of a region.
pub fn data_key(key: &[u8]) -> Vec<u8> {
    [&[DATA], key].concat()
}

/// Bytes such that their order stays, and none is the beginning of another: groups of eight with a marker.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity((bytes.len() / GROUP + 1) * (GROUP + 1));
    for at in (0..=bytes.len()).step_by(GROUP) {
        let group = &bytes[at..bytes.len().min(at + GROUP)];
        let padding = GROUP - group.len();
        out.extend(group);
        out.extend(std::iter::repeat_n(0, padding));
        out.push(FULL - u8::try_from(padding).unwrap_or(0));
    }
    out
}

/// Undoes `encode`; answers what comes after as well.
pub fn decode(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        let (group, after) = rest.split_at_checked(GROUP + 1).ok_or("a key is cut off")?;
        rest = after;
        let padding = usize::from(FULL - group[GROUP]);
        if padding > GROUP {
            return Err("a key has a wrong marker".into());
        }
        out.extend(&group[..GROUP - padding]);
        if padding > 0 {
            return Ok((out, rest));
        }
    }
}

/// A key with a version; newer versions come first.
pub fn versioned(key: &[u8], version: u64) -> Vec<u8> {
    [key, &(!version).to_be_bytes()].concat()
}

/// Takes a version off a key.
pub fn split_version(key: &[u8]) -> Result<(&[u8], u64)> {
    let (key, version) = key
        .split_last_chunk::<8>()
        .ok_or("a key without a version")?;
    Ok((key, !u64::from_be_bytes(*version)))
}

/// Adds a number of variable length.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// Adds bytes with their length, which is a signed number.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, (bytes.len() as u64) << 1);
    out.extend(bytes);
}

/// Reads what the functions above wrote.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn fixed(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| "cut off")?))
    }

    pub fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number without an end".into())
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.number()? >> 1;
        self.take(usize::try_from(length).map_err(|e| e.to_string())?)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or("a record is cut off")?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn keys_come_back_and_keep_their_order() {
        let keys: [&[u8]; 6] = [b"", b"a", b"a\0", b"abcdefgh", b"abcdefgh\0", b"b"];
        for pair in keys.windows(2) {
            assert!(encode(pair[0]) < encode(pair[1]));
        }
        for key in keys {
            let encoded = encode(key);
            assert_eq!(
                decode(&[&encoded[..], b"rest"].concat()).unwrap(),
                (key.to_vec(), &b"rest"[..])
            );
        }
    }
}
