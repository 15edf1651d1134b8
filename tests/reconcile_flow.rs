//! The operator's loop against a real API server and a played cluster.

mod reconcile;

use reconcile::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_cluster_is_not_written_to() {
    let world = World::new(1).await;
    let operator = world.operator();
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    world.until_condition("Ready", "True").await;
    drop(operator);
}
