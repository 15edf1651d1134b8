//! The CA's certificates in other namespaces: given, kept, taken away, and never over what is somebody else's.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use reconcile::apiserver::ApiServer;
use reconcile::world::World;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::TikvSecurity;
use tikv_security::operator::run::Options;

const NAME: &str = "demo-ca-bundle";

fn maps(world: &World, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(world.client.clone(), namespace)
}

async fn bundle(world: &World, namespace: &str) -> Option<String> {
    let found = maps(world, namespace).get_opt(NAME).await.unwrap()?;
    found.data?.remove("ca.crt")
}

async fn choose(world: &World, namespaces: Value) {
    let patch = json!({"spec": {"tls": {"trust": {"namespaces": namespaces}}}});
    let resources = world.api::<TikvSecurity>();
    let params = PatchParams::default();
    resources
        .patch("demo", &params, &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_namespaces_have_it_and_others_have_not() {
    let world = World::new(1).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(reconcile::namespace(ApiServer::shared().config()).await.1);
    }
    let [one, two, theirs] = [&others[0], &others[1], &others[2]];
    let mine: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": NAME}, "data": {"ca.crt": "precious"},
    }))
    .unwrap();
    maps(&world, theirs)
        .create(&PostParams::default(), &mine)
        .await
        .unwrap();
    world
        .secure(json!({
            "environment": "development",
            "tls": {
                "issuer": {"selfSigned": {}},
                "trust": {"namespaces": [one, theirs, "is-not-there"]},
            },
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    let operator = || {
        let options = Options {
            client_namespaces: others
                .iter()
                .cloned()
                .chain(["is-not-there".to_owned()])
                .collect(),
            ..world.options()
        };
        world.operator_as(ApiServer::shared().config(), options)
    };
    let running = operator();
    world.until_condition("Ready", "True").await;
    world
        .until("the bundle is there", async || {
            bundle(&world, one).await.is_some()
        })
        .await;
    let secret: Secret = world.api().get("demo-client-tls").await.unwrap();
    let wanted = String::from_utf8(secret.data.unwrap()["ca.crt"].0.clone()).unwrap();
    assert_eq!(bundle(&world, one).await, Some(wanted.clone()));
    assert_eq!(bundle(&world, theirs).await.as_deref(), Some("precious"));
    let mut told = Vec::new();
    world
        .until("the status tells of each", async || {
            told = world.resource().await.status.unwrap().trust;
            told.iter().filter(|one| one.current).count() == 1
        })
        .await;
    let problem = |namespace: &str| {
        let found = told.iter().find(|one| one.namespace == namespace).unwrap();
        found.problem.clone().unwrap_or_default()
    };
    assert!(problem(theirs).contains("rename or delete it"), "{told:?}");
    assert!(
        problem("is-not-there").contains("no such namespace"),
        "{told:?}"
    );

    // Somebody changes it: it is brought back.
    let other = Patch::Merge(json!({"data": {"ca.crt": "nothing"}}));
    let params = PatchParams::default();
    maps(&world, one)
        .patch(NAME, &params, &other)
        .await
        .unwrap();
    world
        .until("it is as it was", async || {
            bundle(&world, one).await.as_ref() == Some(&wanted)
        })
        .await;

    // Another choice, also one that an operator wakes up to.
    choose(&world, json!([two])).await;
    world
        .until("it moved", async || {
            bundle(&world, one).await.is_none() && bundle(&world, two).await.is_some()
        })
        .await;
    drop(running);
    choose(&world, Value::Null).await;
    let _running = operator();
    world
        .until("nobody has it", async || {
            bundle(&world, two).await.is_none()
        })
        .await;
    assert_eq!(bundle(&world, theirs).await.as_deref(), Some("precious"));
    world.quiet().await;
}
