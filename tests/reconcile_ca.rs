//! Rotation of the CA on a real API server, with ports that are really shaken hands with; PD trusts what it read at its start.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use reconcile::calls::Fault;
use reconcile::world::World;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{CaPhase, RotationKind, TikvSecurity};
use tikv_security::tls::parse::CertificateInfo;

const LEAVES: [&str; 4] = ["tikv", "pd", "agent", "client"];

async fn ca(world: &World) -> CertificateInfo {
    world.certificates("demo-ca", "tls.crt").await.remove(0)
}

async fn change(world: &World, spec: Value) {
    let resources: Api<TikvSecurity> = world.api();
    let patch = Patch::Merge(json!({"spec": spec}));
    let params = PatchParams {
        field_manager: Some("kim".to_owned()),
        ..PatchParams::default()
    };
    resources.patch("demo", &params, &patch).await.unwrap();
}

async fn secured() -> World {
    let world = World::new(1).await;
    let operator = world.operator();
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}, "ca": {"overlap": "0s"}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    world.until_condition("Ready", "True").await;
    world.quiet().await;
    drop(operator);
    world
}

/// Nothing is under way, and what was said of it is over.
async fn over(world: &World) {
    world
        .until("the rotation of the CA is over", async || {
            let secrets = world.api::<Secret>();
            let next = secrets.get_opt("demo-ca-next").await.unwrap();
            let data = next.and_then(|next| next.data).unwrap_or_default();
            let empty = data.values().all(|bytes| bytes.0.is_empty());
            let status = world.resource().await.status.unwrap();
            let open = status.rotations.iter().any(|one| one.finished_at.is_none());
            empty && status.certificate_authority.is_none() && !open
        })
        .await;
    world.until_condition("Ready", "True").await;
}

/// Every leaf is of this CA, and comes with it alone.
async fn only(world: &World, ca: &CertificateInfo) {
    for part in LEAVES {
        let name = format!("demo-{part}-tls");
        let leaf = world.certificates(&name, "tls.crt").await.remove(0);
        let trusts = world.certificates(&name, "ca.crt").await;
        assert_eq!(leaf.issuer, ca.subject, "{name}");
        assert_eq!(trusts.len(), 1, "{name}");
        assert_eq!(trusts[0].serial, ca.serial, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_every_single_write_comes_to_the_next_ca() {
    let world = secured().await;
    let (old, pods) = (ca(&world).await, world.pod_uids().await);
    change(&world, json!({"rotate": {"ca": "2027"}})).await;
    let mut lives = 0;
    loop {
        // Some lives are long enough to write nothing but what is needed.
        world.calls.fail(1, Fault::CutAfter);
        let operator = world.operator();
        let done = async {
            world
                .until("the CA is another one", async || {
                    ca(&world).await.serial != old.serial
                })
                .await;
            over(&world).await;
        };
        tokio::select! {
            () = world.calls.cut() => {}
            () = done => break,
        }
        drop(operator);
        lives += 1;
        assert!(lives < 300, "it writes for ever: {:#?}", world.calls);
    }
    assert!(lives > 15, "{lives} lives");
    let new = ca(&world).await;
    only(&world, &new).await;
    let now = world.pod_uids().await;
    assert!(now.iter().all(|pod| !pods.contains(pod)), "{now:?}");
    let status = world.resource().await.status.unwrap();
    let record = status.rotations.last().unwrap();
    assert_eq!(record.kind, RotationKind::CertificateAuthority);
    assert_eq!(
        (record.by.as_deref(), record.request.as_deref()),
        (Some("kim"), Some("2027"))
    );
    assert_eq!(
        (record.from.as_ref(), record.to.as_ref()),
        (Some(&old.serial), Some(&new.serial))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_is_taken_back_leaves_the_ca_as_it_was() {
    let world = secured().await;
    let old = ca(&world).await;
    let _operator = world.operator();
    // So that there is time to take it back.
    change(
        &world,
        json!({"tls": {"ca": {"overlap": "24h"}}, "rotate": {"ca": "2027"}}),
    )
    .await;
    world
        .until("both are known everywhere", async || {
            let status = world.resource().await.status.unwrap();
            let told = status.certificate_authority;
            told.is_some_and(|told| {
                told.phase == CaPhase::Bundle && told.waits_for.contains("clients")
            })
        })
        .await;
    world.until_reason("CertificatesReady", "CaOverlap").await;
    assert_eq!(
        world.certificates("demo-client-tls", "ca.crt").await.len(),
        2
    );
    change(&world, json!({"rotate": {"ca": null}})).await;
    over(&world).await;
    assert_eq!(ca(&world).await.serial, old.serial);
    only(&world, &old).await;
    let status = world.resource().await.status.unwrap();
    assert!(status.rotations.last().unwrap().abandoned_at.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_waits_for_nobody() {
    let world = secured().await;
    let old = ca(&world).await;
    change(&world, json!({"tls": {"ca": {"overlap": "24h"}}})).await;
    change(&world, json!({"rotate": {"caEmergency": "leak-1"}})).await;
    let _operator = world.operator();
    world
        .until("the CA is another one", async || {
            ca(&world).await.serial != old.serial
        })
        .await;
    over(&world).await;
    only(&world, &ca(&world).await).await;
}
