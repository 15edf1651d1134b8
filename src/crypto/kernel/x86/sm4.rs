//! SM4 on vectors: word i of many blocks in one register, all blocks turned at once.
//!
//! The S-box is an inversion in a field of 256 elements between two affine maps, and all such fields are the same but
//! for the names of their elements. So an affine map, the inversion of AES, and another affine map give the S-box of
//! SM4: by GFNI's two instructions, or with the last round of AES and the maps as look-ups by half bytes in registers.
//! The constants were computed by search; the tests hold the result against OpenSSL.

use super::same;
use crate::crypto::kernel::sm4_keys::Sm4Keys;

/// Sets of four registers in flight.
const SETS: usize = 4;

/// From SM4's field into that of AES, after SM4's first map: matrix (a row a byte, the lowest bit's row in the highest
/// byte) and constant, as GF2P8AFFINEQB takes them.
const INTO: (u64, i32) = (0x4c28_7db9_1a22_505d, 0x3e);
/// Back, and SM4's second map.
const BACK: (u64, i32) = (0xf3ab_34a9_74a6_b589, 0xd3);

/// `INTO` of the low and of the high half of a byte.
const INTO_LOW: u128 = 0x9814_a824_1d91_2da1_078b_37bb_820e_b23e;
const INTO_HIGH: u128 = 0x3fe3_11cd_fa26_d408_37eb_19c5_f22e_dc00;
/// `BACK` after the affine map of AES is taken off.
const BACK_LOW: u128 = 0x47ff_8d35_79c1_b30b_2098_ea52_1ea6_d46c;
const BACK_HIGH: u128 = 0xed0d_bd5d_7090_20c0_2dcd_7d9d_b050_e000;
/// Undoes the ShiftRows that a round of AES begins with: byte i comes from place 13i.
const UNSHIFT: u128 = 0x0306_090c_0f02_0508_0b0e_0104_070a_0d00;
/// Each word of four bytes turned left by 8, 16 and 24 bits.
const LEFT_8: u128 = 0x0e0d_0c0f_0a09_080b_0605_0407_0201_0003;
const LEFT_16: u128 = 0x0d0c_0f0e_0908_0b0a_0504_0706_0100_0302;
const LEFT_24: u128 = 0x0c0f_0e0d_080b_0a09_0407_0605_0003_0201;
/// The bytes of each word turned round.
const SWAP: u128 = 0x0c0d_0e0f_0809_0a0b_0405_0607_0001_0203;
const LOW_HALVES: u128 = 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;

