//! The back ends of x86-64. Everything here that is `unsafe` is a load, a store, or a call of code for CPU features
//! that [`super::Backend::available`] has found.
#![allow(unsafe_code)]
// Halves and quarters of a counter are taken on purpose.
#![allow(clippy::cast_possible_truncation)]

pub(super) mod aes;
pub(super) mod sm4;

use std::arch::x86_64::{__m128i, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32, _mm_set1_epi32};

/// AES instructions of 128 bits.
pub(super) fn has_aes_ni() -> bool {
    std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("sse2")
        && std::arch::is_x86_feature_detected!("ssse3")
}

/// AES instructions of 256 bits.
pub(super) fn has_vaes_avx2() -> bool {
    has_aes_ni()
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("vaes")
}

/// AES instructions of 512 bits, and affine maps of bytes.
pub(super) fn has_vaes_avx512() -> bool {
    has_vaes_avx2()
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("gfni")
}

/// The S-box of AES on each byte of a word, for key schedules; [`has_aes_ni`] must be true.
pub(super) fn aes_word(word: u32) -> u32 {
    // SAFETY: the caller has asked for the instructions.
    unsafe { substitute(word) }
}

/// # Safety
/// The CPU must have the `aes` feature.
#[target_feature(enable = "aes,sse2")]
unsafe fn substitute(word: u32) -> u32 {
    let result = _mm_aeskeygenassist_si128(_mm_set1_epi32(word.cast_signed()), 0);
    _mm_cvtsi128_si32(result).cast_unsigned()
}

/// Sixteen bytes are a whole vector where others repeat them.
#[inline]
#[target_feature(enable = "sse2")]
fn same(vector: __m128i) -> __m128i {
    vector
}
