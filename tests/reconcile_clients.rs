//! Client certificates on a real API server: issued, refused, renewed, and taken by OpenSSL, Java and the cluster's ports.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use reconcile::apiserver::ApiServer;
use reconcile::world::{Operator, World};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tikv_security::api::v1alpha1::{TikvClientCertificate, TikvSecurity};
use tikv_security::operator::run::Options;
use tikv_security::tikv::http::Endpoint;
use tikv_security::tikv::pd::PdClient;
use tikv_security::tls::bundle::TlsSet;
use tikv_security::tls::client;
use tikv_security::tls::private::PrivatePem;

/// A cluster with TLS that lets the namespace of an application have this, the application, and the operator.
struct Stage {
    world: World,
    shop: String,
    _operator: Operator,
}

impl Stage {
    async fn new(entry: Value) -> Self {
        let world = World::new(1).await;
        let (_, shop) = reconcile::namespace(ApiServer::shared().config()).await;
        let mut entry = entry;
        entry["namespaces"] = json!([shop]);
        world
            .secure(json!({
                "environment": "development",
                "tls": {"issuer": {"selfSigned": {}}, "clients": [entry]},
                "rollout": {"allowDowntime": true, "settle": "0s"},
            }))
            .await;
        let options = Options {
            client_namespaces: vec![shop.clone()],
            ..world.options()
        };
        let operator = world.operator_as(ApiServer::shared().config(), options);
        Self {
            world,
            shop,
            _operator: operator,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.world.client.clone(), &self.shop)
    }

    async fn ask(&self, name: &str, mut spec: Value) -> kube::Result<TikvClientCertificate> {
        spec["securityRef"] = json!({"name": "demo", "namespace": self.world.namespace});
        let object = json!({
            "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
            "metadata": {"name": name}, "spec": spec,
        });
        let object: TikvClientCertificate = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await
    }

    async fn change(&self, name: &str, spec: Value) -> kube::Result<TikvClientCertificate> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let params = PatchParams::default();
        self.api().patch(name, &params, &patch).await
    }

    /// Waits until `Ready` has this reason; its message.
    async fn until(&self, name: &str, reason: &str) -> String {
        let mut message = String::new();
        let api = self.api::<TikvClientCertificate>();
        let what = format!("{name} has the reason {reason}");
        self.world
            .until(&what, async || {
                let status = api.get(name).await.unwrap().status.unwrap_or_default();
                let Some(ready) = status.conditions.first() else {
                    return false;
                };
                message.clone_from(&ready.message);
                ready.reason == reason
            })
            .await;
        message
    }

    async fn secret(&self, name: &str) -> Secret {
        self.api().get(name).await.unwrap()
    }

    async fn serial(&self, name: &str) -> String {
        let found: TikvClientCertificate = self.api().get(name).await.unwrap();
        found.status.unwrap().serial.unwrap_or_default()
    }

    /// What PD's port says to whoever shows this.
    async fn pd_answers(&self, secret: &Secret) -> Result<(), String> {
        let field = |key: &str| secret.data.as_ref().unwrap()[key].0.clone();
        let set = TlsSet {
            ca: field("ca.crt"),
            certificate: field("tls.crt"),
            key: PrivatePem::new(field("tls.key")),
        };
        let tls: Arc<ClientConfig> = client::mutual(&set).unwrap();
        let pod: Pod = self.world.api().get("demo-pd-0").await.unwrap();
        let address = pod.status.unwrap().pod_ip.unwrap();
        let name = format!("demo-pd-0.demo-pd-peer.{}.svc", self.world.namespace);
        let endpoint = Endpoint::new(address, 2379).named(name);
        let pd = PdClient::mixed(vec![(endpoint, true)], Some(tls), Duration::from_secs(5));
        let asked = pd.members().await;
        asked.map(drop).map_err(|error| error.to_string())
    }
}

