use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::types::{RegionCheck, StoreState};
use super::{Maintenance, PdClient, PdError};
use crate::tikv::http::Endpoint;

type Answers = &'static [(&'static str, u16, &'static str)];

/// A PD that gives written-down answers, by "METHOD path", and notes what was asked.
async fn pd(answers: Answers) -> (Endpoint, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = log.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let log = log.clone();
                async move {
                    let call = format!("{} {}", request.method(), request.uri());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let noted = format!("{call} {}", String::from_utf8_lossy(&body));
                    log.lock().unwrap().push(noted.trim().to_owned());
                    let found = answers.iter().find(|(key, ..)| *key == call);
                    let (status, text) = found.map_or((404, ""), |(_, code, text)| (*code, *text));
                    let mut response =
                        Response::new(Full::new(Bytes::from_static(text.as_bytes())));
                    *response.status_mut() = status.try_into().unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (endpoint, asked)
}

fn client(endpoints: Vec<Endpoint>) -> PdClient {
    PdClient::new(endpoints, None, Duration::from_secs(5))
}

#[tokio::test]
async fn stores_are_read_with_missing_fields() {
    let (endpoint, _) = pd(&[(
        "GET /pd/api/v1/stores",
        200,
        r#"{"count":2,"stores":[
          {"store":{"id":1,"address":"tikv-0.tikv.ns.svc:20160","status_address":"tikv-0.tikv.ns.svc:20180","version":"8.5.3",
            "state_name":"Up","last_heartbeat":1790000000123456789,"start_timestamp":1780000000,
            "labels":[{"key":"zone","value":"a"}]},
           "status":{"leader_count":3,"region_count":12,"is_busy":true,"start_ts":"2026-09-21T09:29:24Z",
            "last_heartbeat_ts":"2026-09-21T13:33:20.5Z","uptime":"4h3m"}},
          {"store":{"id":4,"address":"b:20160","state_name":"Serving"},"status":{}}]}"#,
    )])
    .await;
    let stores = client(vec![endpoint]).stores().await.unwrap();
    assert_eq!(stores[0].state, StoreState::Up);
    assert_eq!((stores[0].leaders, stores[0].busy), (3, true));
    assert_eq!(stores[0].labels["zone"], "a");
    let started = stores[0].started.unwrap().to_string();
    assert_eq!(started, "2026-09-21T09:29:24Z");
    assert_eq!((stores[1].id, stores[1].leaders), (4, 0));
    assert_eq!(stores[1].state, StoreState::Unknown);
    assert_eq!(stores[1].started, None);
}

#[tokio::test]
async fn the_next_member_is_asked_when_one_is_down_or_leaderless() {
    let dead = Endpoint::new("127.0.0.1", 1);
    let (leaderless, _) = pd(&[("GET /pd/api/v1/cluster/status", 503, "no leader")]).await;
    let (good, _) = pd(&[(
        "GET /pd/api/v1/cluster/status",
        200,
        r#"{"raft_bootstrap_time":"2026-01-01T00:00:00Z","is_initialized":true}"#,
    )])
    .await;
    let all = client(vec![dead.clone(), leaderless.clone(), good]);
    assert!(all.initialized().await.unwrap());
    let none = client(vec![dead, leaderless]).initialized().await;
    let message = none.unwrap_err().to_string();
    assert!(message.contains("127.0.0.1:1"), "{message}");
    assert!(message.contains("503"), "{message}");
}

#[tokio::test]
async fn evict_leader_is_handled_per_store() {
    let (endpoint, asked) = pd(&[
        ("POST /pd/api/v1/schedulers", 200, "\"created\""),
        (
            "GET /pd/api/v1/scheduler-config/evict-leader-scheduler/list",
            200,
            r#"{"store-id-ranges":{"1":[{"start-key":"","end-key":""}],"7":[]},"batch":3}"#,
        ),
        (
            "DELETE /pd/api/v1/schedulers/evict-leader-scheduler-1",
            200,
            "",
        ),
        (
            "DELETE /pd/api/v1/schedulers/evict-leader-scheduler-9",
            500,
            "no such host",
        ),
    ])
    .await;
    let client = client(vec![endpoint]);
    client.add_evict_leader(1).await.unwrap();
    assert_eq!(
        client.evicted_stores().await.unwrap(),
        BTreeSet::from([1, 7])
    );
    client.remove_evict_leader(1).await.unwrap();
    client.remove_evict_leader(2).await.unwrap();
    let refused = client.remove_evict_leader(9).await;
    assert!(matches!(refused, Err(PdError::Refused { status: 500, .. })));
    assert_eq!(
        asked.lock().unwrap()[0],
        r#"POST /pd/api/v1/schedulers {"name":"evict-leader-scheduler","store_id":1}"#
    );
}

