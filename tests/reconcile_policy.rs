//! Policies on a real API server: admission refuses what violates one, and what was there before is blocked.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use reconcile::world::World;
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{TikvSecurity, TikvSecurityPolicy};

/// What `kubectl apply -f manifests/install.yaml` brings of this kind.
async fn install<K>(world: &World)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let text = std::fs::read_to_string("manifests/install.yaml").unwrap();
    let mut count = 0;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).unwrap();
        if value["kind"] != K::kind(&()).as_ref() {
            continue;
        }
        count += 1;
        let name = value["metadata"]["name"].as_str().unwrap();
        Api::<K>::all(world.client.clone())
            .patch(
                name,
                &PatchParams::apply("test").force(),
                &Patch::Apply(&value),
            )
            .await
            .unwrap();
    }
    assert_eq!(count, 1);
}

/// A policy for the namespace of this world.
async fn policy(world: &World, mut spec: Value) -> TikvSecurityPolicy {
    spec["namespaceLabels"] = json!({"kubernetes.io/metadata.name": world.namespace});
    let object = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurityPolicy",
        "metadata": {"name": format!("of-{}", world.namespace)}, "spec": spec,
    });
    let object: TikvSecurityPolicy = serde_json::from_value(object).unwrap();
    Api::all(world.client.clone())
        .create(&PostParams::default(), &object)
        .await
        .unwrap()
}

fn asked(spec: &Value) -> TikvSecurity {
    let mut spec = spec.clone();
    spec["cluster"] = json!({
        "tikv": {"statefulSet": {"name": "demo-tikv"}}, "pd": {"statefulSet": {"name": "demo-pd"}},
    });
    let object = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity",
        "metadata": {"name": "demo"}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// A change of what is there.
async fn change(world: &World, patch: Value) -> kube::Result<TikvSecurity> {
    world
        .api()
        .patch("demo", &PatchParams::default(), &Patch::Merge(patch))
        .await
}

/// What admission says to this; nothing is stored.
async fn said(world: &World, spec: &Value) -> Result<(), String> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let answer = world
        .api::<TikvSecurity>()
        .create(&params, &asked(spec))
        .await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// Where, what there, and a part of what is said of it.
fn violations() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/environment",
            json!("development"),
            "allowed: production, staging",
        ),
        ("/tls", Value::Null, "spec.tls is required"),
        ("/tls/duration", json!("900h"), "allowed: at most 800h"),
        (
            "/tls/export",
            json!([{"awsSecretsManager": {"name": "x", "region": "eu-central-1"}}]),
            "a target of spec.tls.export is not allowed; allowed: vault",
        ),
        ("/encryption", Value::Null, "spec.encryption is required"),
        (
            "/encryption/method",
            json!("aes128-ctr"),
            "allowed: aes256-ctr, aes192-ctr",
        ),
        (
            "/encryption/masterKey",
            json!({"azureKeyVault": {
                "keyName": "k", "keyvaultUrl": "https://v.vault.azure.net", "hsmName": "h", "tenantId": "t",
                "clientId": "c", "clientCertificateSecret": {"name": "s", "key": "k"},
            }}),
            "allowed: awsKms, gcpKms",
        ),
        (
            "/encryption/dataKeyRotationPeriod",
            json!("169h"),
            "allowed: at most 168h",
        ),
        (
            "/encryption/reencryption",
            Value::Null,
            "must be one of Always",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_refuses_what_violates_a_policy_and_says_what_is_allowed() {
    let world = World::new(1).await;
    install::<ValidatingAdmissionPolicy>(&world).await;
    install::<ValidatingAdmissionPolicyBinding>(&world).await;
    let stranger = World::new(1).await;
    let good = json!({
        "environment": "production",
        "tls": {"issuer": {"selfSigned": {}}},
        "encryption": {
            "method": "aes256-ctr",
            "masterKey": {"awsKms": {"keyId": "k", "region": "r"}},
            "reencryption": {"policy": "Always"},
        },
    });
    // There before the policy, and against it.
    let mut old = good.clone();
    old["encryption"]["method"] = json!("sm4-ctr");
    let api = world.api::<TikvSecurity>();
    api.create(&PostParams::default(), &asked(&old))
        .await
        .unwrap();
    let made = policy(
        &world,
        json!({
            "environments": ["production", "staging"],
            "tls": {"required": true, "maxDuration": "800h", "exportTargets": ["vault"]},
            "encryption": {
                "required": true, "methods": ["aes256-ctr", "aes192-ctr"], "masterKeys": ["awsKms", "gcpKms"],
                "maxDataKeyRotationPeriod": "168h", "reencryptionPolicies": ["Always"],
            },
        }),
    )
    .await;

    // Admission learns of new policies in its own time.
    world
        .until("the policy holds", async || {
            change(
                &world,
                json!({"spec": {"encryption": {"dataKeyRotationPeriod": "100h"}}}),
            )
            .await
            .is_err()
        })
        .await;
    let annotation = json!({"metadata": {"annotations": {"example.com/a": "b"}}});
    change(&world, annotation).await.unwrap();
    let better = json!({"spec": {"encryption": {"method": "aes256-ctr"}}});
    change(&world, better).await.unwrap();
    api.delete("demo", &DeleteParams::default()).await.unwrap();
    assert_eq!(said(&world, &good).await, Ok(()));
    for (path, value, word) in violations() {
        let mut bad = good.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = bad.pointer_mut(parent).unwrap();
        if value.is_null() {
            parent.as_object_mut().unwrap().remove(field);
        } else {
            parent[field] = value;
        }
        let error = said(&world, &bad).await.unwrap_err();
        assert!(error.contains(word), "{path}: {error}");
        assert!(error.contains(&made.name_any()), "{path}: {error}");
        if path != "/environment" {
            assert_eq!(
                said(&stranger, &bad).await,
                Ok(()),
                "{path}: another namespace"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_a_policy_is_blocked_until_it_satisfies_it() {
    let world = World::new(1).await;
    world.secure_all().await;
    let forbids = json!({"encryption": {"masterKeys": ["awsKms"], "methods": ["aes128-ctr"]}});
    let made = policy(&world, forbids).await;
    let pods = world.pod_uids().await;
    let _operator = world.operator();
    let message = world.until_reason("Blocked", "PolicyViolated").await;
    for word in [
        &*made.name_any(),
        "encryption.method is aes256-ctr, allowed: aes128-ctr",
        "and 1 more",
    ] {
        assert!(message.contains(word), "{message}");
    }
    world.quiet().await;
    let secrets = world.api::<Secret>();
    let names = secrets.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = names.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["master-key"], "nothing was issued");
    assert_eq!(world.pod_uids().await, pods, "nothing was restarted");

    let api = Api::<TikvSecurityPolicy>::all(world.client.clone());
    api.delete(&made.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    world.until_condition("Ready", "True").await;
}
