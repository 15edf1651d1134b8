//! What the members of PD agree about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{REGIONS, now};

/// After so many seconds without a heartbeat a store leads nothing any more. Raft would take 10 to 20.
const FRESH: u64 = 3;
/// After so many seconds a store is shown as disconnected (facts, TLS §4.2).
const DISCONNECTED: u64 = 20;

/// What a store tells.
#[derive(Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    pub address: String,
    pub status_address: String,
    pub started: u64,
    pub leaders: usize,
}

/// What a store is told.
#[derive(Serialize, Deserialize)]
pub struct Appointments {
    pub id: u64,
    pub regions: Vec<Region>,
    /// Addresses of all stores.
    pub stores: BTreeMap<u64, String>,
}

/// Who leads a region. Terms are unique, also over members that think they lead.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Region {
    pub leader: u64,
    pub term: u64,
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
    pub members: BTreeMap<String, Member>,
    pub stores: BTreeMap<u64, Heartbeat>,
    pub regions: Vec<Region>,
    pub evicted: BTreeSet<u64>,
    pub schedule: Map<String, Value>,
    pub maintenance: Option<Value>,
}

impl State {
    /// Of a cluster that nobody joined.
    pub fn new(members: BTreeMap<String, Member>) -> Self {
        let schedule = json!({"max-store-down-time": "30m0s", "leader-schedule-limit": 4, "region-schedule-limit": 2048});
        Self {
            version: 1,
            members,
            stores: BTreeMap::new(),
            regions: vec![Region::default(); REGIONS],
            evicted: BTreeSet::new(),
            schedule: schedule.as_object().cloned().unwrap_or_default(),
            maintenance: None,
        }
    }

    /// Takes a heartbeat; answers the store's id and whether anything but the time changed.
    pub fn hear(&mut self, heartbeat: &Heartbeat) -> (u64, bool) {
        let known = self.stores.iter().find(|(_, store)| store.address == heartbeat.address).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.stores.keys().max().map_or(4, |last| last + 1));
        let changed = self.stores.get(&id).is_none_or(|store| store.started != heartbeat.started);
        self.stores.insert(id, heartbeat.clone());
        (id, changed)
    }

    /// Appoints leaders: away from stores that are silent or evicted, and evenly. At most one region moves for balance.
    pub fn appoint(&mut self, heard: &BTreeMap<u64, u64>, own_index: u64) -> bool {
        let fresh: BTreeSet<u64> = self.stores.keys().copied().filter(|id| age(heard, *id) <= FRESH).collect();
        if fresh.len() < 2 {
            return false;
        }
        let willing: BTreeSet<u64> = fresh.difference(&self.evicted).copied().collect();
        let candidates = if willing.is_empty() { &fresh } else { &willing };
        let mut changed = false;
        for index in 0..self.regions.len() {
            if !candidates.contains(&self.regions[index].leader) {
                let least = candidates.iter().copied().min_by_key(|id| (self.led_by(*id), *id));
                changed |= self.move_to(index, least, own_index);
            }
        }
        let most = candidates.iter().copied().max_by_key(|id| self.led_by(*id));
        let least = candidates.iter().copied().min_by_key(|id| self.led_by(*id));
        if let (Some(most), Some(least)) = (most, least)
            && !changed
            && self.led_by(most) > self.led_by(least) + 1
        {
            let index = self.regions.iter().position(|region| region.leader == most).unwrap_or(0);
            changed = self.move_to(index, Some(least), own_index);
        }
        changed
    }

    /// Regions led by a store.
    pub fn led_by(&self, store: u64) -> usize {
        self.regions.iter().filter(|region| region.leader == store).count()
    }

    /// For a store.
    pub fn appointments(&self, id: u64) -> Appointments {
        let stores = self.stores.iter().map(|(id, store)| (*id, store.address.clone())).collect();
        Appointments { id, regions: self.regions.clone(), stores }
    }

    /// A store as PD's API shows it.
    pub fn show_store(&self, id: u64, store: &Heartbeat, heard: &BTreeMap<u64, u64>) -> Value {
        let silence = age(heard, id);
        let at = now().saturating_sub(silence);
        let state = if silence > DISCONNECTED { "Disconnected" } else { "Up" };
        json!({
            "store": {
                "id": id, "address": store.address, "peer_address": store.address,
                "status_address": store.status_address, "version": "8.5.7", "state_name": state,
                "node_state": 1, "start_timestamp": store.started, "last_heartbeat": at * 1_000_000_000,
            },
            "status": {"leader_count": store.leaders, "region_count": REGIONS, "slow_score": 1},
        })
    }

    fn move_to(&mut self, index: usize, store: Option<u64>, own_index: u64) -> bool {
        let Some(leader) = store else { return false };
        let last = self.regions.iter().map(|region| region.term).max().unwrap_or(0);
        self.regions[index] = Region { leader, term: (last / 4 + 1) * 4 + own_index };
        true
    }
}

fn age(heard: &BTreeMap<u64, u64>, id: u64) -> u64 {
    heard.get(&id).map_or(u64::from(u32::MAX), |at| now().saturating_sub(*at))
}