/// One back end: everything but the width and the S-box is the same.
macro_rules! sm4 {
    (
        $(#[$doc:meta])* $name:ident, features: $features:literal, blocks: $blocks:literal, vector: $vector:ident,
        zero: $zero:ident, load: $load:ident, store: $store:ident, xor: $xor:ident, or: $or:ident,
        add: $add:ident, spread: $spread:ident, constant: $constant:ident, shuffle: $shuffle:ident,
        left: $left:ident, right: $right:ident, low32: $low32:ident, high32: $high32:ident,
        low64: $low64:ident, high64: $high64:ident, s_box: |$x:ident| $s_box:expr,
    ) => {
        $(#[$doc])*
        pub(in crate::crypto::kernel) mod $name {
            use std::arch::x86_64::*;

            use super::*;

            /// Blocks of a set of four registers.
            const BLOCKS: usize = 4 * $blocks;

            /// XORs `blocks` with the key stream that begins at `counter`; the CPU must have the features, which the
            /// caller asks for.
            pub(in crate::crypto::kernel) fn xor(keys: &Sm4Keys, counter: u128, blocks: &mut [[u8; 16]]) {
                // SAFETY: the caller has asked for the features.
                unsafe { xor_blocks(keys, counter, blocks) }
            }

            /// # Safety
            /// The CPU must have the features.
            #[target_feature(enable = $features)]
            unsafe fn xor_blocks(keys: &Sm4Keys, mut counter: u128, blocks: &mut [[u8; 16]]) {
                let (groups, rest) = blocks.as_chunks_mut::<{ SETS * BLOCKS }>();
                for group in groups {
                    let stream = key_stream::<SETS>(keys, counter);
                    for (set, blocks) in stream.iter().zip(group.as_chunks_mut::<BLOCKS>().0) {
                        mix(set, blocks);
                    }
                    counter = counter.wrapping_add((SETS * BLOCKS) as u128);
                }
                for blocks in rest.chunks_mut(BLOCKS) {
                    let [set] = key_stream::<1>(keys, counter);
                    let mut whole = [[0; 16]; BLOCKS];
                    whole[..blocks.len()].copy_from_slice(blocks);
                    mix(&set, &mut whole);
                    blocks.copy_from_slice(&whole[..blocks.len()]);
                    counter = counter.wrapping_add(BLOCKS as u128);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn mix(set: &[$vector; 4], blocks: &mut [[u8; 16]; BLOCKS]) {
                for (vector, blocks) in set.iter().zip(blocks.as_chunks_mut::<$blocks>().0) {
                    // SAFETY: the reference points to a whole vector; neither call needs alignment.
                    unsafe {
                        let mixed = $xor($load(blocks.as_ptr().cast()), *vector);
                        $store(blocks.as_mut_ptr().cast(), mixed);
                    }
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn key_stream<const S: usize>(keys: &Sm4Keys, counter: u128) -> [[$vector; 4]; S] {
                let mut sets = [[$zero(); 4]; S];
                let mut counter = counter;
                for set in &mut sets {
                    *set = counters(counter);
                    counter = counter.wrapping_add(BLOCKS as u128);
                }
                for keys in keys.words().as_chunks::<4>().0 {
                    for (i, key) in keys.iter().enumerate() {
                        let key = $spread(key.cast_signed());
                        for set in &mut sets {
                            let mixed = $xor(
                                $xor(set[(i + 1) % 4], set[(i + 2) % 4]),
                                $xor(set[(i + 3) % 4], key),
                            );
                            set[i] = $xor(set[i], diffuse(s_box(mixed)));
                        }
                    }
                }
                for set in &mut sets {
                    *set = blocks_of(set);
                }
                sets
            }

            /// The words of consecutive counters, so placed that `blocks_of` gives blocks in order.
            #[inline]
            #[target_feature(enable = $features)]
            fn counters(counter: u128) -> [$vector; 4] {
                // Element i ends up in vector i % 4, at place i / 4 of it.
                let number = |i: usize| ($blocks * (i % 4) + i / 4) as u32;
                let mut vectors = [$zero(); 4];
                let low = counter as u32;
                if low.checked_add(BLOCKS as u32).is_some() {
                    for (vector, shift) in vectors.iter_mut().zip([96, 64, 32]) {
                        *vector = $spread(((counter >> shift) as u32).cast_signed());
                    }
                    let numbers: [u32; BLOCKS] = std::array::from_fn(number);
                    // SAFETY: the reference points to a whole readable vector; the load needs no alignment.
                    let numbers = unsafe { $load(numbers.as_ptr().cast()) };
                    vectors[3] = $add($spread(low.cast_signed()), numbers);
                } else {
                    for (vector, shift) in vectors.iter_mut().zip([96, 64, 32, 0]) {
                        let word: [u32; BLOCKS] = std::array::from_fn(|i| {
                            (counter.wrapping_add(u128::from(number(i))) >> shift) as u32
                        });
                        // SAFETY: as above.
                        *vector = unsafe { $load(word.as_ptr().cast()) };
                    }
                }
                vectors
            }

            /// Words of many blocks into blocks; SM4 gives its words out in the opposite order.
            #[inline]
            #[target_feature(enable = $features)]
            fn blocks_of(set: &[$vector; 4]) -> [$vector; 4] {
                let [d, c, b, a] = *set;
                let (ab_low, ab_high) = ($low32(a, b), $high32(a, b));
                let (cd_low, cd_high) = ($low32(c, d), $high32(c, d));
                let swap = constant(SWAP);
                [
                    $shuffle($low64(ab_low, cd_low), swap),
                    $shuffle($high64(ab_low, cd_low), swap),
                    $shuffle($low64(ab_high, cd_high), swap),
                    $shuffle($high64(ab_high, cd_high), swap),
                ]
            }

            /// B ⊕ B⋘2 ⊕ B⋘10 ⊕ B⋘18 ⊕ B⋘24 (GB/T 32907-2016 §6.2.2).
            #[inline]
            #[target_feature(enable = $features)]
            fn diffuse(b: $vector) -> $vector {
                let turned = $xor(
                    $xor(b, $shuffle(b, constant(LEFT_8))),
                    $shuffle(b, constant(LEFT_16)),
                );
                let by_two = $or($left::<2>(turned), $right::<30>(turned));
                $xor($xor(b, by_two), $shuffle(b, constant(LEFT_24)))
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn s_box($x: $vector) -> $vector {
                $s_box
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn constant(value: u128) -> $vector {
                let bytes = value.to_le_bytes();
                // SAFETY: the reference points to 16 readable bytes; the load needs no alignment.
                $constant(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
            }
        }
    };
}

/// The S-box by half-byte look-ups in registers and the last round of AES.
macro_rules! by_aes {
    ($x:ident, $constant:ident, $shuffle:ident, $xor:ident, $and:ident, $right:ident, $last:ident, $zero:ident) => {{
        let halves = $constant(LOW_HALVES);
        let low = $shuffle($constant(INTO_LOW), $and($x, halves));
        let high = $shuffle($constant(INTO_HIGH), $and($right::<4>($x), halves));
        let inside = $shuffle($xor(low, high), $constant(UNSHIFT));
        let inside = $last(inside, $zero());
        let low = $shuffle($constant(BACK_LOW), $and(inside, halves));
        let high = $shuffle($constant(BACK_HIGH), $and($right::<4>(inside), halves));
        $xor(low, high)
    }};
}

sm4! {
    /// Sixteen bytes a vector, AES-NI.
    sse, features: "aes,ssse3", blocks: 1, vector: __m128i,
    zero: _mm_setzero_si128, load: _mm_loadu_si128, store: _mm_storeu_si128, xor: _mm_xor_si128, or: _mm_or_si128,
    add: _mm_add_epi32, spread: _mm_set1_epi32, constant: same, shuffle: _mm_shuffle_epi8,
    left: _mm_slli_epi32, right: _mm_srli_epi32, low32: _mm_unpacklo_epi32, high32: _mm_unpackhi_epi32,
    low64: _mm_unpacklo_epi64, high64: _mm_unpackhi_epi64,
    s_box: |x| by_aes!(
        x, constant, _mm_shuffle_epi8, _mm_xor_si128, _mm_and_si128, _mm_srli_epi16, _mm_aesenclast_si128,
        _mm_setzero_si128
    ),
}

sm4! {
    /// Thirty-two bytes a vector, VAES.
    avx2, features: "aes,vaes,avx2", blocks: 2, vector: __m256i,
    zero: _mm256_setzero_si256, load: _mm256_loadu_si256, store: _mm256_storeu_si256, xor: _mm256_xor_si256,
    or: _mm256_or_si256, add: _mm256_add_epi32, spread: _mm256_set1_epi32, constant: _mm256_broadcastsi128_si256,
    shuffle: _mm256_shuffle_epi8, left: _mm256_slli_epi32, right: _mm256_srli_epi32,
    low32: _mm256_unpacklo_epi32, high32: _mm256_unpackhi_epi32,
    low64: _mm256_unpacklo_epi64, high64: _mm256_unpackhi_epi64,
    s_box: |x| by_aes!(
        x, constant, _mm256_shuffle_epi8, _mm256_xor_si256, _mm256_and_si256, _mm256_srli_epi16,
        _mm256_aesenclast_epi128, _mm256_setzero_si256
    ),
}

sm4! {
    /// Sixty-four bytes a vector, GFNI.
    avx512, features: "gfni,avx512f,avx512bw", blocks: 4, vector: __m512i,
    zero: _mm512_setzero_si512, load: _mm512_loadu_si512, store: _mm512_storeu_si512, xor: _mm512_xor_si512,
    or: _mm512_or_si512, add: _mm512_add_epi32, spread: _mm512_set1_epi32, constant: _mm512_broadcast_i32x4,
    shuffle: _mm512_shuffle_epi8, left: _mm512_slli_epi32, right: _mm512_srli_epi32,
    low32: _mm512_unpacklo_epi32, high32: _mm512_unpackhi_epi32,
    low64: _mm512_unpacklo_epi64, high64: _mm512_unpackhi_epi64,
    s_box: |x| {
        let into = _mm512_set1_epi64(INTO.0.cast_signed());
        let back = _mm512_set1_epi64(BACK.0.cast_signed());
        let inside = _mm512_gf2p8affine_epi64_epi8::<{ INTO.1 }>(x, into);
        _mm512_gf2p8affineinv_epi64_epi8::<{ BACK.1 }>(inside, back)
    },
}