/// The files of a Secret.
fn unpack(secret: &Secret) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (key, bytes) in secret.data.iter().flatten() {
        std::fs::write(dir.path().join(key), &bytes.0).unwrap();
    }
    dir
}

/// Runs a foreign program beside these files; what it says when it is content.
fn content(dir: &TempDir, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let output = command
        .args(words)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    said
}

/// Whether Java's tool is here; it must be where the variable says so, as in CI.
fn has_keytool() -> bool {
    let found = Command::new("keytool").arg("-help").output().is_ok();
    let demanded = std::env::var("TIKV_SECURITY_REQUIRE_KEYTOOL").as_deref() == Ok("1");
    assert!(
        found || !demanded,
        "keytool is not installed: apt-get install default-jre-headless"
    );
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one life, told in order")]
async fn an_application_gets_what_openssl_java_and_the_cluster_take() {
    let stage = Stage::new(json!({})).await;
    stage.ask("orders", json!({"pkcs12": {}})).await.unwrap();
    stage.until("orders", "AsDesired").await;
    let secret = stage.secret("orders").await;
    let owner = &secret.owner_references()[0];
    let resource: TikvClientCertificate = stage.api().get("orders").await.unwrap();
    assert_eq!(
        Some(&owner.uid),
        resource.uid().as_ref(),
        "it goes with its owner"
    );
    assert_eq!(owner.controller, Some(true));
    let status = resource.status.unwrap();
    assert!(status.allowed_since.is_some());
    assert_eq!(status.secret.as_deref(), Some("orders"));
    assert!(
        status
            .pd_endpoints
            .iter()
            .all(|one| one.starts_with("https://")),
        "{:?}",
        status.pd_endpoints
    );

    let dir = unpack(&secret);
    content(
        &dir,
        "openssl verify -purpose sslclient -CAfile ca.crt tls.crt",
    );
    let text = content(&dir, "openssl x509 -in tls.crt -noout -text");
    let shared = format!("client.demo.{}.tikv-security", stage.world.namespace);
    for word in [
        &*shared,
        &format!("orders.{}.client.tikv-security", stage.shop),
        "TLS Web Client",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(!text.contains("TLS Web Server"), "a client alone: {text}");
    content(
        &dir,
        "openssl pkcs12 -in keystore.p12 -info -nokeys -passin file:password",
    );
    content(
        &dir,
        "openssl pkcs12 -in keystore.p12 -nocerts -nodes -passin file:password -out key.pem",
    );
    let keys = ["key.pem", "tls.key"]
        .map(|file| content(&dir, &format!("openssl pkey -in {file} -pubout")));
    assert_eq!(keys[0], keys[1], "the same key in both forms");
    if has_keytool() {
        let keys = content(
            &dir,
            "keytool -list -v -keystore keystore.p12 -storepass:file password",
        );
        assert!(
            keys.contains("PrivateKeyEntry") && keys.contains("tikv-client"),
            "{keys}"
        );
        let trust = content(
            &dir,
            "keytool -list -keystore truststore.p12 -storepass:file password",
        );
        assert!(trust.contains("trustedCertEntry"), "{trust}");
    } else {
        println!("keytool is not here: Java was not asked");
    }
    assert_eq!(stage.pd_answers(&secret).await, Ok(()));

    // When all is done nothing is written.
    stage.world.quiet().await;
    let events = stage.api::<k8s_openapi::api::events::v1::Event>();
    let events = events.list(&ListParams::default()).await.unwrap();
    assert!(
        events
            .iter()
            .any(|one| one.reason.as_deref() == Some("Issued"))
    );

    // A Secret that somebody deleted comes back, and one that somebody changed is made good.
    let before = stage.serial("orders").await;
    let secrets = stage.api::<Secret>();
    secrets
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    stage
        .world
        .until("another certificate", async || {
            let now = stage.serial("orders").await;
            !now.is_empty() && now != before
        })
        .await;
    let broken = Patch::Merge(json!({"stringData": {"ca.crt": "nothing", "truststore.p12": "x"}}));
    let kept = stage.serial("orders").await;
    secrets
        .patch("orders", &PatchParams::default(), &broken)
        .await
        .unwrap();
    stage
        .world
        .until("ca.crt is back", async || {
            let data = secrets.get("orders").await.unwrap().data.unwrap();
            data["ca.crt"].0.starts_with(b"-----BEGIN") && data["truststore.p12"].0 != b"x"
        })
        .await;
    assert_eq!(
        stage.serial("orders").await,
        kept,
        "a valid certificate stays"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_does_not_allow_is_refused_until_it_does() {
    let stage = Stage::new(json!({"maxDuration": "48h"})).await;
    stage.ask("orders", json!({})).await.unwrap();
    let message = stage.until("orders", "NotPermitted").await;
    assert!(message.contains("duration: 48h"), "{message}");
    stage
        .change("orders", json!({"duration": "48h"}))
        .await
        .unwrap();
    stage.until("orders", "AsDesired").await;

    // A name of its own: first the cluster's list, and that is its owner's to change.
    let own = json!({"commonName": "billing.shop.example", "duration": "48h"});
    stage.ask("billing", own).await.unwrap();
    stage.until("billing", "NotPermitted").await;
    let pods = stage.world.pod_uids().await;
    let resources = stage.world.api::<TikvSecurity>();
    let entry = json!({"namespaces": [stage.shop], "commonNames": ["*.shop.example"], "maxDuration": "48h"});
    let patch = |tls: Value| Patch::Merge(json!({"spec": {"tls": tls}}));
    let params = PatchParams::default();
    let permitted = patch(json!({"clients": [entry]}));
    resources.patch("demo", &params, &permitted).await.unwrap();
    let message = stage.until("billing", "NameNotAllowed").await;
    assert!(message.contains("spec.tls.allowedNames"), "{message}");
    assert_eq!(
        stage.world.pod_uids().await,
        pods,
        "no store restarts for a client"
    );
    let listed = patch(json!({"allowedNames": ["billing.shop.example"]}));
    resources.patch("demo", &params, &listed).await.unwrap();
    stage.until("billing", "AsDesired").await;
    let secret = stage.secret("billing").await;
    assert_eq!(stage.pd_answers(&secret).await, Ok(()));

    // The permission ends: what is there stays and is told.
    let nobody = patch(json!({"clients": null}));
    resources.patch("demo", &params, &nobody).await.unwrap();
    let message = stage.until("orders", "NotPermitted").await;
    assert!(message.contains(&stage.shop), "{message}");
    assert!(!stage.serial("orders").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_replaces_the_set_as_a_whole_and_in_time() {
    let stage = Stage::new(json!({})).await;
    let short = json!({"duration": "10m", "renewBefore": "9m56s", "pkcs12": {}});
    stage.ask("orders", short).await.unwrap();
    stage.until("orders", "AsDesired").await;
    let first = stage.secret("orders").await;
    let password = first.data.as_ref().unwrap()["password"].clone();
    let mut serials = vec![stage.serial("orders").await];
    stage
        .world
        .until("three certificates", async || {
            let secret = stage.secret("orders").await;
            // Whenever it is looked at it is a whole.
            let dir = unpack(&secret);
            content(&dir, "openssl verify -CAfile ca.crt tls.crt");
            let of = |line: &str| content(&dir, line);
            assert_eq!(
                of("openssl x509 -in tls.crt -noout -pubkey"),
                of("openssl pkey -in tls.key -pubout")
            );
            assert_eq!(secret.uid(), first.uid());
            assert_eq!(secret.data.as_ref().unwrap()["password"], password);
            let serial = stage.serial("orders").await;
            if !serial.is_empty() && serials.last() != Some(&serial) {
                serials.push(serial);
            }
            serials.len() >= 3
        })
        .await;
    let status = stage
        .api::<TikvClientCertificate>()
        .get("orders")
        .await
        .unwrap();
    assert_eq!(status.status.unwrap().conditions[0].status, "True");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_is_left_and_a_password_is_followed() {
    let stage = Stage::new(json!({})).await;
    let secrets = stage.api::<Secret>();
    let make = async |name: &str, key: &str, value: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value},
        });
        let object: Secret = serde_json::from_value(object).unwrap();
        secrets
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    };
    let theirs = make("orders", "mine", "precious").await;
    let named = json!({"pkcs12": {"passwordSecret": {"name": "store", "key": "word"}}});
    stage.ask("orders", named).await.unwrap();
    let message = stage.until("orders", "ForeignObject").await;
    assert!(message.contains("Secret orders"), "{message}");
    let now = secrets.get("orders").await.unwrap();
    assert_eq!(now.resource_version(), theirs.resource_version());
    secrets
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let poke = Patch::Merge(json!({"spec": {"duration": "700h"}}));
    let resources = stage.api::<TikvClientCertificate>();
    let params = PatchParams::default();
    resources.patch("orders", &params, &poke).await.unwrap();
    let message = stage.until("orders", "PasswordUnusable").await;
    assert!(message.contains("there is no Secret store"), "{message}");

    make("store", "word", "correct horse").await;
    stage
        .change("orders", json!({"duration": "701h"}))
        .await
        .unwrap();
    stage.until("orders", "AsDesired").await;
    let opens = async |word: &str| {
        let dir = unpack(&secrets.get("orders").await.unwrap());
        let pass = format!("pass:{word}");
        let mut command = Command::new("openssl");
        let command = command.args(["pkcs12", "-in", "keystore.p12", "-nokeys", "-passin", &pass]);
        command
            .current_dir(dir.path())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(opens("correct horse").await && !opens("wrong horse").await);
    let serial = stage.serial("orders").await;
    let other = Patch::Merge(json!({"stringData": {"word": "battery staple"}}));
    secrets.patch("store", &params, &other).await.unwrap();
    // The password's Secret is not watched: the next look finds it.
    stage
        .change("orders", json!({"renewBefore": "100h"}))
        .await
        .unwrap();
    stage
        .world
        .until("the new password opens", async || {
            opens("battery staple").await
        })
        .await;
    assert_eq!(
        stage.serial("orders").await,
        serial,
        "the certificate stays"
    );
    // And without PKCS#12 again, nothing of it is left.
    stage
        .change("orders", json!({"pkcs12": null}))
        .await
        .unwrap();
    stage
        .world
        .until("the stores are gone", async || {
            let data = secrets.get("orders").await.unwrap().data.unwrap();
            !data.contains_key("keystore.p12") && !data.contains_key("truststore.p12")
        })
        .await;
    assert_eq!(stage.serial("orders").await, serial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_says_what_to_write_instead() {
    let stage = Stage::new(json!({})).await;
    for (spec, words) in [
        (
            json!({"duration": "24h", "renewBefore": "24h"}),
            "leave it out for a third",
        ),
        (json!({"duration": "1m"}), "between 10m and 87600h"),
        (json!({"usages": ["serverAuth"]}), "usages: [clientAuth]"),
        (json!({"commonName": "-orders"}), "orders.shop.example"),
    ] {
        let error = stage
            .ask("orders", spec.clone())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{spec}: {error}");
    }
    stage
        .ask("orders", json!({"secretName": "one"}))
        .await
        .unwrap();
    for name in [json!("two"), Value::Null] {
        let error = stage
            .change("orders", json!({"secretName": name}))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("make another TikvClientCertificate"),
            "{error}"
        );
    }
    let nobody = Patch::Merge(json!({"spec": {"tls": {"clients": [{"maxDuration": "24h"}]}}}));
    let resources = stage.world.api::<TikvSecurity>();
    let error = resources
        .patch("demo", &PatchParams::default(), &nobody)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("names nobody"), "{error}");
}
