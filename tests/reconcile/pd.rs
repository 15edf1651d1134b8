//! What PD knows and answers, shared by all members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};

/// State of a PD.
#[derive(Default)]
pub struct Pd {
    /// TiKV pods that run, with their advertised address and when they started.
    pub stores: BTreeMap<String, (String, Timestamp)>,
    /// Members that run.
    pub members: BTreeSet<String>,
    /// Peer URLs by member, as etcd stores them.
    pub peer_urls: BTreeMap<String, String>,
    /// Stores whose leaders are evicted.
    pub evicting: BTreeSet<u64>,
    /// Every store that was ever evicted, in order.
    pub evicted: Vec<u64>,
    /// `max-store-down-time`.
    pub down_time: String,
    /// Set for good when a store came.
    pub initialized: bool,
    /// Stores that PD calls Down whatever happens.
    pub broken: BTreeSet<u64>,
    /// Stores that are TiFlash.
    pub tiflash: BTreeSet<u64>,
    /// Who holds the maintenance lock.
    pub maintenance: Option<String>,
}

/// Number of the store of a pod: its ordinal and one.
pub fn store_id(pod: &str) -> u64 {
    pod.rsplit('-').next().unwrap().parse::<u64>().unwrap() + 1
}

/// Number of the member of a pod; larger than what a double holds exactly, as real ones are.
pub fn member_id(pod: &str) -> u64 {
    13_251_125_834_425_193_391 + store_id(pod)
}

impl Pd {
    /// Leaders of a store: none while they are evicted.
    pub fn leaders(&self, pod: &str) -> u64 {
        if self.evicting.contains(&store_id(pod)) {
            0
        } else {
            4
        }
    }

    /// Answers one call.
    pub fn answer(pd: &Arc<Mutex<Self>>, call: &str, body: &str) -> (u16, String) {
        let mut pd = pd.lock().unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let answer = match call {
            "GET /pd/api/v1/stores" => pd.stores(),
            "GET /pd/api/v1/members" => pd.members(),
            "GET /pd/api/v1/health" => pd.health(),
            "GET /pd/api/v1/cluster/status" => json!({"is_initialized": pd.initialized}),
            "GET /pd/api/v1/config/schedule" => json!({"max-store-down-time": pd.down_time}),
            "POST /pd/api/v1/config/schedule" => {
                pd.down_time = body["max-store-down-time"].as_str().unwrap().to_owned();
                json!("updated")
            }
            "POST /pd/api/v1/schedulers" => {
                let store = body["store_id"].as_u64().unwrap();
                pd.evicting.insert(store);
                pd.evicted.push(store);
                json!("created")
            }
            "GET /pd/api/v1/scheduler-config/evict-leader-scheduler/list" => {
                if pd.evicting.is_empty() {
                    return (404, String::new());
                }
                let ids = pd.evicting.iter().map(|id| (id.to_string(), json!([])));
                json!({"store-id-ranges": ids.collect::<BTreeMap<_, _>>()})
            }
            "GET /pd/api/v2/maintenance" => match &pd.maintenance {
                Some(id) => json!([{"type": "tikv", "id": id, "description": "test"}]),
                None => return (404, String::new()),
            },
            _ if call.contains(" /pd/api/v2/maintenance/tikv/") => {
                let id = call.rsplit('/').next().unwrap().to_owned();
                let (free, ours) = (
                    pd.maintenance.is_none(),
                    pd.maintenance.as_ref() == Some(&id),
                );
                match call.split(' ').next() {
                    Some("PUT") if free => pd.maintenance = Some(id),
                    Some("DELETE") if ours => pd.maintenance = None,
                    Some("DELETE") if free => return (404, String::new()),
                    _ => return (409, String::new()),
                }
                json!("")
            }
            "POST /v3/cluster/member/list" => json!({}),
            "POST /v3/cluster/member/update" => {
                let id = body["ID"].as_str().unwrap().to_owned();
                let name = pd
                    .peer_urls
                    .keys()
                    .find(|name| member_id(name).to_string() == id);
                let name = name.unwrap().clone();
                let url = body["peerURLs"][0].as_str().unwrap().to_owned();
                pd.peer_urls.insert(name, url);
                json!({})
            }
            _ if call.starts_with("GET /pd/api/v1/regions/check/") => {
                json!({"count": 0, "regions": []})
            }
            _ if call.starts_with("POST /pd/api/v1/leader/") => json!(""),
            _ => {
                let path = "DELETE /pd/api/v1/schedulers/evict-leader-scheduler-";
                let Some(id) = call.strip_prefix(path) else {
                    return (404, String::new());
                };
                if !pd.evicting.remove(&id.parse().unwrap()) {
                    return (404, String::new());
                }
                json!("")
            }
        };
        (200, answer.to_string())
    }

    fn stores(&self) -> Value {
        let stores = self.stores.iter().map(|(pod, (address, started))| {
            let id = store_id(pod);
            let state = if self.broken.contains(&id) { "Down" } else { "Up" };
            let flash = json!([{"key": "engine", "value": "tiflash"}]);
            let flash = self.tiflash.contains(&id).then_some(flash);
            json!({
                "store": {
                    "labels": flash.unwrap_or(json!([])),
                    "id": id, "address": address, "version": "8.5.7", "state_name": state,
                    "status_address": address.replace("20160", "20180"),
                    "start_timestamp": started.as_second(),
                },
                "status": {
                    "leader_count": self.leaders(pod), "region_count": 12,
                    "start_ts": started.to_string(), "last_heartbeat_ts": Timestamp::now().to_string(),
                },
            })
        });
        json!({"stores": stores.collect::<Vec<_>>()})
    }

    fn members(&self) -> Value {
        let members = self.members.iter().map(|name| {
            json!({
                "name": name, "member_id": member_id(name),
                "peer_urls": [self.peer_urls[name]],
                "client_urls": [self.peer_urls[name].replace("2380", "2379")],
            })
        });
        let all: Vec<Value> = members.collect();
        json!({"members": all, "leader": all.first()})
    }

    fn health(&self) -> Value {
        let members = self.members.iter();
        members
            .map(|name| json!({"name": name, "member_id": member_id(name), "health": true}))
            .collect()
    }
}
