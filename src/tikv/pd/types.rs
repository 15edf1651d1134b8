//! PD's answers as plain data. Every field may be missing: PD drops zero values (facts, TLS §4.2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A store as PD sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Number of the store.
    pub id: u64,
    /// Advertised gRPC address, `host:port` without scheme.
    pub address: String,
    /// Advertised address of the status port.
    pub status_address: String,
    /// Version of TiKV.
    pub version: String,
    /// PD's view of its life.
    pub state: StoreState,
    /// Labels; TiFlash has `engine=tiflash`.
    pub labels: BTreeMap<String, String>,
    /// Regions led, as of the last heartbeats: lags by up to a minute.
    pub leaders: u64,
    /// Replicas held.
    pub regions: u64,
    /// Replicas that lag.
    pub pending_peers: u64,
    /// True while it still applies what it missed.
    pub busy: bool,
    /// Last heartbeat that PD got.
    pub last_heartbeat: Option<Timestamp>,
    /// When the process started.
    pub started: Option<Timestamp>,
}

/// Life of a store in PD.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum StoreState {
    /// Heartbeats arrive.
    Up,
    /// No heartbeat for 20 s.
    Disconnected,
    /// No heartbeat for `max-store-down-time`.
    Down,
    /// Being removed.
    Offline,
    /// Removed.
    Tombstone,
    /// Something this program does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl StoreState {
    /// PD's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "Up",
            Self::Disconnected => "Disconnected",
            Self::Down => "Down",
            Self::Offline => "Offline",
            Self::Tombstone => "Tombstone",
            Self::Unknown => "Unknown",
        }
    }
}

/// A PD member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Name of the member; on Kubernetes the pod's.
    pub name: String,
    /// Its etcd identifier.
    pub member_id: u64,
    /// URLs at which its peers reach it.
    pub peer_urls: Vec<String>,
    /// URLs at which clients reach it.
    pub client_urls: Vec<String>,
    /// Pulls the leadership when greater than the others'.
    pub leader_priority: i64,
}

/// Members and who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// All members.
    pub all: Vec<Member>,
    /// Name of PD's leader.
    pub leader: Option<String>,
}

/// Health of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MemberHealth {
    /// Name of the member; empty while it is not started.
    pub name: String,
    /// Its etcd identifier.
    pub member_id: u64,
    /// True when it answers.
    pub health: bool,
}

/// Regions that PD finds fault with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionCheck {
    /// Too few replicas by the placement rules.
    MissPeer,
    /// A replica lags.
    PendingPeer,
    /// A replica is gone for 10 minutes.
    DownPeer,
}

impl RegionCheck {
    /// Last part of the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissPeer => "miss-peer",
            Self::PendingPeer => "pending-peer",
            Self::DownPeer => "down-peer",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStores {
    pub stores: Vec<RawStore>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStore {
    store: RawMeta,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMeta {
    id: u64,
    address: String,
    status_address: String,
    version: String,
    state_name: StoreState,
    last_heartbeat: i64,
    start_timestamp: i64,
    labels: Vec<RawLabel>,
}

#[derive(Deserialize)]
struct RawLabel {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    leader_count: u64,
    region_count: u64,
    pending_peer_count: u64,
    is_busy: bool,
    start_ts: Option<Timestamp>,
    last_heartbeat_ts: Option<Timestamp>,
}

impl From<RawStore> for Store {
    fn from(RawStore { store, status }: RawStore) -> Self {
        let seconds = |at: i64| Timestamp::from_second(at).ok().filter(|_| at > 0);
        let nanos = |at: i64| {
            Timestamp::from_nanosecond(at.into())
                .ok()
                .filter(|_| at > 0)
        };
        let labels = store.labels.into_iter();
        Self {
            id: store.id,
            address: store.address,
            status_address: store.status_address,
            version: store.version,
            state: store.state_name,
            labels: labels.map(|label| (label.key, label.value)).collect(),
            leaders: status.leader_count,
            regions: status.region_count,
            pending_peers: status.pending_peer_count,
            busy: status.is_busy,
            last_heartbeat: status
                .last_heartbeat_ts
                .or_else(|| nanos(store.last_heartbeat)),
            started: status.start_ts.or_else(|| seconds(store.start_timestamp)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMembers {
    pub members: Vec<Member>,
    pub leader: Option<Member>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawClusterStatus {
    pub is_initialized: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRegions {
    pub count: u64,
}
