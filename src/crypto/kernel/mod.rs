//! The kernel: XOR of whole blocks with one or two key streams, by the fastest back end that this CPU has.
//!
//! A back end is code for AES and for SM4. It is chosen once; [`choice::VARIABLE`] (the name of a back end) overrides the
//! choice. Key schedules are the same for all.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod choice;
mod portable;
mod round_keys;
mod sm4_keys;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::api::method::Method;
use round_keys::RoundKeys;
use sm4_keys::Sm4Keys;

pub use choice::{Backend, NoBackend, features};

/// An expanded key, and the back end that it is for. Made only for back ends that this CPU has.
pub(super) struct Schedule {
    backend: Backend,
    keys: Keys,
}

enum Keys {
    Aes(Box<RoundKeys>),
    Sm4(Box<Sm4Keys>),
}

impl Schedule {
    /// Expands `key` for `backend`; `None` for plaintext, for a key whose length does not fit, and where this CPU does
    /// not have the back end.
    pub(super) fn expand(backend: Backend, method: Method, key: &[u8]) -> Option<Self> {
        if !backend.available() {
            return None;
        }
        let keys = match (method, backend) {
            (Method::Plaintext, _) => return None,
            (Method::Sm4Ctr, _) => {
                Keys::Sm4(Box::new(Sm4Keys::expand(key, portable::sm4::substitute)?))
            }
            #[cfg(target_arch = "x86_64")]
            (_, Backend::Avx512 | Backend::Avx2 | Backend::AesNi) => {
                Keys::Aes(Box::new(RoundKeys::expand(key, x86::aes_word)?))
            }
            #[cfg(target_arch = "aarch64")]
            (_, Backend::ArmV8) => Keys::Aes(Box::new(RoundKeys::expand(key, aarch64::aes_word)?)),
            _ => Keys::Aes(Box::new(RoundKeys::expand(key, portable::aes::substitute)?)),
        };
        Some(Self { backend, keys })
    }
}

/// XORs `blocks` with the key streams of `lanes`, each beginning at its counter.
pub(super) fn xor(lanes: &[(&Schedule, u128)], blocks: &mut [[u8; 16]]) {
    if let [(one, one_counter), (two, two_counter)] = lanes
        && let (Keys::Aes(one_keys), Keys::Aes(two_keys)) = (&one.keys, &two.keys)
        && one.backend == two.backend
    {
        let lanes = [(&**one_keys, *one_counter), (&**two_keys, *two_counter)];
        match one.backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => return x86::aes::avx512::xor_two(lanes, blocks),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => return x86::aes::avx2::xor_two(lanes, blocks),
            #[cfg(target_arch = "x86_64")]
            Backend::AesNi => return x86::aes::sse::xor_two(lanes, blocks),
            #[cfg(target_arch = "aarch64")]
            Backend::ArmV8 => return aarch64::xor_two(lanes, blocks),
            _ => {}
        }
    }
    // Other pairs go lane by lane over pieces that stay in the first-level cache.
    let mut done = 0;
    for piece in blocks.chunks_mut(PIECE) {
        for (schedule, counter) in lanes {
            schedule.xor(counter.wrapping_add(done), piece);
        }
        done += piece.len() as u128;
    }
}

/// Blocks in a piece: 4 KiB.
const PIECE: usize = 256;

impl Schedule {
    fn xor(&self, counter: u128, blocks: &mut [[u8; 16]]) {
        match (&self.keys, self.backend) {
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), Backend::Avx512) => {
                x86::aes::avx512::xor_one((keys, counter), blocks);
            }
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), Backend::Avx2) => x86::aes::avx2::xor_one((keys, counter), blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), Backend::AesNi) => x86::aes::sse::xor_one((keys, counter), blocks),
            #[cfg(target_arch = "aarch64")]
            (Keys::Aes(keys), Backend::ArmV8) => aarch64::xor_one((keys, counter), blocks),
            (Keys::Aes(keys), _) => portable::aes::xor(keys, counter, blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Sm4(keys), Backend::Avx512) => x86::sm4::avx512::xor(keys, counter, blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Sm4(keys), Backend::Avx2) => x86::sm4::avx2::xor(keys, counter, blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Sm4(keys), Backend::AesNi) => x86::sm4::sse::xor(keys, counter, blocks),
            (Keys::Sm4(keys), _) => portable::sm4::xor(keys, counter, blocks),
        }
    }
}
