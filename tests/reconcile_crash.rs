//! The operator dies after each of its writes and is started anew: the end is the same.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use reconcile::calls::Fault;
use reconcile::lives::lives;
use reconcile::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_every_single_write_gets_there() {
    let world = World::new(1).await;
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    // One write in each life: every write is the last of some operator.
    lives(&world, |_| vec![(1, Fault::CutAfter)]).await;
}
