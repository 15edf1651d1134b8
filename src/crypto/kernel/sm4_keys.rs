//! The key schedule of SM4, for every back end.

use zeroize::Zeroize;

/// FK of GB/T 32907-2016 §6.3.
const FAMILY: [u32; 4] = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];

/// An expanded SM4 key: 32 round keys.
pub(in crate::crypto) struct Sm4Keys([u32; 32]);

impl Drop for Sm4Keys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Sm4Keys {
    /// Expands a key of 16 bytes (GB/T 32907-2016 §6.3); `None` for another length. `substitute` is the S-box on each
    /// byte of a word.
    pub(super) fn expand(key: &[u8], substitute: impl Fn(u32) -> u32) -> Option<Self> {
        let key: &[u8; 16] = key.try_into().ok()?;
        let mut state = [0; 4];
        for ((word, bytes), family) in state.iter_mut().zip(key.as_chunks::<4>().0).zip(FAMILY) {
            *word = u32::from_be_bytes(*bytes) ^ family;
        }
        let mut keys = [0; 32];
        for (i, key) in (0_u8..).zip(&mut keys) {
            // CK: byte j of word i is 7 · (4i + j), modulo 256.
            let constant = [0, 1, 2, 3].map(|j: u8| (4 * i + j).wrapping_mul(7));
            let mixed = state[1] ^ state[2] ^ state[3] ^ u32::from_be_bytes(constant);
            let mixed = substitute(mixed);
            *key = state[0] ^ mixed ^ mixed.rotate_left(13) ^ mixed.rotate_left(23);
            state = [state[1], state[2], state[3], *key];
        }
        state.zeroize();
        Some(Self(keys))
    }

    /// The round keys in their order.
    pub(super) const fn words(&self) -> &[u32; 32] {
        &self.0
    }
}
