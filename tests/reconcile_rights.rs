//! A whole life on three stores, as the operator of the chart: everything works with its rights, and each is used.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use reconcile::apiserver::{ApiServer, OPERATOR};
use reconcile::world::World;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{
    TikvClientCertificate, TikvSecurity, TikvSecurityPolicy, TikvVolume,
};
use tikv_security::operator::lease::LeaseConfig;
use tikv_security::operator::run::Options;

/// `group/resource verb`.
type Rights = BTreeSet<String>;

/// Where the chart puts the Lease.
const HOME: &str = "tikv-security";

fn installed<K: serde::de::DeserializeOwned>(kind: &str) -> Vec<K> {
    let text = std::fs::read_to_string("manifests/install.yaml").unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| object["kind"] == kind)
        .map(|object| serde_json::from_value(object).unwrap())
        .collect()
}

fn rights(rules: &[PolicyRule]) -> Rights {
    let mut all = Rights::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                all.extend(
                    rule.verbs
                        .iter()
                        .map(|verb| format!("{group}/{resource} {verb}")),
                );
            }
        }
    }
    all
}

/// Gives the operator the rights of `manifests/install.yaml`; which those are.
async fn install(world: &World) -> Rights {
    let (client, params) = (world.client.clone(), PostParams::default());
    let home = Namespace {
        metadata: ObjectMeta {
            name: Some(HOME.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&params, &home)
        .await
        .unwrap();
    let subjects = Some(vec![Subject {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "User".to_owned(),
        name: OPERATOR.to_owned(),
        namespace: None,
    }]);
    let bound = |kind: &str, name: String| RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name,
    };
    let mut all = Rights::new();
    for role in installed::<ClusterRole>("ClusterRole") {
        all.extend(rights(role.rules.as_deref().unwrap_or_default()));
        Api::all(client.clone())
            .create(&params, &role)
            .await
            .unwrap();
        let binding = ClusterRoleBinding {
            metadata: ObjectMeta {
                name: role.metadata.name.clone(),
                ..ObjectMeta::default()
            },
            role_ref: bound("ClusterRole", role.name_any()),
            subjects: subjects.clone(),
        };
        Api::all(client.clone())
            .create(&params, &binding)
            .await
            .unwrap();
    }
    for role in installed::<Role>("Role") {
        all.extend(rights(role.rules.as_deref().unwrap_or_default()));
        Api::namespaced(client.clone(), HOME)
            .create(&params, &role)
            .await
            .unwrap();
        let binding = RoleBinding {
            metadata: ObjectMeta {
                name: role.metadata.name.clone(),
                ..ObjectMeta::default()
            },
            role_ref: bound("Role", role.name_any()),
            subjects: subjects.clone(),
        };
        Api::namespaced(client.clone(), HOME)
            .create(&params, &binding)
            .await
            .unwrap();
    }
    all
}

/// What the API server saw, and what it forbade.
fn seen() -> (Rights, Vec<String>) {
    let (mut calls, mut forbidden) = (Rights::new(), Vec::new());
    for line in ApiServer::shared().audit().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let object = &event["objectRef"];
        let word = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let sub = word("subresource");
        let sub = if sub.is_empty() {
            sub
        } else {
            format!("/{sub}")
        };
        let verb = event["verb"].as_str().unwrap();
        let call = format!("{}/{}{sub} {verb}", word("apiGroup"), word("resource"));
        if event["responseStatus"]["code"] == 403 {
            forbidden.push(call.clone());
        }
        calls.insert(call);
    }
    (calls, forbidden)
}

