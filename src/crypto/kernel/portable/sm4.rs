//! SM4 on 64 blocks at once, one bit of each in a machine word.

use super::bits::{self, BATCH};
use super::field::{Planes, SM4};
use crate::crypto::kernel::sm4_keys::Sm4Keys;

/// A 32-bit word of each block: its bytes, the lowest first.
type Word = [Planes; 4];

/// XORs `blocks` with the key stream that begins at `counter`.
pub(in crate::crypto::kernel) fn xor(keys: &Sm4Keys, counter: u128, blocks: &mut [[u8; 16]]) {
    bits::xor(counter, blocks, |counter| key_stream(keys, counter));
}

/// The S-box on each byte of a word, for key schedules.
pub(in crate::crypto::kernel) fn substitute(word: u32) -> u32 {
    SM4.substitute(word)
}

/// The key stream of the blocks from `counter` on.
fn key_stream(keys: &Sm4Keys, counter: u128) -> [[u8; 16]; BATCH] {
    let sliced = bits::slice(counter);
    let mut state: [Word; 4] = std::array::from_fn(|word| {
        let word = &sliced[96 - 32 * word..128 - 32 * word];
        std::array::from_fn(|byte| std::array::from_fn(|bit| word[8 * byte + bit]))
    });
    for (round, key) in keys.words().iter().enumerate() {
        let [x0, x1, x2, x3] = [0, 1, 2, 3].map(|i| (round + i) % 4);
        let mut mixed: Word = [[0; 8]; 4];
        for (i, planes) in mixed.iter_mut().enumerate() {
            for (bit, plane) in planes.iter_mut().enumerate() {
                let key = 0_u64.wrapping_sub(u64::from(key >> (8 * i + bit) & 1));
                *plane = state[x1][i][bit] ^ state[x2][i][bit] ^ state[x3][i][bit] ^ key;
            }
        }
        let spread = diffuse(&mixed.map(|planes| SM4.apply(&planes)));
        for (planes, other) in state[x0].iter_mut().zip(spread) {
            for (plane, other) in planes.iter_mut().zip(other) {
                *plane ^= other;
            }
        }
    }
    // The words come out in the opposite order.
    bits::unslice(&std::array::from_fn(|at| {
        state[at / 32][at / 8 % 4][at % 8]
    }))
}

/// B ⊕ B⋘2 ⊕ B⋘10 ⊕ B⋘18 ⊕ B⋘24 (GB/T 32907-2016 §6.2.2); turning a sliced word is taking another plane.
fn diffuse(word: &Word) -> Word {
    let flat = word.as_flattened();
    let turned = |bit: usize, by: usize| flat[(bit + 32 - by) % 32];
    std::array::from_fn(|byte| {
        std::array::from_fn(|bit| {
            let bit = 8 * byte + bit;
            [0, 2, 10, 18, 24]
                .into_iter()
                .fold(0, |sum, by| sum ^ turned(bit, by))
        })
    })
}
