//! Ciphers, digests and randomness. The safe face of the kernel.
//!
//! TiKV's data files are pure counter-mode streams without header or authentication (facts, encryption at rest §4), so
//! a file changes its key by XOR with both key streams: `new = old ⊕ KS(old key) ⊕ KS(new key)`. [`Transform`] does
//! that in one pass over registers; the plaintext never exists in memory.

pub mod digest;
pub mod fingerprint;
pub mod gcm;
mod kernel;
pub mod mac;
pub mod rng;
pub mod secret;
pub mod sign;
mod stream;

pub use kernel::{Backend, NoBackend, features};
pub use stream::{CtrStream, KeyLength, Transform};

#[cfg(test)]
mod tests;
