//! The operator's loop against a real API server and a played cluster.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use reconcile::world::World;
use serde_json::{Value, json};

fn tls() -> Value {
    json!({
        "environment": "development",
        "tls": {"issuer": {"selfSigned": {}}},
        "rollout": {"allowDowntime": true, "settle": "0s"},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plaintext_cluster_gets_tls_and_then_nothing_is_written() {
    let world = World::new(1).await;
    let operator = world.operator();
    world.secure(tls()).await;
    world.until_condition("Ready", "True").await;
    assert!(world.pd.lock().unwrap().evicting.is_empty());
    let urls = world.pd.lock().unwrap().peer_urls.clone();
    assert!(
        urls.values().all(|url| url.starts_with("https://")),
        "{urls:?}"
    );

    // What was begun while it became ready may still be reported.
    world.quiet().await;
    let before = world.calls.count();
    let secrets = world.api::<Secret>();
    for round in 0..20 {
        // Somebody's annotation on a Secret of ours: a reconcile each.
        let poke = json!({"metadata": {"annotations": {"example.com/poke": round.to_string()}}});
        let (params, poke) = (PatchParams::default(), Patch::Merge(poke));
        secrets.patch("demo-ca", &params, &poke).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(world.calls.count(), before, "{:#?}", world.calls);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permission_for_downtime_no_pod_is_touched() {
    let world = World::new(1).await;
    let pods = world.pod_uids().await;
    let _operator = world.operator();
    let mut spec = tls();
    spec["rollout"] = json!({"settle": "0s"});
    world.secure(spec).await;
    world.until_condition("Blocked", "True").await;
    let (_, reason) = world.condition("Blocked").await.unwrap();
    assert_eq!(reason, "DowntimeNotAllowed");
    assert_eq!(world.pod_uids().await, pods);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn toml_that_does_not_parse_blocks_and_nothing_is_touched() {
    let world = World::new(1).await;
    let broken = json!({"data": {"tikv.toml": "[server\naddr = "}});
    let (params, broken) = (PatchParams::default(), Patch::Merge(broken));
    let maps = world.api::<ConfigMap>();
    maps.patch("demo-tikv", &params, &broken).await.unwrap();
    let sets = world.api::<StatefulSet>();
    let before = sets.get("demo-tikv").await.unwrap().spec;
    let pods = world.pod_uids().await;
    let _operator = world.operator();
    world.secure(tls()).await;
    world.until_condition("Blocked", "True").await;
    assert_eq!(world.pod_uids().await, pods);
    assert_eq!(sets.get("demo-tikv").await.unwrap().spec, before);
    let secrets = world.api::<Secret>().list(&ListParams::default()).await;
    assert!(secrets.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_of_our_name_is_refused_and_kept() {
    let world = World::new(1).await;
    let foreign = Secret {
        metadata: ObjectMeta {
            name: Some("demo-tikv-tls".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            "tls.key".to_owned(),
            ByteString(b"somebody else's".to_vec()),
        )])),
        ..Secret::default()
    };
    let secrets = world.api::<Secret>();
    let made = secrets
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    let _operator = world.operator();
    world.secure(tls()).await;
    world.until_condition("Blocked", "True").await;
    let now = secrets.get("demo-tikv-tls").await.unwrap();
    assert_eq!(now.data, made.data);
    assert_eq!(
        now.metadata.resource_version,
        made.metadata.resource_version
    );
}
