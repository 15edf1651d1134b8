//! `metapb`.

use prost::Message;

/// A range of keys.
#[derive(Clone, PartialEq, Message)]
pub struct Region {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub start_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub end_key: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub region_epoch: Option<RegionEpoch>,
    #[prost(message, repeated, tag = "5")]
    pub peers: Vec<Peer>,
}

/// The version of a region's limits and members.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RegionEpoch {
    #[prost(uint64, tag = "1")]
    pub conf_ver: u64,
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// A copy of a region.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Peer {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub store_id: u64,
}

/// A store.
#[derive(Clone, PartialEq, Message)]
pub struct Store {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(string, tag = "5")]
    pub version: String,
    #[prost(string, tag = "6")]
    pub peer_address: String,
    #[prost(string, tag = "7")]
    pub status_address: String,
    #[prost(int64, tag = "9")]
    pub start_timestamp: i64,
    #[prost(int64, tag = "11")]
    pub last_heartbeat: i64,
    #[prost(int32, tag = "13")]
    pub node_state: i32,
}

/// The copy of a region on a store. Real peers have numbers of their own; these follow from region and store.
pub fn peer(region: u64, store: u64) -> Peer {
    Peer {
        id: region * 100 + store,
        store_id: store,
    }
}
