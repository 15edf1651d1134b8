//! Random cases: what the tests here and those for other processors (`ci/kernel`) draw from.

/// A small generator whose seed is printed: xorshift64*.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// Often near a carry at 2^32, 2^64 or 2^128.
    pub fn iv(&mut self) -> [u8; 16] {
        let near = u128::from(self.next() % 300);
        let value = match self.below(5) {
            0 => (1 << 32) - near,
            1 => (1 << 64) - near,
            2 => u128::MAX - near,
            _ => u128::from(self.next()) << 64 | u128::from(self.next()),
        };
        value.to_be_bytes()
    }
}
