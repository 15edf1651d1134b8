//! cert-manager as an issuer: its real controllers on a real API server. Run by `ci/cert-manager`, which builds them; without
//! TIKV_SECURITY_CERT_MANAGER and TIKV_SECURITY_CERT_MANAGER_CRDS it does nothing.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod corporate;
mod reconcile;

use std::process::{Child, Command, Stdio};

use corporate::Company;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use reconcile::apiserver::ApiServer;
use reconcile::world::{World, define};
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::TikvSecurity;
use tikv_security::tls::parse::parse_all;

struct Controllers(Child);

impl Drop for Controllers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", kind))
}

async fn crds(client: &Client, directory: &str) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|one| one != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let crd: CustomResourceDefinition = serde_yaml_ng::from_str(&text).unwrap();
        define(&api, &crd).await;
    }
}

async fn put(world: &World, name: &str, company: &Company, intermediate: &str) {
    let files = company.secret(intermediate);
    let text = |key: &str| files[key].as_str().unwrap().to_owned();
    // As cert-manager wants it: the root may stand beside the chain.
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": text("tls.crt") + &text("ca.crt"), "tls.key": text("tls.key"), "ca.crt": text("ca.crt")},
    });
    let params = PatchParams::apply("kim").force();
    let patch = Patch::Apply(&secret);
    world
        .api::<Secret>()
        .patch(name, &params, &patch)
        .await
        .unwrap();
}

async fn settled(world: &World, root: &str) {
    world
        .until(&format!("certificates of {root} alone"), async || {
            let leaf = world
                .api::<Secret>()
                .get_opt("demo-tikv-tls")
                .await
                .unwrap();
            let right = leaf.is_some_and(|leaf| {
                let data = leaf.data.unwrap();
                let trusts = parse_all(&data["ca.crt"].0).unwrap();
                let chain = parse_all(&data["tls.crt"].0).unwrap();
                trusts.len() == 1
                    && trusts[0].subject.contains(root)
                    && chain.last().unwrap().issuer.contains(root)
            });
            let status = world.resource().await.status.unwrap_or_default();
            right && status.certificate_authority.is_none()
        })
        .await;
    world.until_condition("Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cert_manager_signs_and_another_ca_of_it_is_followed_when_a_word_says_so() {
    let program = std::env::var("TIKV_SECURITY_CERT_MANAGER");
    let definitions = std::env::var("TIKV_SECURITY_CERT_MANAGER_CRDS");
    let (Ok(program), Ok(definitions)) = (program, definitions) else {
        eprintln!("NOT RUN: ci/cert-manager builds what it needs");
        return;
    };
    let world = World::new(1).await;
    let issuer = json!({"certManager": {"issuerRef": {"name": "corporate"}}});
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": issuer, "ca": {"overlap": "0s"}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    let _operator = world.operator();
    world
        .until("it is told that cert-manager is missing", async || {
            let status = world.resource().await.status.unwrap_or_default();
            serde_json::to_string(&status)
                .unwrap()
                .contains("Install cert-manager")
        })
        .await;

    crds(&world.client, &definitions).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, ApiServer::shared().kubeconfig()).unwrap();
    let child = Command::new(program)
        .arg(&kubeconfig)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _controllers = Controllers(child);
    let company = Company::new("Company Root");
    put(&world, "corporate", &company, "Company Issuing").await;
    let issuers: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &kind("Issuer"));
    let corporate = DynamicObject::new("corporate", &kind("Issuer"))
        .data(json!({"spec": {"ca": {"secretName": "corporate"}}}));
    let params = PatchParams::apply("kim").force();
    issuers
        .patch("corporate", &params, &Patch::Apply(&corporate))
        .await
        .unwrap();
    settled(&world, "Company Root").await;
    let requests: Api<DynamicObject> = Api::namespaced_with(
        world.client.clone(),
        &world.namespace,
        &kind("CertificateRequest"),
    );
    let left = requests.list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty(), "requests are taken back: {left:?}");

    // Another CA in the issuer: certificates of it are not given out before somebody says so.
    let other = Company::new("Merged Root");
    put(&world, "corporate", &other, "Merged Issuing").await;
    let resources: Api<TikvSecurity> = world.api();
    let say = async |rotate: Value| {
        let patch = Patch::Merge(json!({"spec": {"rotate": rotate}}));
        let params = PatchParams::default();
        resources.patch("demo", &params, &patch).await.unwrap();
    };
    say(json!({"certificates": "1"})).await;
    let message = world.until_reason("CertificatesReady", "NotIssued").await;
    assert!(
        message.contains("not signed by a certificate in ca.crt"),
        "{message}"
    );
    say(json!({"certificates": null, "ca": "merged"})).await;
    settled(&world, "Merged Root").await;
}
