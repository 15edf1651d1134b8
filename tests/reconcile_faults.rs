//! Every write of the operator goes wrong in each way once: the end is the same.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use reconcile::calls::Fault;
use reconcile::lives::lives;
use reconcile::world::World;

async fn cluster() -> World {
    let world = World::new(1).await;
    world.secure_all().await;
    world
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
