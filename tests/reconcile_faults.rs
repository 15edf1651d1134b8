//! Every write of the operator goes wrong in each way once: the end is the same.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use reconcile::calls::Fault;
use reconcile::world::World;
use serde_json::json;

async fn cluster() -> World {
    let world = World::new(1).await;
    let key = Secret {
        metadata: ObjectMeta {
            name: Some("master-key".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(
            [(
                "key".to_owned(),
                ByteString(format!("{}\n", "5a".repeat(32)).into_bytes()),
            )]
            .into(),
        ),
        ..Secret::default()
    };
    world
        .api()
        .create(&PostParams::default(), &key)
        .await
        .unwrap();
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}},
            "encryption": {
                "method": "aes256-ctr",
                "masterKey": {"file": {"secret": {"name": "master-key", "key": "key"}}},
            },
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    world
}

/// Starts operator after operator; `faults` says what happens to the calls of each, the last one being the end of it.
async fn lives(world: &World, faults: impl Fn(usize) -> Vec<(usize, Fault)>) {
    let mut lives = 0;
    loop {
        for (k, fault) in faults(lives) {
            world.calls.fail(k, fault);
        }
        let operator = world.operator();
        let ready = world.until_condition("Ready", "True");
        tokio::select! {
            () = world.calls.cut() => {}
            () = ready => break,
        }
        drop(operator);
        lives += 1;
        assert!(lives < 300, "it writes for ever: {:#?}", world.calls);
    }
    assert!(lives > 10, "{lives} lives");
    let pd = world.pd.lock().unwrap();
    assert!(pd.evicting.is_empty(), "left behind: {:?}", pd.evicting);
    assert_eq!(pd.maintenance, None);
    assert_eq!(pd.down_time, "30m0s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_before_every_second_write_gets_there() {
    let world = cluster().await;
    lives(&world, |_| vec![(2, Fault::CutBefore)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_refused_or_time_out_are_done_in_the_end() {
    let world = cluster().await;
    let kinds = [
        Fault::Refused(409),
        Fault::TimedOut,
        Fault::Refused(500),
        Fault::Refused(429),
    ];
    // The first write of each life goes wrong; what is tried next goes well and is the last one.
    lives(&world, |life| {
        vec![(1, kinds[life % kinds.len()]), (2, Fault::CutAfter)]
    })
    .await;
}
