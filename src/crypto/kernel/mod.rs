//! The kernel: XOR of whole blocks with one or two key streams, by the fastest back end that this CPU has.
//!
//! A back end is code for AES and for SM4. It is chosen once; `TIKV_SECURITY_KERNEL` (the name of a back end) overrides
//! the choice for tests. Key schedules are the same for all.

mod portable;
#[cfg(target_arch = "x86_64")]
mod round_keys;
mod sm4_keys;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use crate::api::method::Method;
#[cfg(target_arch = "x86_64")]
use round_keys::RoundKeys;
use sm4_keys::Sm4Keys;

/// How AES and SM4 are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// AES: VAES on 512 bits. SM4: GFNI on 512 bits.
    Avx512,
    /// AES: VAES on 256 bits. SM4: the same instructions between affine maps.
    Avx2,
    /// AES: AES-NI. SM4: the same instructions between affine maps.
    AesNi,
    /// AES: RustCrypto, which is constant-time on any CPU and takes AES instructions where it finds them. SM4: bit slices.
    Portable,
}

impl Backend {
    /// All back ends, fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::AesNi, Self::Portable];

    /// The name that the override takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "vaes-avx512",
            Self::Avx2 => "vaes-avx2",
            Self::AesNi => "aes-ni",
            Self::Portable => "portable",
        }
    }

    /// How AES is computed, and how SM4 is.
    pub const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Avx512 => ("VAES, 512 bits", "GFNI, 512 bits"),
            Self::Avx2 => ("VAES, 256 bits", "VAES and affine maps, 256 bits"),
            Self::AesNi => ("AES-NI, 128 bits", "AES-NI and affine maps, 128 bits"),
            // On x86-64 the library takes AES-NI by itself where it finds it.
            Self::Portable => ("RustCrypto", "bit slices"),
        }
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => x86::has_vaes_avx512(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::has_vaes_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => x86::has_aes_ni(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 | Self::AesNi => false,
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

/// An expanded key, and the back end that it is for. Made only for back ends that this CPU has.
pub(super) struct Schedule {
    backend: Backend,
    keys: Keys,
}

enum Keys {
    #[cfg(target_arch = "x86_64")]
    Aes(Box<RoundKeys>),
    PortableAes(Box<portable::aes::Cipher>),
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
            _ => Keys::PortableAes(Box::new(portable::aes::Cipher::expand(key)?)),
        };
        Some(Self { backend, keys })
    }
}

/// XORs `blocks` with the key streams of `lanes`, each beginning at its counter.
pub(super) fn xor(lanes: &[(&Schedule, u128)], blocks: &mut [[u8; 16]]) {
    #[cfg(target_arch = "x86_64")]
    if let [(one, one_counter), (two, two_counter)] = lanes
        && let (Keys::Aes(one_keys), Keys::Aes(two_keys)) = (&one.keys, &two.keys)
        && one.backend == two.backend
    {
        let lanes = [(&**one_keys, *one_counter), (&**two_keys, *two_counter)];
        return match one.backend {
            Backend::Avx512 => x86::aes::avx512::xor_two(lanes, blocks),
            Backend::Avx2 => x86::aes::avx2::xor_two(lanes, blocks),
            _ => x86::aes::sse::xor_two(lanes, blocks),
        };
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
            (Keys::PortableAes(cipher), _) => cipher.xor(counter, blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), Backend::Avx512) => {
                x86::aes::avx512::xor_one((keys, counter), blocks);
            }
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), Backend::Avx2) => x86::aes::avx2::xor_one((keys, counter), blocks),
            #[cfg(target_arch = "x86_64")]
            (Keys::Aes(keys), _) => x86::aes::sse::xor_one((keys, counter), blocks),
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
