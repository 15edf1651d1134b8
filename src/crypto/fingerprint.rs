//! A fast digest for comparing what was written with what the device returns.
//!
//! POLYVAL (RFC 8452 §3) under a random key that never leaves the process: two different files of n blocks have the same
//! fingerprint with a probability of n / 2^128, whoever made them. It costs a third of SHA-256 with the instructions of the
//! CPU, which matters because every byte passes twice.

use polyval::universal_hash::UniversalHash;
use polyval::{Block, Polyval};

use super::rng::{self, NoRandomness};

const BLOCK: usize = polyval::BLOCK_SIZE;

/// The secret of one run; fingerprints of different runs have nothing in common.
pub struct FingerprintKey(Polyval);

impl FingerprintKey {
    /// A new one.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self::from(rng::bytes::<BLOCK>()?))
    }

    /// Of no bytes as yet.
    pub fn begin(&self) -> Fingerprint {
        Fingerprint {
            whole: self.0.clone(),
            part: [0; BLOCK],
            len: 0,
        }
    }

    /// Of all of `bytes`.
    pub fn of(&self, bytes: &[u8]) -> [u8; BLOCK] {
        let mut fingerprint = self.begin();
        fingerprint.update(bytes);
        fingerprint.finish()
    }
}

impl From<[u8; BLOCK]> for FingerprintKey {
    fn from(key: [u8; BLOCK]) -> Self {
        Self(Polyval::new(&key.into()))
    }
}

/// A running fingerprint.
pub struct Fingerprint {
    whole: Polyval,
    /// What is left over behind the last whole block, then zeros.
    part: [u8; BLOCK],
    len: u64,
}

impl Fingerprint {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        let filled = self.filled();
        self.len += bytes.len() as u64;
        let mut rest = bytes;
        if filled > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK - filled));
            self.part[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK {
                return;
            }
            self.take_part();
            rest = tail;
        }
        let (blocks, tail) = Block::slice_as_chunks(rest);
        self.whole.update(blocks);
        self.part[..tail.len()].copy_from_slice(tail);
    }

    /// The fingerprint of all bytes and of their number.
    pub fn finish(mut self) -> [u8; BLOCK] {
        if self.filled() > 0 {
            self.take_part();
        }
        self.part[..8].copy_from_slice(&self.len.to_le_bytes());
        self.take_part();
        self.whole.finalize().into()
    }

    fn filled(&self) -> usize {
        usize::try_from(self.len % BLOCK as u64).unwrap_or(0)
    }

    fn take_part(&mut self) {
        self.whole.update(&[self.part.into()]);
        self.part = [0; BLOCK];
    }
}

#[cfg(test)]
mod tests {
    use super::FingerprintKey;

    fn some(len: usize) -> Vec<u8> {
        (0..len).map(|at| at.to_le_bytes()[0]).collect()
    }

    #[test]
    fn it_does_not_matter_how_bytes_are_cut() {
        let key = FingerprintKey::from([7; 16]);
        for len in [0, 1, 15, 16, 17, 63, 64, 65, 300] {
            let bytes = some(len);
            for size in [1, 5, 16, 48, 300] {
                let mut fingerprint = key.begin();
                bytes.chunks(size).for_each(|part| fingerprint.update(part));
                assert_eq!(fingerprint.finish(), key.of(&bytes), "{len} by {size}");
            }
        }
    }

    #[test]
    fn every_bit_and_the_length_count() {
        let key = FingerprintKey::from([7; 16]);
        let bytes = some(70);
        let all = key.of(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(key.of(&other), all, "bit {bit}");
        }
        let zeros: Vec<_> = (0..40).map(|len| key.of(&vec![0; len])).collect();
        for (at, one) in zeros.iter().enumerate() {
            assert!(!zeros[..at].contains(one), "{at} zeros");
        }
        assert_ne!(FingerprintKey::from([8; 16]).of(&bytes), all);
    }
}
