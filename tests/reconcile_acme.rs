//! The issuer `acme` on a real API server, with step-ca and a real name server: the CA fetches files from an operator that stands by, then
//! looks for TXT records; what it can not check is refused before anything is touched.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod acme;
#[allow(dead_code)]
mod corporate;
mod reconcile;

use std::time::Duration;

use acme::{StepCa, TSIG, free_port};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use reconcile::apiserver::ApiServer;
use reconcile::world::{Operator, World};
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::TikvSecurity;
use tikv_security::operator::lease::LeaseConfig;
use tikv_security::tls::parse::parse_all;

async fn change(world: &World, spec: Value) {
    let resources: Api<TikvSecurity> = world.api();
    let patch = Patch::Merge(json!({"spec": spec}));
    let params = PatchParams::default();
    resources.patch("demo", &params, &patch).await.unwrap();
}

/// Certificates under this root are everywhere, and nothing is under way.
async fn settled(world: &World, root: &str) {
    world
        .until(&format!("certificates of {root} alone"), async || {
            let leaf = world.api::<Secret>().get("demo-client-tls").await.unwrap();
            let trusts = parse_all(&leaf.data.unwrap()["ca.crt"].0).unwrap();
            let right = trusts.len() == 1 && trusts[0].subject.contains(root);
            let status = world.resource().await.status.unwrap_or_default();
            right && status.certificate_authority.is_none()
        })
        .await;
    world.until_condition("Ready", "True").await;
}

/// A replica that only stands by, and answers at this port.
async fn stand_by(world: &World, port: u16) -> Operator {
    let held = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "held"},
        "spec": {
            "holderIdentity": "somebody", "leaseDurationSeconds": 3600,
            "renewTime": format!("{:.6}", Timestamp::now()),
        },
    });
    let held: Lease = serde_json::from_value(held).unwrap();
    world
        .api()
        .create(&PostParams::default(), &held)
        .await
        .unwrap();
    let mut options = world.options();
    options.revocation = Some(([127, 0, 0, 1], port).into());
    options.lease = Some(LeaseConfig {
        namespace: options.namespaces[0].clone(),
        name: "held".to_owned(),
        identity: "stand-by".to_owned(),
        duration: Duration::from_secs(15),
    });
    world.operator_as(ApiServer::shared().config(), options)
}

/// Leaves have no more than the CA can check by files.
async fn all_checkable(world: &World) {
    for part in ["tikv", "pd", "agent", "client"] {
        let leaf = world
            .certificates(&format!("demo-{part}-tls"), "tls.crt")
            .await
            .remove(0);
        assert!(leaf.issuer.contains("Company Issuing"), "{leaf:?}");
        assert!(leaf.ips.is_empty(), "{leaf:?}");
        let checked = |name: &String| name.ends_with(".svc") || name.ends_with(".tikv-security");
        assert!(leaf.dns.iter().all(checked), "{:?}", leaf.dns);
        assert!(
            !leaf.dns.iter().any(|name| name.starts_with('*')),
            "{:?}",
            leaf.dns
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_speaks_acme_takes_over_by_files_and_goes_on_by_txt_records() {
    let Some(servers) = acme::World::start() else {
        return;
    };
    let http = free_port();
    let server = StepCa::start(&servers, http);
    let world = World::new(1).await;
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}, "ca": {"overlap": "0s"}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    let _leading = world.operator();
    world.until_condition("Ready", "True").await;
    let names = world
        .certificates("demo-tikv-tls", "tls.crt")
        .await
        .remove(0)
        .dns;
    assert!(names.contains("localhost"), "{names:?}");

    let _standing_by = stand_by(&world, http).await;

    let root = String::from_utf8(server.root.clone()).unwrap();
    world
        .write_secret("company-root", json!({"ca.crt": root}))
        .await;
    let by_files = json!({"acme": {
        "server": server.server("tikv"), "clientServer": server.server("clients"),
        "rootSecret": {"name": "company-root", "key": "ca.crt"},
        "solver": {"http01": {}},
    }, "selfSigned": null});
    change(&world, json!({"tls": {"issuer": by_files}})).await;
    settled(&world, "Company Root").await;
    all_checkable(&world).await;
    let files = world
        .api::<ConfigMap>()
        .get("demo-acme-files")
        .await
        .unwrap();
    assert_eq!(
        files.data.unwrap_or_default(),
        [].into(),
        "all were taken back"
    );

    // TXT records instead: the same CA is reached in another way, and wildcards are to be had.
    let pods = world.pod_uids().await;
    world
        .write_secret("tsig", json!({"key": STANDARD.encode(TSIG)}))
        .await;
    let by_records = json!({"dns01": {"rfc2136": {
        "server": format!("127.0.0.1:{}", servers.knot.port), "keyName": "ours",
        "keySecret": {"name": "tsig", "key": "key"},
    }}, "http01": null});
    let solver = json!({"tls": {"issuer": {"acme": {"solver": by_records}}}});
    change(&world, solver).await;
    world
        .until("wildcards are in the leaf", async || {
            let leaf = world
                .certificates("demo-tikv-tls", "tls.crt")
                .await
                .remove(0);
            leaf.dns.iter().any(|name| name.starts_with("*."))
        })
        .await;
    settled(&world, "Company Root").await;
    assert_eq!(world.pod_uids().await, pods, "nothing restarted for it");

    // What can not be checked is refused, and what is there stays.
    change(&world, json!({"tls": {"extraSans": ["tikv.example.com"]}})).await;
    world
        .until("the name is told", async || {
            world.message("Blocked").await.contains("tikv.example.com")
        })
        .await;
    change(
        &world,
        json!({"tls": {"extraSans": null, "issuer": {"acme": {"domains": ["tikv-security"]}}}}),
    )
    .await;
    world.until_reason("Blocked", "NameNotAskedFor").await;
    change(
        &world,
        json!({"tls": {"issuer": {"acme": {"domains": null}}}}),
    )
    .await;
    settled(&world, "Company Root").await;

    // The CA is gone, and a CA of our own takes its place without it.
    drop(server);
    change(
        &world,
        json!({"tls": {"issuer": {"selfSigned": {}, "acme": null}}}),
    )
    .await;
    settled(&world, "demo.").await;
    let names = world
        .certificates("demo-tikv-tls", "tls.crt")
        .await
        .remove(0)
        .dns;
    assert!(names.contains("localhost"), "{names:?}");
    let told = serde_json::to_string(&world.resource().await.status).unwrap();
    assert!(!told.contains(&STANDARD.encode(TSIG)), "{told}");
}
