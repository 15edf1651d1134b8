//! TiKV's on-disk formats and our journal's: bytes to structs and back. No files, no ciphers.
//!
//! Source: facts, encryption at rest §2, §3. Everything that is written here is what TiKV itself writes; everything
//! that TiKV tolerates on reading is tolerated, and nothing more.

pub mod envelope;
pub mod file_dict;
pub mod key_dict;
pub mod pb;

#[cfg(test)]
mod tests;
