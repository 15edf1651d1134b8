//! The part of PD's HTTP API that is in use, and etcd's member calls beside it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::member::MemberNode;
use super::rpc;
use super::state::{State, age};
use crate::net::server::{Call, Reply};

const EVICT: &str = "/pd/api/v1/schedulers/evict-leader-scheduler";
const DEFAULT_SCHEDULERS: [&str; 5] = [
    "balance-leader-scheduler",
    "balance-region-scheduler",
    "balance-hot-region-scheduler",
    "evict-slow-store-scheduler",
    "evict-stopping-store-scheduler",
];

/// Answers a client. Any member takes a request; the leader answers it.
pub async fn client(node: Arc<MemberNode>, call: Call) -> Reply {
    if call.grpc {
        return rpc::handle(&node, &call).await;
    }
    if call.path == "/pd/api/v2/ready" {
        return if node.leader().is_some() {
            Reply::Http(200, b"{}".to_vec())
        } else {
            Reply::Http(500, Vec::new())
        };
    }
    if call.path == "/pd/api/v1/health" {
        return health(&node);
    }
    if !node.leads() {
        return match node
            .forward(&call.method, &call.path, call.body.to_vec())
            .await
        {
            Ok((status, body)) => Reply::Http(status, body),
            Err(error) => Reply::Http(503, error.into_bytes()),
        };
    }
    lead(&node, &call).await
}

/// Answers another member.
pub async fn peer(node: Arc<MemberNode>, call: Call) -> Reply {
    match call.path.as_str() {
        "/standin/hello" => ok(&node.hello()),
        "/standin/read" => ok(&node.snapshot()),
        "/standin/state" => match serde_json::from_slice::<State>(&call.body) {
            Ok(state) => ok(&node.accept(state)),
            Err(error) => Reply::Http(400, error.to_string().into_bytes()),
        },
        _ => Reply::Http(404, Vec::new()),
    }
}

async fn lead(node: &MemberNode, call: &Call) -> Reply {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let state = node.snapshot();
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/standin/heartbeat") => match serde_json::from_value(body) {
            Ok(heartbeat) => match node.heartbeat(&heartbeat).await {
                Ok(appointments) => ok(&appointments),
                Err(error) => Reply::Http(503, error.into_bytes()),
            },
            Err(error) => Reply::Http(400, error.to_string().into_bytes()),
        },
        ("GET", "/pd/api/v1/stores") => {
            let heard = node.heard();
            let stores: Vec<_> = state
                .stores
                .iter()
                .map(|(id, store)| state.show_store(*id, store, &heard))
                .collect();
            ok(&json!({"count": stores.len(), "stores": stores}))
        }
        ("GET", "/pd/api/v1/members") => members(node, &state),
        ("GET", "/pd/api/v1/cluster/status") => {
            ok(&json!({"is_initialized": !state.stores.is_empty()}))
        }
        ("GET", path) if path.starts_with("/pd/api/v1/regions/check/") => {
            regions(node, &state, path)
        }
        ("GET", "/pd/api/v1/schedulers") => {
            let evict = (!state.evicted.is_empty()).then_some("evict-leader-scheduler");
            ok(&DEFAULT_SCHEDULERS
                .into_iter()
                .chain(evict)
                .collect::<Vec<_>>())
        }
        ("POST", "/pd/api/v1/schedulers") => {
            match (body["name"].as_str(), body["store_id"].as_u64()) {
                (Some("evict-leader-scheduler"), Some(id)) if state.stores.contains_key(&id) => {
                    changed(node, |state| _ = state.evicted.insert(id)).await
                }
                _ => Reply::Http(400, b"\"unknown scheduler or store\"".to_vec()),
            }
        }
        // Without a number it is taken away for all stores.
        ("DELETE", EVICT) => changed(node, |state| state.evicted.clear()).await,
        ("DELETE", path) if path.starts_with(EVICT) => {
            let id = path
                .rsplit('-')
                .next()
                .and_then(|id| id.parse().ok())
                .unwrap_or(0);
            if !state.evicted.contains(&id) {
                return Reply::Http(404, b"\"scheduler not found\"".to_vec());
            }
            changed(node, |state| _ = state.evicted.remove(&id)).await
        }
        ("GET", "/pd/api/v1/scheduler-config/evict-leader-scheduler/list")
            if !state.evicted.is_empty() =>
        {
            let ranges = state
                .evicted
                .iter()
                .map(|id| (id.to_string(), json!([{"start-key": "", "end-key": ""}])));
            ok(&json!({"store-id-ranges": ranges.collect::<serde_json::Map<_, _>>()}))
        }
        ("GET", "/pd/api/v1/config/schedule") => ok(&state.schedule),
        ("POST", "/pd/api/v1/config/schedule") => {
            let values = body.as_object().cloned().unwrap_or_default();
            changed(node, |state| state.schedule.extend(values)).await
        }
        ("POST", "/pd/api/v1/leader/resign") => {
            node.resign();
            Reply::Http(200, Vec::new())
        }
        ("POST", path) if path.starts_with("/pd/api/v1/leader/transfer/") => {
            node.resign();
            Reply::Http(200, Vec::new())
        }
        ("POST", "/v3/cluster/member/list") => etcd_members(&state),
        ("POST", "/v3/cluster/member/update") => update_member(node, &state, &body).await,
        ("GET", "/pd/api/v2/maintenance") => state
            .maintenance
            .as_ref()
            .map_or_else(|| Reply::Http(404, Vec::new()), |task| ok(&json!([task]))),
        (_, path) if path.starts_with("/pd/api/v2/maintenance/") => {
            maintenance(node, &state, call).await
        }
        _ => Reply::Http(404, b"404 page not found\n".to_vec()),
    }
}

