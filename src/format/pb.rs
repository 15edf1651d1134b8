//! The protobuf messages of the dictionaries (facts, encryption at rest §2.2).

use std::collections::BTreeMap;

use prost::Message;
use zeroize::Zeroize;

/// The content of `key.dict`, and of `file.dict` in format version 1.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptedContent {
    /// How `content` is encrypted: `method`, `iv`, `aes_gcm_tag`, `kms_vendor`, `kms_ciphertext_key`.
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// Ciphertext without its tag, or plain bytes when the method is `plaintext`.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// All data keys of a store. Plaintext of `key.dict`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct KeyDictionary {
    /// Data keys by id.
    #[prost(btree_map = "uint64, message", tag = "1")]
    pub keys: BTreeMap<u64, DataKey>,
    /// The key for new files; 0 means none.
    #[prost(uint64, tag = "2")]
    pub current_key_id: u64,
}

/// One data key.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct DataKey {
    /// The key itself: as many bytes as the method wants.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// `EncryptionMethod`.
    #[prost(int32, tag = "2")]
    pub method: i32,
    /// Unix seconds.
    #[prost(uint64, tag = "3")]
    pub creation_time: u64,
    /// True once the key was stored under an insecure master key.
    #[prost(bool, tag = "4")]
    pub was_exposed: bool,
}

impl std::fmt::Debug for KeyDictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyDictionary")
            .field("keys", &self.keys)
            .field("current_key_id", &self.current_key_id)
            .finish()
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey")
            .field("method", &self.method)
            .field("creation_time", &self.creation_time)
            .finish_non_exhaustive()
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The snapshot part of `file.dict`.
#[derive(Clone, PartialEq, Message)]
pub struct FileDictionary {
    /// Entries by path, as TiKV spells it.
    #[prost(btree_map = "string, message", tag = "1")]
    pub files: BTreeMap<String, FileInfo>,
}

/// How one file is encrypted.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileInfo {
    /// Data key.
    #[prost(uint64, tag = "1")]
    pub key_id: u64,
    /// Initial counter block, 16 bytes; empty for plaintext.
    #[prost(bytes = "vec", tag = "2")]
    pub iv: Vec<u8>,
    /// `EncryptionMethod`.
    #[prost(int32, tag = "3")]
    pub method: i32,
}

/// `EncryptionMethod` numbers.
pub mod method {
    use crate::api::method::Method;

    /// The number on disk.
    pub const fn to_wire(method: Method) -> i32 {
        match method {
            Method::Plaintext => 1,
            Method::Aes128Ctr => 2,
            Method::Aes192Ctr => 3,
            Method::Aes256Ctr => 4,
            Method::Sm4Ctr => 5,
        }
    }

    /// The method of a number; `None` for UNKNOWN and for numbers that no TiKV writes.
    pub const fn from_wire(number: i32) -> Option<Method> {
        match number {
            1 => Some(Method::Plaintext),
            2 => Some(Method::Aes128Ctr),
            3 => Some(Method::Aes192Ctr),
            4 => Some(Method::Aes256Ctr),
            5 => Some(Method::Sm4Ctr),
            _ => None,
        }
    }
}
