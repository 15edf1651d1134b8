//! The portable back end: RustCrypto's constant-time AES, and SM4 on every CPU.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use crate::api::method::Method;

/// Blocks whose key stream is made at once.
const BATCH: usize = 16;

pub(in crate::crypto) enum Cipher {
    Aes128(aes::Aes128),
    Aes192(aes::Aes192),
    Aes256(aes::Aes256),
    Sm4(sm4::Sm4),
}

impl Cipher {
    pub(super) fn expand(method: Method, key: &[u8]) -> Option<Self> {
        match method {
            Method::Plaintext => None,
            Method::Aes128Ctr => aes::Aes128::new_from_slice(key).ok().map(Self::Aes128),
            Method::Aes192Ctr => aes::Aes192::new_from_slice(key).ok().map(Self::Aes192),
            Method::Aes256Ctr => aes::Aes256::new_from_slice(key).ok().map(Self::Aes256),
            Method::Sm4Ctr => sm4::Sm4::new_from_slice(key).ok().map(Self::Sm4),
        }
    }

    pub(super) fn xor(&self, counter: u128, blocks: &mut [[u8; 16]]) {
        match self {
            Self::Aes128(cipher) => xor(cipher, counter, blocks),
            Self::Aes192(cipher) => xor(cipher, counter, blocks),
            Self::Aes256(cipher) => xor(cipher, counter, blocks),
            Self::Sm4(cipher) => xor(cipher, counter, blocks),
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
