//! The operator dies after each of its writes and is started anew: the end is the same.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

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
    let mut lives = 0;
    loop {
        // One write in each life: every write is the last of some operator.
        world.calls.cut_after(1);
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
    assert_eq!(pd.down_time, "30m0s");
}
