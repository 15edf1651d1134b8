//! AES with the instructions of ARMv8, a block a vector: the rounds of both key streams side by side, so that the
//! instructions of the one fill the latency of the other. Everything here that is `unsafe` is a load, a store, or a call
//! of code for CPU features that [`super::Backend::available`] has found.
#![allow(unsafe_code)]

use std::arch::aarch64::{
    uint8x16_t, vaeseq_u8, vaesmcq_u8, vdupq_n_u8, vdupq_n_u32, veorq_u8, vgetq_lane_u32, vld1q_u8,
    vreinterpretq_u8_u32, vreinterpretq_u32_u8, vst1q_u8,
};

use super::round_keys::RoundKeys;

/// Blocks in flight of one lane alone, and of each of two.
const ONE: usize = 8;
const TWO: usize = 4;

/// The features that count, and whether this CPU has them.
pub(super) fn features() -> [(&'static str, bool); 3] {
    [
        ("aarch64", true),
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("aes", std::arch::is_aarch64_feature_detected!("aes")),
    ]
}

/// The S-box of AES on each byte of a word, for key schedules; the CPU must have the features, which the caller asks for.
pub(super) fn aes_word(word: u32) -> u32 {
    // SAFETY: the caller has asked for the features.
    unsafe { substitute(word) }
}

/// XORs `blocks` with the key stream of `lane`; the CPU must have the features, which the caller asks for.
pub(super) fn xor_one(lane: (&RoundKeys, u128), blocks: &mut [[u8; 16]]) {
    // SAFETY: the caller has asked for the features.
    unsafe { one_lane(lane, blocks) }
}

/// XORs `blocks` with the key streams of both lanes; the CPU must have the features, which the caller asks for.
pub(super) fn xor_two(lanes: [(&RoundKeys, u128); 2], blocks: &mut [[u8; 16]]) {
    // SAFETY: the caller has asked for the features.
    unsafe { two_lanes(lanes, blocks) }
}

/// All four columns are the same word, so turning the rows does nothing.
///
/// # Safety
/// The CPU must have the features.
#[target_feature(enable = "aes,neon")]
unsafe fn substitute(word: u32) -> u32 {
    let state = vaeseq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), vdupq_n_u8(0));
    vgetq_lane_u32::<0>(vreinterpretq_u32_u8(state))
}

/// # Safety
/// The CPU must have the features.
#[target_feature(enable = "aes,neon")]
unsafe fn one_lane((keys, mut counter): (&RoundKeys, u128), blocks: &mut [[u8; 16]]) {
    let (groups, rest) = blocks.as_chunks_mut::<ONE>();
    for group in groups {
        let stream: [_; ONE] = one_stream(keys, &mut counter);
        for (block, stream) in group.iter_mut().zip(stream) {
            store(block, veorq_u8(load(block), stream));
        }
    }
    for block in rest {
        let [stream] = one_stream(keys, &mut counter);
        store(block, veorq_u8(load(block), stream));
    }
}

/// # Safety
/// The CPU must have the features.
#[target_feature(enable = "aes,neon")]
unsafe fn two_lanes(mut lanes: [(&RoundKeys, u128); 2], blocks: &mut [[u8; 16]]) {
    // XOR does not mind the order; the lane with fewer rounds is the first.
    if lanes[0].0.parts().1.len() > lanes[1].0.parts().1.len() {
        lanes.swap(0, 1);
    }
    let [(short, mut short_counter), (long, mut long_counter)] = lanes;
    let (groups, rest) = blocks.as_chunks_mut::<TWO>();
    for group in groups {
        let stream: [_; TWO] = two_streams((short, &mut short_counter), (long, &mut long_counter));
        for (block, stream) in group.iter_mut().zip(stream) {
            store(block, veorq_u8(load(block), stream));
        }
    }
    for block in rest {
        let [stream] = two_streams((short, &mut short_counter), (long, &mut long_counter));
        store(block, veorq_u8(load(block), stream));
    }
}

/// The next `F` blocks of a key stream.
#[inline]
#[target_feature(enable = "aes,neon")]
fn one_stream<const F: usize>(keys: &RoundKeys, counter: &mut u128) -> [uint8x16_t; F] {
    let (first, middle, last) = keys.parts();
    let mut state = counters::<F>(counter);
    let mut key = load(first);
    for next in middle {
        rounds(&mut state, key);
        key = load(next);
    }
    finish(&mut state, key, load(last));
    state
}

/// The next `F` blocks of both key streams, XORed; `short` has not more rounds than `long`.
#[inline]
#[target_feature(enable = "aes,neon")]
fn two_streams<const F: usize>(
    (short, short_counter): (&RoundKeys, &mut u128),
    (long, long_counter): (&RoundKeys, &mut u128),
) -> [uint8x16_t; F] {
    let (short_first, short_middle, short_last) = short.parts();
    let (long_first, long_middle, long_last) = long.parts();
    let (beside, behind) = long_middle.split_at(short_middle.len());
    let (mut one, mut two) = (counters::<F>(short_counter), counters::<F>(long_counter));
    let (mut short_key, mut long_key) = (load(short_first), load(long_first));
    for (short_next, long_next) in short_middle.iter().zip(beside) {
        rounds(&mut one, short_key);
        rounds(&mut two, long_key);
        (short_key, long_key) = (load(short_next), load(long_next));
    }
    for next in behind {
        rounds(&mut two, long_key);
        long_key = load(next);
    }
    finish(&mut one, short_key, load(short_last));
    finish(&mut two, long_key, load(long_last));
    for (one, two) in one.iter_mut().zip(two) {
        *one = veorq_u8(*one, two);
    }
    one
}

/// A round: the key is added first, and columns are mixed last.
#[inline]
#[target_feature(enable = "aes,neon")]
fn rounds<const F: usize>(state: &mut [uint8x16_t; F], key: uint8x16_t) {
    for block in state {
        *block = vaesmcq_u8(vaeseq_u8(*block, key));
    }
}

/// The last round, which does not mix columns, and the last key.
#[inline]
#[target_feature(enable = "aes,neon")]
fn finish<const F: usize>(state: &mut [uint8x16_t; F], key: uint8x16_t, last: uint8x16_t) {
    for block in state {
        *block = veorq_u8(vaeseq_u8(*block, key), last);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn counters<const F: usize>(counter: &mut u128) -> [uint8x16_t; F] {
    let mut blocks = [vdupq_n_u8(0); F];
    for block in &mut blocks {
        *block = load(&counter.to_be_bytes());
        *counter = counter.wrapping_add(1);
    }
    blocks
}

#[inline]
#[target_feature(enable = "neon")]
fn load(block: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference points to 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_u8(block.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(block: &mut [u8; 16], value: uint8x16_t) {
    // SAFETY: the reference points to 16 writable bytes; the store needs no alignment.
    unsafe { vst1q_u8(block.as_mut_ptr(), value) }
}
