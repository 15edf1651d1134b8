//! `debugpb`: two calls of the debug service.

use prost::Message;

/// `DB::KV`.
pub const KV: i32 = 1;
/// `DB::RAFT`.
pub const RAFT: i32 = 2;
/// `BottommostLevelCompaction::Force`.
pub const FORCE: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct CompactRequest {
    #[prost(int32, tag = "1")]
    pub db: i32,
    #[prost(string, tag = "2")]
    pub cf: String,
    #[prost(bytes = "vec", tag = "3")]
    pub from_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub to_key: Vec<u8>,
    #[prost(uint32, tag = "5")]
    pub threads: u32,
    #[prost(int32, tag = "6")]
    pub bottommost_level_compaction: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetStoreInfoResponse {
    #[prost(uint64, tag = "1")]
    pub store_id: u64,
    #[prost(int32, tag = "2")]
    pub api_version: i32,
}
