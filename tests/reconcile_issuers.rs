//! Issuers on a real API server, with ports that are really shaken hands with: from one to the next, and what is said of those that can not
//! be used. Vault is OpenBao, AWS KMS is moto.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod corporate;
#[allow(dead_code)]
mod moto;
#[allow(dead_code)]
mod openbao;
#[allow(dead_code)]
mod pki;
mod reconcile;

use corporate::Company;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use moto::Moto;
use openbao::OpenBao;
use reconcile::calls::Fault;
use reconcile::world::World;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{KeyAlgorithm, TikvSecurity};
use tikv_security::tls::parse::parse_all;

const LEAVES: [&str; 4] = ["tikv", "pd", "agent", "client"];

async fn name_issuer(world: &World, issuer: Value) {
    // A merge would leave the one before beside it.
    let mut issuer = issuer;
    for kind in [
        "selfSigned",
        "caSecret",
        "vault",
        "certManager",
        "kms",
        "pkcs11",
    ] {
        if issuer[kind].is_null() {
            issuer[kind] = Value::Null;
        }
    }
    let patch = Patch::Merge(json!({"spec": {"tls": {"issuer": issuer}}}));
    let resources: Api<TikvSecurity> = world.api();
    resources
        .patch("demo", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn secured(issuer: Value) -> World {
    let world = World::new(1).await;
    secure(&world, issuer).await;
    world
}

async fn secure(world: &World, issuer: Value) {
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": issuer, "ca": {"overlap": "0s"}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
}

/// Every leaf leads to this root, and comes with it alone.
async fn only(world: &World, root: &str) {
    for part in LEAVES {
        let name = format!("demo-{part}-tls");
        let chain = world.certificates(&name, "tls.crt").await;
        let trusts = world.certificates(&name, "ca.crt").await;
        let last = chain.last().unwrap();
        assert!(last.issuer.contains(root), "{name}: {}", last.issuer);
        assert_eq!(trusts.len(), 1, "{name}");
        assert!(
            trusts[0].subject.contains(root),
            "{name}: {}",
            trusts[0].subject
        );
    }
}

/// Certificates of this root are served everywhere, and nothing is under way.
async fn settled(world: &World, root: &str) {
    world
        .until(&format!("certificates of {root} alone"), async || {
            let secrets = world.api::<Secret>();
            let leaf = secrets.get_opt("demo-client-tls").await.unwrap();
            let trusts = leaf.and_then(|leaf| parse_all(&leaf.data?.get("ca.crt")?.0).ok());
            let right =
                trusts.is_some_and(|trusts| trusts.len() == 1 && trusts[0].subject.contains(root));
            let status = world.resource().await.status.unwrap_or_default();
            right && status.certificate_authority.is_none()
        })
        .await;
    world.until_condition("Ready", "True").await;
    only(world, root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_every_single_write_comes_to_another_issuer() {
    let world = secured(json!({"selfSigned": {}})).await;
    let operator = world.operator();
    world.until_condition("Ready", "True").await;
    world.quiet().await;
    drop(operator);
    let company = Company::new("Company Root");
    world
        .write_secret("corporate", company.secret("Company Issuing"))
        .await;
    name_issuer(&world, json!({"caSecret": {"name": "corporate"}})).await;
    let mut lives = 0;
    loop {
        world.calls.fail(1, Fault::CutAfter);
        let operator = world.operator();
        let done = settled(&world, "Company Root");
        tokio::select! {
            () = world.calls.cut() => {}
            () = done => break,
        }
        drop(operator);
        lives += 1;
        assert!(lives < 300, "it writes for ever: {:#?}", world.calls);
    }
    assert!(lives > 15, "{lives} lives");
    let chain = world.certificates("demo-tikv-tls", "tls.crt").await;
    assert_eq!(chain.len(), 2, "the intermediate is served");
    let signer = world.certificates("demo-ca", "tls.crt").await.remove(0);
    assert!(signer.subject.contains("Company Issuing"), "{signer:?}");

    // Another intermediate under the same root: nothing rotates, the next certificates are of it.
    world.calls.heal();
    let _operator = world.operator();
    let pods = world.pod_uids().await;
    world
        .write_secret("corporate", company.secret("Company Issuing 2"))
        .await;
    world
        .until("the new intermediate is taken up", async || {
            let signer = world.certificates("demo-ca", "tls.crt").await.remove(0);
            signer.subject.contains("Issuing 2")
        })
        .await;
    let renew = Patch::Merge(json!({"spec": {"rotate": {"certificates": "1"}}}));
    let resources: Api<TikvSecurity> = world.api();
    let params = PatchParams::default();
    resources.patch("demo", &params, &renew).await.unwrap();
    world
        .until("it signs", async || {
            let leaf = world.certificates("demo-tikv-tls", "tls.crt").await;
            leaf[0].issuer.contains("Issuing 2")
        })
        .await;
    world.until_condition("Ready", "True").await;
    assert_eq!(world.pod_uids().await, pods, "nothing restarted for it");

    // Another root: that is a rotation.
    let other = Company::new("Merged Root");
    world
        .write_secret("corporate", other.secret("Merged Issuing"))
        .await;
    settled(&world, "Merged Root").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_and_a_kms_sign_and_are_left_when_they_are_gone() {
    let (Some(bao), Some(moto)) = (OpenBao::start(), Moto::start()) else {
        return;
    };
    pki::engine(&bao);
    let world = World::new(1).await;
    world
        .write_secret("vault-ca", json!({"ca.crt": bao.trusted_pem()}))
        .await;
    world
        .write_secret("vault-login", json!({"secret-id": openbao::SECRET}))
        .await;
    let aws = json!({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"});
    world.write_secret("aws", aws).await;
    let vault = json!({"vault": {
        "address": bao.address(), "caSecret": {"name": "vault-ca", "key": "ca.crt"}, "role": "tikv", "clientRole": "clients",
        "auth": {"appRole": {"roleId": "operator", "secretId": {"name": "vault-login", "key": "secret-id"}}},
    }});
    secure(&world, vault).await;
    let _operator = world.operator();
    settled(&world, "Company Root").await;
    let secret = world.api::<Secret>().get("demo-ca").await.unwrap();
    assert!(secret.data.unwrap()["tls.key"].0.is_empty());

    // Vault is sealed, and what it signed serves on; a key in a KMS takes its place without it.
    bao.seal();
    let key = moto.new_key(r#"{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}"#);
    let kms = json!({"kms": {"awsKms": {
        "keyId": key, "region": "eu-central-1", "endpoint": moto.endpoint, "credentialsSecret": {"name": "aws"},
    }}});
    name_issuer(&world, kms).await;
    settled(&world, "demo.").await;
    let anchors = world.certificates("demo-ca", "tls.crt").await;
    assert_eq!(anchors.len(), 1);

    // RSA keys, by the same CA.
    let rsa = Patch::Merge(json!({"spec": {"tls": {"keyAlgorithm": "Rsa2048"}}}));
    let resources: Api<TikvSecurity> = world.api();
    resources
        .patch("demo", &PatchParams::default(), &rsa)
        .await
        .unwrap();
    world
        .until("leaves have RSA keys", async || {
            let leaf = world.certificates("demo-pd-tls", "tls.crt").await;
            leaf[0].key_algorithm == Some(KeyAlgorithm::Rsa2048)
        })
        .await;
    world.until_condition("Ready", "True").await;
    name_issuer(&world, json!({"selfSigned": {}})).await;
    world
        .until("the CA is one of ours", async || {
            let secret = world.api::<Secret>().get("demo-ca").await.unwrap();
            let own = !secret.data.unwrap()["tls.key"].0.is_empty();
            let status = world.resource().await.status.unwrap();
            own && status.certificate_authority.is_none()
        })
        .await;
    world.until_condition("Ready", "True").await;
    let told = serde_json::to_string(&world.resource().await.status).unwrap();
    assert!(!told.contains(openbao::SECRET), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_used_is_said_before_anything_is_touched() {
    let world = World::new(1).await;
    let two = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity", "metadata": {"name": "two"},
        "spec": {
            "environment": "development",
            "cluster": {"tikv": {"statefulSet": {"name": "demo-tikv"}}, "pd": {"statefulSet": {"name": "demo-pd"}}},
            "tls": {"issuer": {"selfSigned": {}, "caSecret": {"name": "x"}}},
        },
    });
    let two: TikvSecurity = serde_json::from_value(two).unwrap();
    let refused = world.api().create(&PostParams::default(), &two).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("exactly one issuer"), "{refused}");

    secure(&world, json!({"caSecret": {"name": "corporate"}})).await;
    let _operator = world.operator();
    let message = world.until_reason("Blocked", "IssuerUnusable").await;
    assert!(message.contains("Secret corporate"), "{message}");
    assert!(message.contains("Create the Secret corporate"), "{message}");
    let company = Company::new("Company Root");
    let mut files = company.secret("Company Issuing");
    files["tls.key"] = Company::new("Other").secret("Other Issuing")["tls.key"].clone();
    world.write_secret("corporate", files).await;
    world
        .until("the key is told apart", async || {
            world.message("Blocked").await.contains("does not belong")
        })
        .await;
    let secrets = world.api::<Secret>();
    assert!(secrets.get_opt("demo-ca").await.unwrap().is_none());
    world
        .write_secret("corporate", company.secret("Company Issuing"))
        .await;
    settled(&world, "Company Root").await;
}
