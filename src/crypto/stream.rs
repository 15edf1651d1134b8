//! Counter mode at any offset, and the change of one key stream for another.

use std::fmt;

use super::kernel::{self, Backend, Schedule};
use super::secret::SecretBytes;
use crate::api::method::Method;

const BLOCK: usize = 16;

/// The key stream of one file.
pub struct CtrStream {
    schedule: Schedule,
    iv: u128,
}

/// A key whose length does not fit its method.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{method} wants a key of {expected} bytes, not {actual}")]
pub struct KeyLength {
    method: Method,
    expected: usize,
    actual: usize,
}

impl CtrStream {
    /// The stream of `method` under `key` that begins at the counter block `iv`; `None` for plaintext.
    pub fn new(
        method: Method,
        key: &SecretBytes,
        iv: [u8; BLOCK],
    ) -> Result<Option<Self>, KeyLength> {
        Self::on(Backend::chosen(), method, key, iv)
    }

    /// The same on a certain back end, which this CPU must have.
    pub fn on(
        backend: Backend,
        method: Method,
        key: &SecretBytes,
        iv: [u8; BLOCK],
    ) -> Result<Option<Self>, KeyLength> {
        if key.expose().len() != method.key_len() {
            return Err(KeyLength {
                method,
                expected: method.key_len(),
                actual: key.expose().len(),
            });
        }
        Ok(
            Schedule::expand(backend, method, key.expose()).map(|schedule| Self {
                schedule,
                iv: u128::from_be_bytes(iv),
            }),
        )
    }
}

impl fmt::Debug for CtrStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CtrStream")
    }
}

/// XOR with up to two key streams: decrypts, encrypts, or changes the key in one pass.
#[derive(Debug)]
pub struct Transform {
    streams: [Option<CtrStream>; 2],
}

impl Transform {
    /// From the stream that the bytes are under to the one that they shall be under; `None` is plaintext.
    pub const fn new(old: Option<CtrStream>, new: Option<CtrStream>) -> Self {
        Self {
            streams: [old, new],
        }
    }

    /// Transforms `data`, which lies at byte `offset` of the file.
    pub fn apply(&self, offset: u64, data: &mut [u8]) {
        let [old, new] = &self.streams;
        match (old, new) {
            (None, None) => {}
            (Some(one), None) | (None, Some(one)) => run([one], offset, data),
            // The new stream first: what lies between the two steps is never plaintext.
            (Some(old), Some(new)) => run([new, old], offset, data),
        }
    }
}

/// Whole blocks go to the kernel; a part of a block at either end goes there in a block of its own.
fn run<const N: usize>(streams: [&CtrStream; N], offset: u64, data: &mut [u8]) {
    let lanes = |block: u64| {
        streams.map(|stream| (&stream.schedule, stream.iv.wrapping_add(u128::from(block))))
    };
    let mut block = offset / BLOCK as u64;
    let skip = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
    let mut rest = data;
    if skip != 0 {
        let (head, tail) = rest.split_at_mut(rest.len().min(BLOCK - skip));
        partial(&lanes(block), skip, head);
        block = block.wrapping_add(1);
        rest = tail;
    }
    let whole = rest.len() / BLOCK * BLOCK;
    let (blocks, tail) = rest.split_at_mut(whole);
    kernel::xor(&lanes(block), blocks.as_chunks_mut::<BLOCK>().0);
    if !tail.is_empty() {
        partial(&lanes(block.wrapping_add((whole / BLOCK) as u64)), 0, tail);
    }
}

fn partial(lanes: &[(&Schedule, u128)], skip: usize, data: &mut [u8]) {
    let mut scratch = [[0; BLOCK]; 1];
    let range = skip..skip + data.len();
    scratch[0][range.clone()].copy_from_slice(data);
    kernel::xor(lanes, &mut scratch);
    data.copy_from_slice(&scratch[0][range]);
}
