//! Rotation of master keys on a real API server, with its defaults and its validation.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use reconcile::world::World;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{RotationKind, RotationRecord, TikvSecurity};

async fn secret(world: &World, name: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"key": format!("{}\n", "a5".repeat(32))},
    });
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let made = world.api().create(&PostParams::default(), &secret).await;
    made.unwrap();
}

async fn asks(world: &World, encryption: Value) {
    let patch = Patch::Merge(json!({"spec": {"encryption": encryption}}));
    let params = PatchParams {
        field_manager: Some("a-person".to_owned()),
        ..PatchParams::default()
    };
    let resources = world.api::<TikvSecurity>();
    resources.patch("demo", &params, &patch).await.unwrap();
}

async fn template(world: &World) -> String {
    let set: StatefulSet = world.api().get("demo-tikv").await.unwrap();
    serde_json::to_string(&set.spec.unwrap().template).unwrap()
}

/// TiKV's file as the template mounts it.
async fn toml(world: &World) -> String {
    let set: StatefulSet = world.api().get("demo-tikv").await.unwrap();
    let volumes = set.spec.unwrap().template.spec.unwrap().volumes.unwrap();
    let mut text = String::new();
    for source in volumes
        .iter()
        .filter_map(|volume| volume.config_map.as_ref())
    {
        let map: ConfigMap = world.api().get(&source.name).await.unwrap();
        let data = map.data.unwrap_or_default();
        text.extend(
            data.into_iter()
                .filter(|(key, _)| key.ends_with(".toml"))
                .map(|one| one.1),
        );
    }
    text
}

async fn ended(world: &World) -> Vec<RotationRecord> {
    let status = world.resource().await.status.unwrap_or_default();
    let all = status.rotations.into_iter();
    all.filter(|one| one.kind == RotationKind::MasterKey && one.finished_at.is_some())
        .collect()
}

async fn stores(world: &World) -> Vec<(String, String)> {
    let mut pods = world.pod_uids().await;
    pods.retain(|(name, _)| name.starts_with("demo-tikv"));
    pods
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_store_restarts_once_and_the_end_of_the_old_key_restarts_nobody() {
    let world = World::new(2).await;
    let _operator = world.operator();
    world.secure_all().await;
    world.until_condition("Ready", "True").await;
    let before = stores(&world).await;
    secret(&world, "another-key").await;
    asks(
        &world,
        json!({"masterKey": {"file": {"secret": {"name": "another-key", "key": "key"}}}}),
    )
    .await;
    world
        .until("both keys are configured", async || {
            toml(&world).await.contains("previous-master-key") || !ended(&world).await.is_empty()
        })
        .await;
    world
        .until("the rotation has ended", async || {
            !ended(&world).await.is_empty()
        })
        .await;
    let restarted = stores(&world).await;
    assert!(
        restarted.iter().all(|pod| !before.contains(pod)),
        "{before:?} {restarted:?}"
    );

    world.until_condition("Ready", "True").await;
    world.quiet().await;
    // The API server has filled in its defaults, and still the pods are known for what they are.
    assert_eq!(
        stores(&world).await,
        restarted,
        "the end of the old key restarted a store"
    );
    let (toml, template) = (toml(&world).await, template(&world).await);
    assert!(
        toml.contains("master-key-2/key") && !toml.contains("previous-master-key"),
        "{toml}"
    );
    assert!(
        template.contains("another-key") && !template.contains("\"master-key\""),
        "{template}"
    );
    let record = ended(&world).await.remove(0);
    assert_eq!(record.by.as_deref(), Some("a-person"));
    assert_eq!(
        record.to.as_deref(),
        Some("file key key of Secret another-key")
    );
    assert!(
        world
            .resource()
            .await
            .status
            .unwrap()
            .master_key_rotation
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_there_changes_nothing_and_going_back_is_nothing() {
    let world = World::new(1).await;
    let _operator = world.operator();
    world.secure_all().await;
    world.until_condition("Ready", "True").await;
    world.quiet().await;
    let (pods, before) = (stores(&world).await, template(&world).await);
    asks(
        &world,
        json!({"masterKey": {"file": {"secret": {"name": "nowhere", "key": "key"}}}}),
    )
    .await;
    let message = world.until_reason("Blocked", "MasterKeyMalformed").await;
    assert!(message.contains("nowhere"), "{message}");
    let rotation = world.resource().await.status.unwrap().master_key_rotation;
    assert!(
        rotation
            .unwrap()
            .point_of_no_return
            .starts_with("not reached")
    );
    asks(
        &world,
        json!({"masterKey": {"file": {"secret": {"name": "master-key", "key": "key"}}}}),
    )
    .await;
    world.until_condition("Ready", "True").await;
    world.quiet().await;
    assert_eq!(
        (stores(&world).await, template(&world).await),
        (pods, before)
    );
    assert!(ended(&world).await.is_empty());
}
