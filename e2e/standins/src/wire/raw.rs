//! `kvrpcpb`: raw rows.

use prost::Message;

use super::errors::Error;
use super::kv::{Context, KvPair};

#[derive(Clone, PartialEq, Message)]
pub struct RawGetRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(string, tag = "3")]
    pub cf: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawGetResponse {
    #[prost(message, optional, tag = "1")]
    pub region_error: Option<Error>,
    #[prost(string, tag = "2")]
    pub error: String,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    #[prost(bool, tag = "4")]
    pub not_found: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawBatchGetRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub keys: Vec<Vec<u8>>,
    #[prost(string, tag = "3")]
    pub cf: String,
}

/// The answer to `RawBatchGet` and `RawScan`.
#[derive(Clone, PartialEq, Message)]
pub struct RawPairs {
    #[prost(message, optional, tag = "1")]
    pub region_error: Option<Error>,
    #[prost(message, repeated, tag = "2")]
    pub pairs: Vec<KvPair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawPutRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    #[prost(string, tag = "4")]
    pub cf: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawBatchPutRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(message, repeated, tag = "2")]
    pub pairs: Vec<KvPair>,
    #[prost(string, tag = "3")]
    pub cf: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawDeleteRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(string, tag = "3")]
    pub cf: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawBatchDeleteRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub keys: Vec<Vec<u8>>,
    #[prost(string, tag = "3")]
    pub cf: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawDeleteRangeRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", tag = "2")]
    pub start_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub end_key: Vec<u8>,
    #[prost(string, tag = "4")]
    pub cf: String,
}

/// The answer to what only writes.
#[derive(Clone, PartialEq, Message)]
pub struct RawDone {
    #[prost(message, optional, tag = "1")]
    pub region_error: Option<Error>,
    #[prost(string, tag = "2")]
    pub error: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawScanRequest {
    #[prost(message, optional, tag = "1")]
    pub context: Option<Context>,
    #[prost(bytes = "vec", tag = "2")]
    pub start_key: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    #[prost(bool, tag = "4")]
    pub key_only: bool,
    #[prost(string, tag = "5")]
    pub cf: String,
    #[prost(bool, tag = "6")]
    pub reverse: bool,
    #[prost(bytes = "vec", tag = "7")]
    pub end_key: Vec<u8>,
}