fn health(node: &MemberNode) -> Reply {
    let (state, alive) = (node.snapshot(), node.alive());
    if node.leader().is_none() {
        return Reply::Http(503, b"no leader".to_vec());
    }
    let members = state.members.keys().enumerate().map(|(index, name)| {
        json!({"name": name, "member_id": index + 1, "health": alive.contains(name)})
    });
    ok(&members.collect::<Vec<_>>())
}

fn members(node: &MemberNode, state: &State) -> Reply {
    let all: Vec<Value> = state.members.iter().enumerate().map(|(index, (name, member))| {
        json!({"name": name, "member_id": index + 1, "peer_urls": [member.peer_url], "client_urls": [member.client_url]})
    }).collect();
    let leader = node.leader().and_then(|leader| {
        all.iter()
            .find(|member| member["name"] == leader.as_str())
            .cloned()
    });
    ok(&json!({"members": all, "leader": leader}))
}

// A region has a pending peer while one of its stores is silent; down peers are shown only after ten minutes.
fn regions(node: &MemberNode, state: &State, path: &str) -> Reply {
    let heard = node.heard();
    let silent = state.stores.keys().any(|id| age(&heard, *id) > 5000);
    let count = if path.ends_with("pending-peer") && silent {
        state.regions.len()
    } else {
        0
    };
    ok(&json!({"count": count, "regions": []}))
}

fn etcd_members(state: &State) -> Reply {
    let members = state.members.iter().enumerate().map(|(index, (name, member))| {
        json!({"ID": (index + 1).to_string(), "name": name, "peerURLs": [member.peer_url], "clientURLs": [member.client_url]})
    });
    ok(&json!({"members": members.collect::<Vec<_>>()}))
}

async fn update_member(node: &MemberNode, state: &State, body: &Value) -> Reply {
    let index = body["ID"]
        .as_str()
        .and_then(|id| id.parse::<usize>().ok())
        .unwrap_or(0);
    let name = state.members.keys().nth(index.wrapping_sub(1)).cloned();
    match (name, body["peerURLs"][0].as_str()) {
        (Some(name), Some(url)) => {
            let reply = changed(node, |state| {
                if let Some(member) = state.members.get_mut(&name) {
                    url.clone_into(&mut member.peer_url);
                }
            });
            match reply.await {
                Reply::Http(200, _) => ok(&json!({})),
                other => other,
            }
        }
        _ => Reply::Http(
            404,
            b"{\"error\":\"etcdserver: member not found\",\"code\":5}".to_vec(),
        ),
    }
}

async fn maintenance(node: &MemberNode, state: &State, call: &Call) -> Reply {
    let id = call.path.rsplit('/').next().unwrap_or_default().to_owned();
    let held = state.maintenance.as_ref();
    match call.method.as_str() {
        "PUT" if held.is_some() => Reply::Http(
            409,
            serde_json::to_vec(&json!({"existing_task": held})).unwrap_or_default(),
        ),
        "PUT" => {
            let description: String = serde_json::from_slice(&call.body).unwrap_or_default();
            let task = json!({"type": "tikv", "id": id, "start_timestamp": crate::now(), "description": description});
            changed(node, |state| state.maintenance = Some(task)).await
        }
        "GET" => held.map_or_else(|| Reply::Http(404, Vec::new()), ok),
        "DELETE" => match held {
            None => Reply::Http(404, Vec::new()),
            Some(task) if task["id"] != id.as_str() => Reply::Http(409, Vec::new()),
            Some(_) => changed(node, |state| state.maintenance = None).await,
        },
        _ => Reply::Http(405, Vec::new()),
    }
}

async fn changed(node: &MemberNode, work: impl FnOnce(&mut State)) -> Reply {
    match node.change(work).await {
        Ok(()) => Reply::Http(200, b"\"done\"\n".to_vec()),
        Err(error) => Reply::Http(503, error.into_bytes()),
    }
}

fn ok(value: &impl Serialize) -> Reply {
    Reply::Http(200, serde_json::to_vec(value).unwrap_or_default())
}
