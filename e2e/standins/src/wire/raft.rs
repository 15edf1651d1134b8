//! `eraftpb`, `raft_serverpb` and `raft_cmdpb`: what lies in the raft log and beside it; and what stores say to one
//! another, which is this stand-in's own.

use prost::Message;

/// One entry of a log.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// 0 is an ordinary one; others change the members.
    #[prost(int32, tag = "1")]
    pub entry_type: i32,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub index: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HardState {
    #[prost(uint64, tag = "1")]
    pub term: u64,
    #[prost(uint64, tag = "2")]
    pub vote: u64,
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaftLocalState {
    #[prost(message, optional, tag = "1")]
    pub hard_state: Option<HardState>,
    #[prost(uint64, tag = "2")]
    pub last_index: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaftApplyState {
    #[prost(uint64, tag = "1")]
    pub applied_index: u64,
    #[prost(message, optional, tag = "2")]
    pub truncated_state: Option<RaftTruncatedState>,
    #[prost(uint64, tag = "3")]
    pub last_commit_index: u64,
    #[prost(uint64, tag = "4")]
    pub commit_index: u64,
    #[prost(uint64, tag = "5")]
    pub commit_term: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaftTruncatedState {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
}

/// What an entry does.
#[derive(Clone, PartialEq, Message)]
pub struct RaftCmdRequest {
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<Request>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(int32, tag = "1")]
    pub cmd_type: i32,
    #[prost(message, optional, tag = "4")]
    pub put: Option<PutRequest>,
    #[prost(message, optional, tag = "5")]
    pub delete: Option<DeleteRequest>,
}

/// `CmdType::Put`.
pub const PUT: i32 = 3;
/// `CmdType::Delete`.
pub const DELETE: i32 = 4;

#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    #[prost(string, tag = "1")]
    pub cf: String,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteRequest {
    #[prost(string, tag = "1")]
    pub cf: String,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

/// A leader to a follower: these entries come after that one; or, without entries, am I still the leader?
#[derive(Clone, PartialEq, Message)]
pub struct Append {
    #[prost(uint64, tag = "1")]
    pub region: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub previous_index: u64,
    #[prost(uint64, tag = "4")]
    pub previous_term: u64,
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "6")]
    pub commit: u64,
    /// Every store has the entries up to this one.
    #[prost(uint64, tag = "7")]
    pub everywhere: u64,
}

/// A store that PD appointed: obey nobody older, and tell how far your log goes.
#[derive(Clone, PartialEq, Message)]
pub struct Promise {
    #[prost(uint64, tag = "1")]
    pub region: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
}

/// Give me your entries after this one.
#[derive(Clone, PartialEq, Message)]
pub struct Fetch {
    #[prost(uint64, tag = "1")]
    pub region: u64,
    #[prost(uint64, tag = "2")]
    pub after: u64,
}

/// The answer to each of them.
#[derive(Clone, PartialEq, Message)]
pub struct Standing {
    #[prost(bool, tag = "1")]
    pub good: bool,
    #[prost(uint64, tag = "2")]
    pub last_index: u64,
    #[prost(uint64, tag = "3")]
    pub last_term: u64,
    #[prost(message, repeated, tag = "4")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "5")]
    pub term: u64,
}
