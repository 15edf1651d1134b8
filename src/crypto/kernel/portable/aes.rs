//! AES on 64 blocks at once, one bit of each in a machine word: its time does not depend on keys or counters.

use super::bits::{self, BATCH};
use super::field::{AES, Planes};
use crate::crypto::kernel::round_keys::RoundKeys;

/// Byte `i` of each block is `state[i]`: columns of four bytes, one after the other (FIPS 197 §3.4).
type State = [Planes; 16];

/// XORs `blocks` with the key stream that begins at `counter`.
pub(in crate::crypto::kernel) fn xor(keys: &RoundKeys, counter: u128, blocks: &mut [[u8; 16]]) {
    bits::xor(counter, blocks, |counter| key_stream(keys, counter));
}

/// The S-box on each byte of a word, for key schedules.
pub(in crate::crypto::kernel) fn substitute(word: u32) -> u32 {
    AES.substitute(word)
}

fn key_stream(keys: &RoundKeys, counter: u128) -> [[u8; 16]; BATCH] {
    let (first, middle, last) = keys.parts();
    let sliced = bits::slice(counter);
    let mut state: State =
        std::array::from_fn(|byte| std::array::from_fn(|bit| sliced[8 * (15 - byte) + bit]));
    add(&mut state, first);
    for key in middle {
        state = mix_columns(&substitute_and_shift(&state));
        add(&mut state, key);
    }
    state = substitute_and_shift(&state);
    add(&mut state, last);
    bits::unslice(&std::array::from_fn(|at| state[15 - at / 8][at % 8]))
}

fn add(state: &mut State, key: &[u8; 16]) {
    for (planes, key) in state.iter_mut().zip(key) {
        for (bit, plane) in planes.iter_mut().enumerate() {
            *plane ^= 0_u64.wrapping_sub(u64::from(key >> bit & 1));
        }
    }
}

/// The S-box on each byte; row `r` is turned by `r` columns.
fn substitute_and_shift(state: &State) -> State {
    std::array::from_fn(|byte| AES.apply(&state[(byte + 4 * (byte % 4)) % 16]))
}

fn mix_columns(state: &State) -> State {
    std::array::from_fn(|byte| {
        let row = |by: usize| &state[byte / 4 * 4 + (byte + by) % 4];
        let pair: Planes = std::array::from_fn(|bit| row(0)[bit] ^ row(1)[bit]);
        let doubled = double(&pair);
        std::array::from_fn(|bit| doubled[bit] ^ row(1)[bit] ^ row(2)[bit] ^ row(3)[bit])
    })
}

/// Times x, modulo x⁸+x⁴+x³+x+1.
fn double(x: &Planes) -> Planes {
    let carry = x[7];
    [
        carry,
        x[0] ^ carry,
        x[1],
        x[2] ^ carry,
        x[3] ^ carry,
        x[4],
        x[5],
        x[6],
    ]
}
