//! The back ends of x86-64. Everything here that is `unsafe` is a load, a store, or a call of code for CPU features
//! that [`super::Backend::available`] has found.
#![allow(unsafe_code)]
// Halves and quarters of a counter are taken on purpose.
#![allow(clippy::cast_possible_truncation)]

pub(super) mod aes;
pub(super) mod sm4;

use std::arch::x86_64::{__m128i, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32, _mm_set1_epi32};

/// The features that count, and whether this CPU has them.
pub(super) fn features() -> [(&'static str, bool); 10] {
    [
        ("x86-64", true),
        ("sse2", std::arch::is_x86_feature_detected!("sse2")),
        ("ssse3", std::arch::is_x86_feature_detected!("ssse3")),
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("vaes", std::arch::is_x86_feature_detected!("vaes")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("gfni", std::arch::is_x86_feature_detected!("gfni")),
    ]
}

/// The S-box of AES on each byte of a word, for key schedules; the CPU must have `aes`, which the caller asks for.
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
