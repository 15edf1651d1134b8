//! The key schedule of AES, for every back end.

use zeroize::Zeroize;

/// An expanded AES key: 11, 13 or 15 round keys.
pub(in crate::crypto) struct RoundKeys {
    keys: [[u8; 16]; 15],
    rounds: usize,
}

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

impl RoundKeys {
    /// Expands a key of 16, 24 or 32 bytes (FIPS 197 §5.2); `None` for another length. `substitute` is the S-box on
    /// each byte of a word.
    pub(super) fn expand(key: &[u8], substitute: impl Fn(u32) -> u32) -> Option<Self> {
        let words = match key.len() {
            16 | 24 | 32 => key.len() / 4,
            _ => return None,
        };
        let rounds = words + 6;
        let mut expanded = [0_u32; 60];
        for (word, bytes) in expanded.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut round_constant = 1_u32;
        for i in words..4 * (rounds + 1) {
            let mut word = expanded[i - 1];
            if i % words == 0 {
                word = substitute(word).rotate_right(8) ^ round_constant;
                round_constant =
                    (round_constant << 1) ^ (if round_constant & 0x80 == 0 { 0 } else { 0x11b });
            } else if words == 8 && i % words == 4 {
                word = substitute(word);
            }
            expanded[i] = expanded[i - words] ^ word;
        }
        let mut keys = [[0; 16]; 15];
        let bytes = keys.as_flattened_mut().as_chunks_mut::<4>().0;
        for (bytes, word) in bytes.iter_mut().zip(expanded) {
            *bytes = word.to_le_bytes();
        }
        expanded.zeroize();
        Some(Self { keys, rounds })
    }

    /// The first round key, those of the middle rounds, the last one.
    pub(super) fn parts(&self) -> (&[u8; 16], &[[u8; 16]], &[u8; 16]) {
        (
            &self.keys[0],
            &self.keys[1..self.rounds],
            &self.keys[self.rounds],
        )
    }
}
