//! TiKV's on-disk formats and our journal's: bytes to structs and back. No files, no ciphers.
//!
//! Source: facts, encryption at rest §2, §3. Everything that is written here is what TiKV itself writes; what TiKV
//! tolerates on reading is tolerated, and nothing more. One thing is refused that TiKV takes: a damaged length in the log
//! of `file.dict` that hides the records behind it.
//!
//! What damage can go unnoticed:
//! - the three reserved bytes of a header: nobody reads them;
//! - `file.dict`: a checksum, no authentication. A damaged last record is taken for a torn one and dropped, which is
//!   reported; and who can write the file can change entries at will, of which decryption then tells;
//! - `key.dict`: nothing that changes a data key, unless the master key is `plaintext`: then there is a checksum only;
//! - the journal: nothing, its tag covers every byte.
//!
//! `tests/parsers.rs` tries each of these, at every byte and every bit.

pub mod envelope;
pub mod file_dict;
pub mod key_dict;
pub mod pb;

#[cfg(test)]
mod tests;
