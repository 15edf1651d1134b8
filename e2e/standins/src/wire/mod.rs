//! The messages of TiKV's protocol that are in use, with the field numbers of kvproto.

pub mod debug;
pub mod errors;
pub mod kv;
pub mod pd;
pub mod raft;
pub mod raw;
pub mod region;
