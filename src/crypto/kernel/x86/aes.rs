//! AES on vectors of one (AES-NI), two (VAES, AVX2) or four blocks (VAES, AVX-512): the rounds of both key streams side
//! by side, so that the instructions of the one fill the latency of the other.

use super::same;
use crate::crypto::kernel::round_keys::RoundKeys;

/// One back end: everything but the width is the same. `one` and `two` are the vectors in flight of each of one or two
/// lanes: as many as the registers hold.
macro_rules! aes {
    (
        $(#[$doc:meta])* $name:ident, features: $features:literal, blocks: $blocks:literal, vector: $vector:ident,
        one: $one:literal, two: $two:literal, zero: $zero:ident, load: $load:ident, store: $store:ident, xor: $xor:ident,
        broadcast: $broadcast:ident, add: $add:ident, add_bytes: $add_bytes:ident, shuffle: $shuffle:ident,
        round: $round:ident, last: $last:ident, rest: $rest:ident,
    ) => {
        $(#[$doc])*
        pub(in crate::crypto::kernel) mod $name {
            use std::arch::x86_64::*;

            use super::*;

            /// Blocks of a vector.
            const BLOCKS: usize = $blocks;

            /// XORs `blocks` with the key stream of `lane`; the CPU must have the features, which the caller asks for.
            pub(in crate::crypto::kernel) fn xor_one(lane: (&RoundKeys, u128), blocks: &mut [[u8; 16]]) {
                // SAFETY: the caller has asked for the features.
                unsafe { one_lane(lane, blocks) }
            }

            /// XORs `blocks` with the key streams of both lanes; the CPU must have the features, which the caller asks for.
            pub(in crate::crypto::kernel) fn xor_two(lanes: [(&RoundKeys, u128); 2], blocks: &mut [[u8; 16]]) {
                // SAFETY: the caller has asked for the features.
                unsafe { two_lanes(lanes, blocks) }
            }

            /// # Safety
            /// The CPU must have the features.
            #[target_feature(enable = $features)]
            unsafe fn one_lane((keys, mut counter): (&RoundKeys, u128), blocks: &mut [[u8; 16]]) {
                let (first, middle, last) = keys.parts();
                let mut groups = blocks.chunks_exact_mut($one * BLOCKS);
                for group in &mut groups {
                    let mut state = counter_blocks::<$one>(counter, broadcast(first));
                    for key in middle {
                        rounds(&mut state, broadcast(key));
                    }
                    let last = broadcast(last);
                    for (vector, bytes) in state.iter().zip(group.as_chunks_mut::<BLOCKS>().0) {
                        store(bytes, $xor(load(bytes), $last(*vector, last)));
                    }
                    counter = counter.wrapping_add($one * BLOCKS as u128);
                }
                $rest::xor_one((keys, counter), groups.into_remainder());
            }

            /// # Safety
            /// The CPU must have the features.
            #[target_feature(enable = $features)]
            unsafe fn two_lanes(lanes: [(&RoundKeys, u128); 2], blocks: &mut [[u8; 16]]) {
                // XOR does not mind the order; the lane with fewer rounds is the first.
                let [(short, mut short_counter), (long, mut long_counter)] =
                    if lanes[0].0.parts().1.len() <= lanes[1].0.parts().1.len() {
                        lanes
                    } else {
                        [lanes[1], lanes[0]]
                    };
                let (short_first, short_middle, short_last) = short.parts();
                let (long_first, long_middle, long_last) = long.parts();
                let (beside, behind) = long_middle.split_at(short_middle.len());
                // What the last round adds need not be its key: here it is the other stream, both keys and the data.
                let last = $xor(broadcast(short_last), broadcast(long_last));
                let mut groups = blocks.chunks_exact_mut($two * BLOCKS);
                for group in &mut groups {
                    let mut one = counter_blocks::<$two>(short_counter, broadcast(short_first));
                    let mut two = counter_blocks::<$two>(long_counter, broadcast(long_first));
                    for (short_key, long_key) in short_middle.iter().zip(beside) {
                        rounds(&mut one, broadcast(short_key));
                        rounds(&mut two, broadcast(long_key));
                    }
                    for key in behind {
                        rounds(&mut two, broadcast(key));
                    }
                    for ((one, two), bytes) in one.iter().zip(&two).zip(group.as_chunks_mut::<BLOCKS>().0) {
                        store(bytes, $last(*one, $last(*two, $xor(load(bytes), last))));
                    }
                    short_counter = short_counter.wrapping_add($two * BLOCKS as u128);
                    long_counter = long_counter.wrapping_add($two * BLOCKS as u128);
                }
                let rest = [(short, short_counter), (long, long_counter)];
                $rest::xor_two(rest, groups.into_remainder());
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn rounds<const F: usize>(state: &mut [$vector; F], key: $vector) {
                for vector in state {
                    *vector = $round(*vector, key);
                }
            }

            /// `F` vectors of consecutive counter blocks, with the first round key added.
            #[inline]
            #[target_feature(enable = $features)]
            fn counter_blocks<const F: usize>(counter: u128, key: $vector) -> [$vector; F] {
                let mut vectors = [$zero(); F];
                let low = counter as u64;
                if (counter as u8).checked_add((F * BLOCKS) as u8).is_some() {
                    // Mostly only the last byte changes.
                    let base = broadcast(&counter.to_be_bytes());
                    for (vector, numbers) in vectors.iter_mut().zip(&NUMBERS) {
                        *vector = $xor($add_bytes(base, load(numbers)), key);
                    }
                } else if low.checked_add((F * BLOCKS) as u64).is_some() {
                    // Nothing is carried out of the lower half: 64-bit additions count.
                    let one = load(&LANE_NUMBERS);
                    let mut little = $add(broadcast(&counter.to_le_bytes()), one);
                    let step = broadcast(&(BLOCKS as u128).to_le_bytes());
                    let reverse = broadcast(&REVERSE);
                    for vector in &mut vectors {
                        *vector = $xor($shuffle(little, reverse), key);
                        little = $add(little, step);
                    }
                } else {
                    let mut counter = counter;
                    for vector in &mut vectors {
                        let mut bytes = [[0; 16]; BLOCKS];
                        for block in &mut bytes {
                            *block = counter.to_be_bytes();
                            counter = counter.wrapping_add(1);
                        }
                        *vector = $xor(load(&bytes), key);
                    }
                }
                vectors
            }

            /// 0, 1, … as little-endian numbers of 128 bits.
            const LANE_NUMBERS: [[u8; 16]; BLOCKS] = {
                let mut numbers = [[0; 16]; BLOCKS];
                let mut i = 0;
                while i < BLOCKS {
                    numbers[i][0] = i as u8;
                    i += 1;
                }
                numbers
            };
            /// 0, 1, … in the last byte of each block of as many vectors as are ever in flight.
            const NUMBERS: [[[u8; 16]; BLOCKS]; $one] = {
                let mut numbers = [[[0; 16]; BLOCKS]; $one];
                let mut i = 0;
                while i < $one * BLOCKS {
                    numbers.as_flattened_mut()[i][15] = i as u8;
                    i += 1;
                }
                numbers
            };
            const REVERSE: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

            #[inline]
            #[target_feature(enable = $features)]
            fn broadcast(bytes: &[u8; 16]) -> $vector {
                // SAFETY: the reference points to 16 readable bytes; the load needs no alignment.
                $broadcast(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load(blocks: &[[u8; 16]; BLOCKS]) -> $vector {
                // SAFETY: the reference points to a whole readable vector; the load needs no alignment.
                unsafe { $load(blocks.as_ptr().cast()) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn store(blocks: &mut [[u8; 16]; BLOCKS], value: $vector) {
                // SAFETY: the reference points to a whole writable vector; the store needs no alignment.
                unsafe { $store(blocks.as_mut_ptr().cast(), value) }
            }
        }
    };
}

aes! {
    /// One block a vector. AVX for its instructions with three operands: without the copies that those with two need, the
    /// CPU has time for the rounds also where another program shares the core.
    sse, features: "aes,avx", blocks: 1, vector: __m128i,
    one: 12, two: 6, zero: _mm_setzero_si128, load: _mm_loadu_si128, store: _mm_storeu_si128, xor: _mm_xor_si128,
    broadcast: same, add: _mm_add_epi64, add_bytes: _mm_add_epi8, shuffle: _mm_shuffle_epi8,
    round: _mm_aesenc_si128, last: _mm_aesenclast_si128, rest: single,
}

aes! {
    /// Two blocks a vector.
    avx2, features: "aes,vaes,avx2", blocks: 2, vector: __m256i,
    one: 12, two: 6, zero: _mm256_setzero_si256, load: _mm256_loadu_si256, store: _mm256_storeu_si256,
    xor: _mm256_xor_si256, broadcast: _mm256_broadcastsi128_si256, add: _mm256_add_epi64,
    add_bytes: _mm256_add_epi8, shuffle: _mm256_shuffle_epi8, round: _mm256_aesenc_epi128,
    last: _mm256_aesenclast_epi128, rest: sse,
}

aes! {
    /// Four blocks a vector.
    avx512, features: "aes,vaes,avx2,avx512f,avx512bw", blocks: 4, vector: __m512i,
    one: 8, two: 4, zero: _mm512_setzero_si512, load: _mm512_loadu_si512, store: _mm512_storeu_si512,
    xor: _mm512_xor_si512, broadcast: _mm512_broadcast_i32x4, add: _mm512_add_epi64,
    add_bytes: _mm512_add_epi8, shuffle: _mm512_shuffle_epi8, round: _mm512_aesenc_epi128,
    last: _mm512_aesenclast_epi128, rest: sse,
}

/// What is left behind the last whole group: a block at a time.
mod single {
    use std::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_loadu_si128, _mm_storeu_si128,
        _mm_xor_si128,
    };

    use super::RoundKeys;

    pub(super) fn xor_two(lanes: [(&RoundKeys, u128); 2], blocks: &mut [[u8; 16]]) {
        for lane in lanes {
            xor_one(lane, blocks);
        }
    }

    pub(super) fn xor_one((keys, mut counter): (&RoundKeys, u128), blocks: &mut [[u8; 16]]) {
        for block in blocks {
            // SAFETY: only the wider code calls this, after the caller has asked for the features.
            unsafe { xor_block(keys, counter, block) };
            counter = counter.wrapping_add(1);
        }
    }

    /// # Safety
    /// The CPU must have the `aes` feature.
    #[target_feature(enable = "aes,sse2")]
    unsafe fn xor_block(keys: &RoundKeys, counter: u128, block: &mut [u8; 16]) {
        let (first, middle, last) = keys.parts();
        let mut state = _mm_xor_si128(load(&counter.to_be_bytes()), load(first));
        for key in middle {
            state = _mm_aesenc_si128(state, load(key));
        }
        let stream = _mm_aesenclast_si128(state, load(last));
        let mixed = _mm_xor_si128(load(block), stream);
        // SAFETY: the reference points to 16 writable bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), mixed) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: the reference points to 16 readable bytes; the load needs no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }
}
