//! AES-NI: eight blocks in flight, both key streams in one pass over the data.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128,
    _mm_set1_epi32, _mm_setzero_si128, _mm_storeu_si128, _mm_xor_si128,
};

use zeroize::Zeroize;

/// Blocks in flight: enough to hide the latency of the rounds on every CPU that has the instructions.
const LANES: usize = 8;

/// Whether this CPU has the instructions.
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("sse4.1")
}

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
    /// Expands a key of 16, 24 or 32 bytes (FIPS 197 §5.2); `None` for another length or without the instructions.
    pub(super) fn expand(key: &[u8]) -> Option<Self> {
        let words = match key.len() {
            16 | 24 | 32 if available() => key.len() / 4,
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
                // SAFETY: `available` was checked above.
                word = unsafe { substitute(word) }.rotate_right(8) ^ round_constant;
                round_constant =
                    (round_constant << 1) ^ (if round_constant & 0x80 == 0 { 0 } else { 0x11b });
            } else if words == 8 && i % words == 4 {
                // SAFETY: as above.
                word = unsafe { substitute(word) };
            }
            expanded[i] = expanded[i - words] ^ word;
        }
        let mut keys = [[0; 16]; 15];
        for (bytes, word) in keys
            .as_flattened_mut()
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(expanded)
        {
            *bytes = word.to_le_bytes();
        }
        expanded.zeroize();
        Some(Self { keys, rounds })
    }
}

/// The S-box on each byte of a word.
///
/// # Safety
/// The CPU must have the `aes` feature.
#[target_feature(enable = "aes,sse2")]
unsafe fn substitute(word: u32) -> u32 {
    let result = _mm_aeskeygenassist_si128(_mm_set1_epi32(word.cast_signed()), 0);
    std::arch::x86_64::_mm_cvtsi128_si32(result).cast_unsigned()
}

/// XORs `blocks` with one key stream.
pub(super) fn xor_one(keys: &RoundKeys, counter: u128, blocks: &mut [[u8; 16]]) {
    // SAFETY: a `RoundKeys` exists only where `available` was true.
    unsafe { xor::<1>([(keys, counter)], blocks) }
}

/// XORs `blocks` with two key streams in one pass.
pub(super) fn xor_two(
    old: &RoundKeys,
    old_counter: u128,
    new: &RoundKeys,
    new_counter: u128,
    blocks: &mut [[u8; 16]],
) {
    // SAFETY: a `RoundKeys` exists only where `available` was true.
    unsafe { xor::<2>([(old, old_counter), (new, new_counter)], blocks) }
}

/// # Safety
/// The CPU must have the `aes` feature.
#[target_feature(enable = "aes,sse2")]
unsafe fn xor<const N: usize>(lanes: [(&RoundKeys, u128); N], blocks: &mut [[u8; 16]]) {
    let schedules = lanes.map(|(keys, _)| load_keys(keys));
    let mut counters = lanes.map(|(_, counter)| counter);
    let (groups, rest) = blocks.as_chunks_mut::<LANES>();
    for group in groups {
        let mut data = [_mm_setzero_si128(); LANES];
        for (register, block) in data.iter_mut().zip(group.iter()) {
            *register = load(block);
        }
        for ((schedule, (keys, _)), counter) in schedules.iter().zip(lanes).zip(&mut counters) {
            let stream = key_stream(schedule, keys.rounds, *counter);
            *counter = counter.wrapping_add(LANES as u128);
            for (register, stream) in data.iter_mut().zip(stream) {
                *register = _mm_xor_si128(*register, stream);
            }
        }
        for (register, block) in data.iter().zip(group.iter_mut()) {
            store(block, *register);
        }
    }
    for ((schedule, (keys, _)), counter) in schedules.iter().zip(lanes).zip(counters) {
        let stream = key_stream(schedule, keys.rounds, counter);
        for (block, stream) in rest.iter_mut().zip(stream) {
            let mixed = _mm_xor_si128(load(block), stream);
            store(block, mixed);
        }
    }
}

/// The key stream of the next blocks.
#[inline]
#[target_feature(enable = "aes,sse2")]
fn key_stream(schedule: &[__m128i; 15], rounds: usize, counter: u128) -> [__m128i; LANES] {
    let mut state = [_mm_setzero_si128(); LANES];
    let mut counter = counter;
    for block in &mut state {
        *block = _mm_xor_si128(load(&counter.to_be_bytes()), schedule[0]);
        counter = counter.wrapping_add(1);
    }
    for key in &schedule[1..rounds] {
        for block in &mut state {
            *block = _mm_aesenc_si128(*block, *key);
        }
    }
    for block in &mut state {
        *block = _mm_aesenclast_si128(*block, schedule[rounds]);
    }
    state
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_keys(keys: &RoundKeys) -> [__m128i; 15] {
    let mut loaded = [_mm_setzero_si128(); 15];
    for (register, bytes) in loaded.iter_mut().zip(&keys.keys) {
        *register = load(bytes);
    }
    loaded
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference points to 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(bytes: &mut [u8; 16], value: __m128i) {
    // SAFETY: the reference points to 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}
