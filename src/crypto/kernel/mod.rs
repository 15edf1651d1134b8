//! The kernel: XOR of whole blocks with one or two key streams, by the fastest back end that this CPU has.
//!
//! A back end is one file with two functions: expand a key, XOR blocks. It is chosen once; `TIKV_SECURITY_KERNEL`
//! (`aes-ni` or `portable`) overrides the choice for tests.

#[cfg(target_arch = "x86_64")]
mod aesni;
mod portable;

use std::sync::OnceLock;

use crate::api::method::Method;

/// How AES is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The AES instructions of x86-64.
    AesNi,
    /// Constant-time code for any CPU.
    Portable,
}

impl Backend {
    /// All back ends, fastest first.
    pub const ALL: [Self; 2] = [Self::AesNi, Self::Portable];

    /// The name that the override takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesNi => "aes-ni",
            Self::Portable => "portable",
        }
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => aesni::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::AesNi => false,
            Self::Portable => true,
        }
    }

    /// The back end of this process.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Backend> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let wanted = std::env::var("TIKV_SECURITY_KERNEL").ok();
            Self::ALL
                .into_iter()
                .filter(|backend| backend.available())
                .find(|backend| wanted.as_deref().is_none_or(|name| name == backend.name()))
                .unwrap_or(Self::Portable)
        })
    }
}

/// An expanded key.
pub(super) enum Schedule {
    #[cfg(target_arch = "x86_64")]
    AesNi(Box<aesni::RoundKeys>),
    Portable(Box<portable::Cipher>),
}

impl Schedule {
    /// Expands `key`, whose length the caller has checked; `None` for plaintext.
    pub(super) fn expand(method: Method, key: &[u8]) -> Option<Self> {
        Self::expand_for(Backend::chosen(), method, key)
    }

    pub(super) fn expand_for(backend: Backend, method: Method, key: &[u8]) -> Option<Self> {
        match (backend, method) {
            (_, Method::Plaintext) => None,
            #[cfg(target_arch = "x86_64")]
            (Backend::AesNi, Method::Aes128Ctr | Method::Aes192Ctr | Method::Aes256Ctr) => {
                aesni::RoundKeys::expand(key).map(|keys| Self::AesNi(Box::new(keys)))
            }
            _ => {
                portable::Cipher::expand(method, key).map(|cipher| Self::Portable(Box::new(cipher)))
            }
        }
    }
}

/// XORs `blocks` with the key streams of `lanes`, each beginning at its counter.
pub(super) fn xor(lanes: &[(&Schedule, u128)], blocks: &mut [[u8; 16]]) {
    #[cfg(target_arch = "x86_64")]
    match lanes {
        [(Schedule::AesNi(one), counter)] => return aesni::xor_one(one, *counter, blocks),
        [
            (Schedule::AesNi(old), old_counter),
            (Schedule::AesNi(new), new_counter),
        ] => {
            return aesni::xor_two(old, *old_counter, new, *new_counter, blocks);
        }
        _ => {}
    }
    // Mixed pairs (SM4 and AES) go lane by lane over pieces that stay in the first-level cache.
    let mut done = 0;
    for piece in blocks.chunks_mut(PIECE) {
        for (schedule, counter) in lanes {
            let counter = counter.wrapping_add(done);
            match schedule {
                #[cfg(target_arch = "x86_64")]
                Schedule::AesNi(keys) => aesni::xor_one(keys, counter, piece),
                Schedule::Portable(cipher) => cipher.xor(counter, piece),
            }
        }
        done += piece.len() as u128;
    }
}

/// Blocks in a piece: 4 KiB.
const PIECE: usize = 256;