async fn change(world: &World, spec: Value) {
    let patch = Patch::Merge(json!({"spec": spec}));
    let resources = world.api::<TikvSecurity>();
    resources
        .patch("demo", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Ready for the present generation of the spec.
async fn until_ready(world: &World) {
    world
        .until("Ready for this generation", async || {
            let resource = world.resource().await;
            let status = resource.status.unwrap_or_default();
            status.conditions.iter().any(|one| {
                one.type_ == "Ready"
                    && one.status == "True"
                    && one.observed_generation == resource.metadata.generation
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one life, told in order")]
async fn a_whole_life_uses_each_right_of_the_chart_and_needs_no_other() {
    let world = World::new(3).await;
    let granted = install(&world).await;
    let options = Options {
        namespaces: Vec::new(),
        lease: Some(LeaseConfig {
            namespace: HOME.to_owned(),
            name: "tikv-security-operator".to_owned(),
            identity: "one".to_owned(),
            duration: Duration::from_secs(3),
        }),
        ..world.options()
    };
    let demands = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurityPolicy",
        "metadata": {"name": "satisfied"}, "spec": {"tls": {"required": true}},
    });
    let demands: TikvSecurityPolicy = serde_json::from_value(demands).unwrap();
    Api::all(world.client.clone())
        .create(&PostParams::default(), &demands)
        .await
        .unwrap();
    let operator = world.operator_as(ApiServer::shared().operator_config(), options);
    world.secure_all().await;
    until_ready(&world).await;
    assert_eq!(
        world.pd.lock().unwrap().evicted,
        [3, 2, 1],
        "one store at a time, each once"
    );
    let volumes = world
        .api::<TikvVolume>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let shares = volumes
        .iter()
        .map(|volume| volume.status.as_ref().unwrap().encrypted.clone());
    assert_eq!(shares.collect::<Vec<_>>(), vec![Some("100%".to_owned()); 3]);

    // A client, and the CA's certificates for a namespace that has them no longer afterwards.
    clients(&world).await;

    // Another method: each store once more, and nothing of TLS again.
    change(&world, json!({"encryption": {"method": "aes128-ctr"}})).await;
    until_ready(&world).await;
    assert_eq!(world.pd.lock().unwrap().evicted, [3, 2, 1, 3, 2, 1]);

    // Renewal: every port serves the new leaf, and no pod restarts for it.
    let (pods, before) = (world.pod_uids().await, serials(&world).await);
    change(&world, json!({"rotate": {"certificates": "now"}})).await;
    until_ready(&world).await;
    assert_eq!(world.pod_uids().await, pods);
    let after = serials(&world).await;
    assert!(
        after[1..]
            .iter()
            .zip(&before[1..])
            .all(|(new, old)| new != old),
        "{after:?}"
    );
    assert_eq!(after[0], before[0], "the CA stays");

    // A store that went takes its volume object with it.
    let fewer = Patch::Merge(json!({"spec": {"replicas": 2}}));
    let sets = world.api::<StatefulSet>();
    sets.patch("demo-tikv", &PatchParams::default(), &fewer)
        .await
        .unwrap();
    world
        .api::<Pod>()
        .delete("demo-tikv-2", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("the volume object of the third store is gone", async || {
            world
                .api::<TikvVolume>()
                .get_opt("demo-tikv-2")
                .await
                .unwrap()
                .is_none()
        })
        .await;
    until_ready(&world).await;

    // When all is done nothing is written, however often it is looked at.
    world.quiet().await;
    let written = world.calls.count();
    for round in 0..10 {
        let poke = Patch::Merge(
            json!({"metadata": {"annotations": {"example.com/poke": round.to_string()}}}),
        );
        world
            .api::<Secret>()
            .patch("demo-ca", &PatchParams::default(), &poke)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(world.calls.count(), written, "{:#?}", world.calls);

    // Deletion: the cluster keeps what its pods mount, and PD is as it was.
    let (resources, pods) = (world.api::<TikvSecurity>(), world.pod_uids().await);
    resources
        .delete("demo", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("the resource is gone", async || {
            resources.get_opt("demo").await.unwrap().is_none()
        })
        .await;
    for name in [
        "demo-ca",
        "demo-tikv-tls",
        "demo-pd-tls",
        "demo-agent-tls",
        "demo-client-tls",
    ] {
        let kept = world.api::<Secret>().get(name).await.unwrap();
        assert!(
            kept.owner_references().is_empty(),
            "{name} would be deleted with its owner"
        );
    }
    assert_eq!(world.pod_uids().await, pods);
    {
        let pd = world.pd.lock().unwrap();
        assert!(pd.evicting.is_empty() && pd.maintenance.is_none());
        assert_eq!(pd.down_time, "30m0s");
    }
    drop(operator);
    let lease = Api::<Lease>::namespaced(world.client.clone(), HOME);
    assert!(
        lease
            .get_opt("tikv-security-operator")
            .await
            .unwrap()
            .is_some()
    );

    let (called, forbidden) = seen();
    assert!(
        forbidden.is_empty(),
        "forbidden by the chart's rules: {forbidden:?}"
    );
    let more: Vec<_> = called.difference(&granted).collect();
    assert!(
        more.is_empty(),
        "called without being in the chart's rules: {more:?}"
    );
    // No call, but asked by admission whenever an owner reference is written that blocks the owner's deletion.
    // And what only a key in Vault needs, which this life does not have; the e2e case `vault` does.
    let silent = [
        "security.tikv.org/tikvsecurities/finalizers update",
        "/serviceaccounts/token create",
    ];
    let unused: Vec<_> = granted
        .difference(&called)
        .filter(|right| !silent.contains(&right.as_str()))
        .collect();
    assert!(
        unused.is_empty(),
        "in the chart's rules and never called: {unused:?}"
    );
}

/// A client certificate in this namespace, and CA certificates in the operator's for a while.
async fn clients(world: &World) {
    let asked = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
        "metadata": {"name": "orders"}, "spec": {"securityRef": {"name": "demo"}},
    });
    let asked: TikvClientCertificate = serde_json::from_value(asked).unwrap();
    let certificates = world.api::<TikvClientCertificate>();
    certificates
        .create(&PostParams::default(), &asked)
        .await
        .unwrap();
    let ready = async || {
        let status = certificates.get("orders").await.unwrap().status;
        let conditions = status.unwrap_or_default().conditions;
        conditions.iter().any(|one| one.status == "True")
    };
    world.until("the client is ready", ready).await;
    // Another form of it is a change of the Secret that is there.
    let stores = Patch::Merge(json!({"spec": {"pkcs12": {}}}));
    let params = PatchParams::default();
    certificates
        .patch("orders", &params, &stores)
        .await
        .unwrap();
    let secrets = world.api::<Secret>();
    world
        .until("the stores are there", async || {
            let data = secrets.get("orders").await.unwrap().data;
            data.unwrap_or_default().contains_key("keystore.p12")
        })
        .await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), HOME);
    for (chosen, there) in [(json!([HOME]), true), (Value::Null, false)] {
        change(world, json!({"tls": {"trust": {"namespaces": chosen}}})).await;
        world
            .until("the CA's certificates follow the choice", async || {
                maps.get_opt("demo-ca-bundle").await.unwrap().is_some() == there
            })
            .await;
    }
}

async fn serials(world: &World) -> Vec<String> {
    let status = world.resource().await.status.unwrap();
    status
        .certificates
        .into_iter()
        .map(|one| one.serial)
        .collect()
}
