//! AES in counter mode by RustCrypto's `aes`, which takes the instructions of the CPU where it finds them.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};

/// Blocks whose key stream is made at once: a multiple of what the library takes at once, 64 at most.
const BATCH: usize = 64;

/// An expanded key.
pub enum Cipher {
    /// 16 bytes.
    Aes128(Aes128),
    /// 24 bytes.
    Aes192(Aes192),
    /// 32 bytes.
    Aes256(Aes256),
}

impl Cipher {
    /// `None` for a key of another length.
    pub fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(Self::Aes192),
            _ => Aes256::new_from_slice(key).ok().map(Self::Aes256),
        }
    }

    /// XORs the whole blocks of `data` with the key stream that begins at `counter`.
    pub fn xor(&self, counter: u128, data: &mut [u8]) {
        let blocks = data.as_chunks_mut::<16>().0;
        match self {
            Self::Aes128(cipher) => xor(cipher, counter, blocks),
            Self::Aes192(cipher) => xor(cipher, counter, blocks),
            Self::Aes256(cipher) => xor(cipher, counter, blocks),
        }
    }
}

fn xor<C>(cipher: &C, mut counter: u128, blocks: &mut [[u8; 16]])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    for batch in blocks.chunks_mut(BATCH) {
        let mut stream = [Array([0; 16]); BATCH];
        for block in &mut stream {
            *block = Array(counter.to_be_bytes());
            counter = counter.wrapping_add(1);
        }
        // The last batch may be short; the counter is not used after it.
        let stream = &mut stream[..batch.len()];
        cipher.encrypt_blocks(stream);
        for (block, stream) in batch.iter_mut().zip(stream) {
            for (byte, key) in block.iter_mut().zip(stream.iter()) {
                *byte ^= key;
            }
        }
    }
}
