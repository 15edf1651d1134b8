//! The portable back end: constant-time code for any CPU.

pub(super) mod aes;
mod bits;
mod field;
pub(super) mod sm4;
