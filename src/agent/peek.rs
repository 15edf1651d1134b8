//! Keeps the beginning and the end of a file while it passes by in blocks.

use super::content::{HEAD, TAIL};
use crate::crypto::Transform;

/// The first and the last bytes of a file.
pub type Ends = (Vec<u8>, Vec<u8>);

/// What has been seen of a file of known size. Blocks come in order.
pub struct Peek {
    tail_at: u64,
    ends: Ends,
}

impl Peek {
    /// Nothing seen yet.
    pub const fn new(size: u64) -> Self {
        Self {
            tail_at: size.saturating_sub(TAIL as u64),
            ends: (Vec::new(), Vec::new()),
        }
    }

    /// What has to be read of a file when only its ends are wanted: offset and length.
    pub fn ranges(size: u64) -> impl Iterator<Item = (u64, usize)> {
        let tail = (size > HEAD as u64).then(|| {
            let at = size.saturating_sub(TAIL as u64).max(HEAD as u64);
            (at, TAIL)
        });
        std::iter::once((0, HEAD)).chain(tail)
    }

    /// Looks at the block at `offset`.
    pub fn see(&mut self, offset: u64, block: &[u8]) {
        let (head, tail) = &mut self.ends;
        if offset == head.len() as u64 && head.len() < HEAD {
            head.extend_from_slice(&block[..block.len().min(HEAD - head.len())]);
        }
        let skip = usize::try_from(self.tail_at.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(part) = block.get(skip..) {
            tail.extend_from_slice(part);
        }
    }

    /// True when the beginning is nothing but zeros as it lies on the disk.
    pub fn begins_with_zeros(&self) -> bool {
        self.ends.0.iter().all(|byte| *byte == 0)
    }

    /// Both ends, transformed.
    pub fn reveal(self, transform: &Transform) -> Ends {
        let (mut head, mut tail) = self.ends;
        transform.apply(0, &mut head);
        transform.apply(self.tail_at, &mut tail);
        (head, tail)
    }
}

#[cfg(test)]
mod tests {
    use super::Peek;
    use crate::agent::content::{HEAD, TAIL};
    use crate::crypto::Transform;

    /// However a file is cut into blocks, its ends are the same; and the ranges are enough to see them.
    #[test]
    fn it_sees_the_same_ends_in_any_blocks() {
        for size in [
            0,
            1,
            15,
            16,
            17,
            HEAD - 1,
            HEAD,
            HEAD + 1,
            HEAD + 15,
            HEAD + 16,
            3 * HEAD,
        ] {
            let bytes: Vec<u8> = (0..size)
                .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
                .collect();
            let expected = (
                bytes[..size.min(HEAD)].to_vec(),
                bytes[size - size.min(TAIL)..].to_vec(),
            );
            for block in [7, 4096, HEAD, 1 << 20] {
                let mut peek = Peek::new(size as u64);
                for (at, part) in bytes.chunks(block).enumerate() {
                    peek.see((at * block) as u64, part);
                }
                assert_eq!(
                    peek.reveal(&Transform::new(None, None)),
                    expected,
                    "{size} by {block}"
                );
            }
            let mut peek = Peek::new(size as u64);
            for (offset, len) in Peek::ranges(size as u64) {
                let offset = usize::try_from(offset).unwrap();
                peek.see(
                    offset as u64,
                    &bytes[offset.min(size)..(offset + len).min(size)],
                );
            }
            assert_eq!(
                peek.reveal(&Transform::new(None, None)),
                expected,
                "{size} by ranges"
            );
        }
    }
}