#[tokio::test]
async fn no_scheduler_means_nobody_evicted() {
    let (endpoint, _) = pd(&[]).await;
    assert!(
        client(vec![endpoint])
            .evicted_stores()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn down_time_is_read_and_set() {
    let (endpoint, asked) = pd(&[
        (
            "GET /pd/api/v1/config/schedule",
            200,
            r#"{"max-store-down-time":"30m0s","leader-schedule-limit":4}"#,
        ),
        ("POST /pd/api/v1/config/schedule", 200, "\"updated\""),
    ])
    .await;
    let client = client(vec![endpoint]);
    let before = client.max_store_down_time().await.unwrap();
    assert_eq!(before.as_deref(), Some("30m0s"));
    client.set_max_store_down_time("4h").await.unwrap();
    assert_eq!(
        asked.lock().unwrap()[1],
        r#"POST /pd/api/v1/config/schedule {"max-store-down-time":"4h"}"#
    );
}

#[tokio::test]
async fn maintenance_lock_is_ours_foreign_or_absent() {
    const LIST: &str =
        r#"[{"type":"tikv","id":"ours","start_timestamp":1,"description":"roll of ns/demo"}]"#;
    let (free, _) = pd(&[("PUT /pd/api/v2/maintenance/tikv/ours", 200, "")]).await;
    let (taken, _) = pd(&[
        ("PUT /pd/api/v2/maintenance/tikv/ours", 409, ""),
        ("PUT /pd/api/v2/maintenance/tikv/mine", 409, ""),
        ("GET /pd/api/v2/maintenance", 200, LIST),
        ("DELETE /pd/api/v2/maintenance/tikv/mine", 409, ""),
    ])
    .await;
    let (old, _) = pd(&[]).await;
    let ask = |endpoint: &Endpoint, id: &'static str| {
        let client = client(vec![endpoint.clone()]);
        async move { client.take_maintenance(id, "test").await.unwrap() }
    };
    assert_eq!(ask(&free, "ours").await, Maintenance::Held);
    assert_eq!(ask(&taken, "ours").await, Maintenance::Held);
    assert!(matches!(ask(&taken, "mine").await, Maintenance::Busy(who) if who.contains("ours")));
    assert_eq!(ask(&old, "ours").await, Maintenance::Unsupported);
    client(vec![taken])
        .release_maintenance("mine")
        .await
        .unwrap();
    client(vec![old]).release_maintenance("mine").await.unwrap();
}

#[tokio::test]
async fn members_health_regions_and_peer_urls() {
    let (endpoint, asked) = pd(&[
        (
            "GET /pd/api/v1/members",
            200,
            r#"{"header":{"cluster_id":7},"members":[{"name":"pd-0","member_id":13251125834425193391,
               "peer_urls":["http://pd-0:2380"],"client_urls":["http://pd-0:2379"]}],
               "leader":{"name":"pd-0","member_id":13251125834425193391},"etcd_leader":{"name":"pd-0"}}"#,
        ),
        (
            "GET /pd/api/v1/health",
            200,
            r#"[{"name":"pd-0","member_id":13251125834425193391,"client_urls":[],"health":true}]"#,
        ),
        ("GET /pd/api/v1/regions/check/down-peer", 200, r#"{"count":2,"regions":[{"id":1},{"id":2}]}"#),
        (
            "POST /v3/cluster/member/list",
            200,
            r#"{"members":[{"ID":"13251125834425193391","name":"pd-0","peerURLs":["http://pd-0:2380"]}]}"#,
        ),
        ("POST /v3/cluster/member/update", 200, "{}"),
        ("POST /pd/api/v1/leader/transfer/pd-1", 200, ""),
    ])
    .await;
    let client = client(vec![endpoint]);
    let members = client.members().await.unwrap();
    assert_eq!(members.leader.as_deref(), Some("pd-0"));
    assert_eq!(members.all[0].member_id, 13_251_125_834_425_193_391);
    assert!(client.health().await.unwrap()[0].health);
    assert_eq!(client.regions(RegionCheck::DownPeer).await.unwrap(), 2);
    let member = client.etcd_members().await.unwrap().remove(0);
    let urls = ["https://pd-0:2380".to_owned()];
    client.set_peer_urls(&member.id, &urls).await.unwrap();
    client.transfer_leader("pd-1").await.unwrap();
    assert!(asked.lock().unwrap().iter().any(|call| call
        == r#"POST /v3/cluster/member/update {"ID":"13251125834425193391","peerURLs":["https://pd-0:2380"]}"#));
}
