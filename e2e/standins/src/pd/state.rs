//! What the members of PD agree about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::rows::codec::encode;
use crate::wire::region::{Region, RegionEpoch, peer};
use crate::{date, now};

/// After so many seconds a store is shown as disconnected (facts, TLS §4.2).
const DISCONNECTED: u64 = 20;
/// What the stores say they are.
pub const VERSION: &str = "9.0.0-beta.2";
// Far above the numbers in stores that a real TiKV wrote, whose logs lie beside these.
const FIRST_REGION: u64 = 1_000_001;
// Where the key space is cut from the beginning; a real PD cuts when regions grow.
const CUTS: [&str; 11] = [
    "a00000400",
    "a00000800",
    "b",
    "row-0002",
    "row-0004",
    "row-0008",
    "row-0012",
    "row-0016",
    "row-0025",
    "row-0037",
    "s",
];

/// What a store tells.
#[derive(Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    pub address: String,
    pub status_address: String,
    pub started: u64,
    pub leaders: usize,
    /// It does not have all entries of its regions yet.
    #[serde(default)]
    pub busy: bool,
    /// It is about to end, and hands its leaders over.
    #[serde(default)]
    pub stopping: bool,
}

/// What a store is told.
#[derive(Serialize, Deserialize)]
pub struct Appointments {
    pub id: u64,
    pub regions: Vec<RegionInfo>,
    /// Addresses of all stores.
    pub stores: BTreeMap<u64, String>,
    /// How many copies of a region there are.
    pub replicas: usize,
}

/// A range of keys, and who leads it. Terms are unique, also over members that think they lead.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RegionInfo {
    pub id: u64,
    pub start: Vec<u8>,
    pub end: Vec<u8>,
    pub leader: u64,
    pub term: u64,
    /// Until when nobody stands for election, in milliseconds since 1970.
    pub vacant_until: u64,
}

/// A member of the cluster.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Member {
    /// As etcd keeps them: configuration does not change them.
    pub peer_url: String,
    pub client_url: String,
}

/// The replicated state.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    pub version: u64,
    pub cluster: u64,
    pub members: BTreeMap<String, Member>,
    pub stores: BTreeMap<u64, Heartbeat>,
    pub regions: Vec<RegionInfo>,
    pub replicas: usize,
    pub evicted: BTreeSet<u64>,
    pub schedule: Map<String, Value>,
    pub maintenance: Option<Value>,
    /// No timestamp at or above this one was given away, in milliseconds.
    pub timestamps_below: u64,
    pub safe_point: u64,
}

impl State {
    /// Of a cluster that nobody joined.
    pub fn new(members: BTreeMap<String, Member>, replicas: usize) -> Self {
        let schedule = json!({"max-store-down-time": "30m0s", "leader-schedule-limit": 4, "region-schedule-limit": 2048,
            "replica-schedule-limit": 64});
        // All members make the same one, from what they were all started with.
        let names: String = members
            .iter()
            .map(|(name, member)| format!("{name}={},", member.peer_url))
            .collect();
        let cluster = (7_u64 << 60) | (u64::from(crc32fast::hash(names.as_bytes())) << 16);
        Self {
            version: 1,
            cluster,
            members,
            stores: BTreeMap::new(),
            regions: regions(),
            replicas,
            evicted: BTreeSet::new(),
            schedule: schedule.as_object().cloned().unwrap_or_default(),
            maintenance: None,
            timestamps_below: 0,
            safe_point: 0,
        }
    }

    /// For a store.
    pub fn appointments(&self, id: u64) -> Appointments {
        let stores = self
            .stores
            .iter()
            .map(|(id, store)| (*id, store.address.clone()))
            .collect();
        Appointments {
            id,
            regions: self.regions.clone(),
            stores,
            replicas: self.replicas,
        }
    }

    /// Numbers of all stores.
    pub fn store_ids(&self) -> Vec<u64> {
        self.stores.keys().copied().collect()
    }

    /// A store as PD's API shows it. What is zero or false is left out there.
    pub fn show_store(&self, id: u64, store: &Heartbeat, heard: &BTreeMap<u64, u64>) -> Value {
        let silence = age(heard, id) / 1000;
        let at = now().saturating_sub(silence);
        let down = self
            .schedule
            .get("max-store-down-time")
            .and_then(Value::as_str)
            .unwrap_or("30m");
        let down = crate::options::duration(down).map_or(1800, |time| time.as_secs());
        let state = match silence {
            silence if silence > down => "Down",
            silence if silence > DISCONNECTED => "Disconnected",
            _ => "Up",
        };
        let mut status = json!({
            "capacity": "2GiB", "available": "1GiB", "region_count": self.regions.len(), "slow_score": 1,
            "start_ts": date::rfc3339(store.started), "last_heartbeat_ts": date::rfc3339(at),
            "uptime": format!("{}s", at.saturating_sub(store.started)),
        });
        if store.leaders > 0 {
            status["leader_count"] = json!(store.leaders);
        }
        if store.busy {
            status["is_busy"] = json!(true);
        }
        json!({
            "store": {
                "id": id, "address": store.address, "peer_address": store.address,
                "status_address": store.status_address, "version": VERSION, "state_name": state,
                "node_state": 1, "start_timestamp": store.started, "last_heartbeat": at * 1_000_000_000,
            },
            "status": status,
        })
    }
}

impl RegionInfo {
    /// As clients see it.
    pub fn region(&self, stores: &[u64]) -> Region {
        Region {
            id: self.id,
            start_key: self.start.clone(),
            end_key: self.end.clone(),
            region_epoch: Some(RegionEpoch {
                conf_ver: 5,
                version: 12,
            }),
            peers: stores.iter().map(|store| peer(self.id, *store)).collect(),
        }
    }

    /// Whether a key, as regions see it, is in the region.
    pub fn holds(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.end.is_empty() || key < self.end.as_slice())
    }
}

/// Milliseconds since a store was heard.
pub fn age(heard: &BTreeMap<u64, u64>, id: u64) -> u64 {
    heard
        .get(&id)
        .map_or(u64::MAX, |at| crate::now_ms().saturating_sub(*at))
}

fn regions() -> Vec<RegionInfo> {
    let cuts = CUTS.map(|cut| encode(cut.as_bytes()));
    let starts = std::iter::once(Vec::new()).chain(cuts.clone());
    let ends = cuts.into_iter().chain(std::iter::once(Vec::new()));
    let all = starts.zip(ends).zip(FIRST_REGION..);
    all.map(|((start, end), id)| RegionInfo {
        id,
        start,
        end,
        ..RegionInfo::default()
    })
    .collect()
}
