//! Memory that direct I/O takes: aligned, in whole blocks.

/// What direct I/O asks of addresses, offsets and lengths, on every device in use.
pub const ALIGNMENT: usize = 4096;

/// A block of zeroed memory whose beginning is aligned.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// At least `len` bytes, rounded up to whole aligned blocks.
    pub fn new(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(ALIGNMENT);
        // More than asked for, so that an aligned part of it is long enough wherever it lies.
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, len }
    }

    /// The memory.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// True when direct I/O takes `bytes` at `offset`, but for the length.
pub fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(ALIGNMENT as u64) && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, Buffer, is_aligned};

    #[test]
    fn it_is_aligned_and_long_enough() {
        for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let mut buffer = Buffer::new(len);
            assert!(is_aligned(0, buffer.bytes()));
            assert!(buffer.bytes().len() >= len);
            assert_eq!(buffer.bytes().len() % ALIGNMENT, 0);
        }
    }
}
