//! What lies in the column families `lock` and `write`.

use super::codec::{Reader, put_bytes, put_number};
use crate::Result;

/// Values up to this length lie in the record itself.
pub const SHORT: usize = 255;
const SHORT_VALUE: u8 = b'v';

/// What a transaction does to a key, as both families write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Put,
    Delete,
    /// Only locked.
    Lock,
    /// In `write`: the transaction was rolled back.
    Rollback,
    /// In `lock`: locked before it is known what will be written.
    Pessimistic,
}

/// A lock that a transaction holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub kind: Kind,
    pub primary: Vec<u8>,
    pub start: u64,
    pub ttl: u64,
    pub short: Option<Vec<u8>>,
    pub for_update: u64,
    pub size: u64,
    pub min_commit: u64,
}

/// What became of a transaction's work on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub kind: Kind,
    pub start: u64,
    pub short: Option<Vec<u8>>,
    /// Another transaction that started at the time of this commit was rolled back.
    pub overlapped: bool,
}

impl Lock {
    /// Reads a record.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut rest = Reader(bytes);
        let kind = match rest.byte()? {
            b'P' => Kind::Put,
            b'D' => Kind::Delete,
            b'L' => Kind::Lock,
            b'S' => Kind::Pessimistic,
            other => return Err(format!("a lock of type {other}")),
        };
        let primary = rest.bytes()?.to_vec();
        let start = rest.number()?;
        let ttl = if rest.is_empty() { 0 } else { rest.number()? };
        let mut lock = Self {
            kind,
            primary,
            start,
            ttl,
            short: None,
            for_update: 0,
            size: 0,
            min_commit: 0,
        };
        while !rest.is_empty() {
            match rest.byte()? {
                SHORT_VALUE => lock.short = Some(short(&mut rest)?),
                b'f' => lock.for_update = rest.fixed()?,
                b't' => lock.size = rest.fixed()?,
                b'c' => lock.min_commit = rest.fixed()?,
                // In TiKV's order; what follows is not needed here.
                _ => break,
            }
        }
        Ok(lock)
    }

    /// Writes a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.kind {
            Kind::Put => b'P',
            Kind::Delete => b'D',
            Kind::Pessimistic => b'S',
            Kind::Lock | Kind::Rollback => b'L',
        }];
        put_bytes(&mut out, &self.primary);
        put_number(&mut out, self.start);
        put_number(&mut out, self.ttl);
        put_short(&mut out, self.short.as_deref());
        for (mark, number) in [
            (b'f', self.for_update),
            (b't', self.size),
            (b'c', self.min_commit),
        ] {
            if number > 0 {
                out.push(mark);
                out.extend(number.to_be_bytes());
            }
        }
        out
    }
}

impl Write {
    /// Reads a record.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut rest = Reader(bytes);
        let kind = match rest.byte()? {
            b'P' => Kind::Put,
            b'D' => Kind::Delete,
            b'L' => Kind::Lock,
            b'R' => Kind::Rollback,
            other => return Err(format!("a write of type {other}")),
        };
        let mut write = Self {
            kind,
            start: rest.number()?,
            short: None,
            overlapped: false,
        };
        while !rest.is_empty() {
            match rest.byte()? {
                SHORT_VALUE => write.short = Some(short(&mut rest)?),
                b'R' => write.overlapped = true,
                _ => break,
            }
        }
        Ok(write)
    }

    /// Writes a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.kind {
            Kind::Put => b'P',
            Kind::Delete => b'D',
            Kind::Rollback => b'R',
            Kind::Lock | Kind::Pessimistic => b'L',
        }];
        put_number(&mut out, self.start);
        put_short(&mut out, self.short.as_deref());
        if self.overlapped {
            out.push(b'R');
        }
        out
    }
}

fn short(rest: &mut Reader<'_>) -> Result<Vec<u8>> {
    let length = rest.byte()?;
    Ok(rest.take(usize::from(length))?.to_vec())
}

fn put_short(out: &mut Vec<u8>, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend([SHORT_VALUE, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
        out.extend(value);
    }
}
