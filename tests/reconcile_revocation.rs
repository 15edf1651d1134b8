//! Revocation on a real API server, with OpenSSL as the one who checks, and ports that are really shaken hands with.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use reconcile::apiserver::ApiServer;
use reconcile::calls::Fault;
use reconcile::world::{Operator, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tikv_security::api::v1alpha1::{
    RefusalProof, RevocationPhase, RevocationStatus, TikvClientCertificate, TikvSecurity,
};
use tikv_security::operator::run::Options;
use tikv_security::tikv::http::Endpoint;
use tikv_security::tikv::pd::PdClient;
use tikv_security::tls::bundle::TlsSet;
use tikv_security::tls::client;
use tikv_security::tls::private::PrivatePem;

/// A cluster with this `tls.revocation`, and a client in its own namespace.
struct Stage {
    world: World,
    port: SocketAddr,
    health: SocketAddr,
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Stage {
    async fn new(revocation: Value) -> Self {
        let world = World::new(1).await;
        world
            .secure(json!({
                "environment": "development",
                "tls": {
                    "issuer": {"selfSigned": {}}, "ca": {"overlap": "24h"}, "revocation": revocation,
                    "allowedNames": ["orders.shop.example"],
                },
                "rollout": {"allowDowntime": true, "settle": "0s"},
            }))
            .await;
        Self {
            world,
            port: free(),
            health: free(),
        }
    }

    /// One that serves CRLs and OCSP.
    fn operator(&self) -> Operator {
        let options = Options {
            revocation: Some(self.port),
            health: self.health,
            ..self.world.options()
        };
        self.world
            .operator_as(ApiServer::shared().config(), options)
    }

    fn clients(&self) -> Api<TikvClientCertificate> {
        self.world.api()
    }

    async fn ask(&self, name: &str) -> TempDir {
        let object = json!({
            "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
            "metadata": {"name": name}, "spec": {"securityRef": {"name": "demo"}},
        });
        let object: TikvClientCertificate = serde_json::from_value(object).unwrap();
        let api = self.clients();
        api.create(&PostParams::default(), &object).await.unwrap();
        self.until_ready(name, "AsDesired").await;
        self.copy(name).await
    }

    async fn until_ready(&self, name: &str, reason: &str) {
        let api = self.clients();
        let what = format!("{name} has the reason {reason}");
        self.world
            .until(&what, async || {
                let status = api.get(name).await.unwrap().status.unwrap_or_default();
                let ready = status.conditions.first();
                ready.is_some_and(|ready| ready.reason == reason)
            })
            .await;
    }

    /// What somebody has who took the files of a Secret.
    async fn copy(&self, name: &str) -> TempDir {
        let secret: Secret = self.world.api().get(name).await.unwrap();
        let dir = TempDir::new().unwrap();
        for (key, bytes) in secret.data.iter().flatten() {
            std::fs::write(dir.path().join(key), &bytes.0).unwrap();
        }
        dir
    }

    /// What is said of the certificate of `orders`.
    async fn told(&self) -> Option<RevocationStatus> {
        let status = self.world.resource().await.status?;
        let mut all = status.revocations.into_iter();
        all.find(|one| {
            let of = one.certificate.as_deref();
            of.is_some_and(|of| of.ends_with("/orders"))
        })
    }

    async fn until_phase(&self, phase: RevocationPhase) -> RevocationStatus {
        let what = format!("the revoked certificate is {phase:?}");
        self.world
            .until(&what, async || {
                self.told().await.is_some_and(|one| one.phase == phase)
            })
            .await;
        self.told().await.unwrap()
    }

    async fn until_gone(&self, name: &str) {
        let api = self.clients();
        let what = format!("{name} is gone");
        self.world
            .until(&what, async || api.get_opt(name).await.unwrap().is_none())
            .await;
    }

    async fn crl(&self) -> ConfigMap {
        self.world.api().get("demo-crl").await.unwrap()
    }

    /// What PD's port says to whoever shows this.
    async fn pd_answers(&self, dir: &TempDir) -> Result<(), String> {
        let read = |file: &str| std::fs::read(dir.path().join(file)).unwrap();
        // The cluster is trusted whoever signs for it now.
        let own: Secret = self.world.api().get("demo-client-tls").await.unwrap();
        let set = TlsSet {
            ca: own.data.unwrap()["ca.crt"].0.clone(),
            certificate: read("tls.crt"),
            key: PrivatePem::new(read("tls.key")),
        };
        let tls = client::mutual(&set).unwrap();
        let pod: Pod = self.world.api().get("demo-pd-0").await.unwrap();
        let address = pod.status.unwrap().pod_ip.unwrap();
        let name = format!("demo-pd-0.demo-pd-peer.{}.svc", self.world.namespace);
        let endpoint = Endpoint::new(address, 2379).named(name);
        let pd = PdClient::mixed(vec![(endpoint, true)], Some(tls), Duration::from_secs(5));
        let asked = pd.members().await;
        asked.map(drop).map_err(|error| error.to_string())
    }
}

/// What OpenSSL says, and whether it is content.
fn openssl(dir: &Path, line: &str) -> (bool, String) {
    let output = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// Asks the revocation port; status, type and body.
async fn get(port: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    use http_body_util::{BodyExt as _, Empty};
    use hyper::body::Bytes;
    let stream = tokio::net::TcpStream::connect(port).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("host", "revocation")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let kind = response.headers().get("content-type");
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, body.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one life, told in order")]
async fn a_client_that_is_deleted_is_on_the_list_and_openssl_sees_it_by_crl_and_by_ocsp() {
    let stage = Stage::new(json!({"url": "http://revocation.example:8082"})).await;
    let _operator = stage.operator();
    stage.world.until_condition("Ready", "True").await;
    let (gone, stays) = (stage.ask("orders").await, stage.ask("billing").await);
    measured(&stage).await;
    let (_, text) = openssl(gone.path(), "x509 -in tls.crt -noout -text");
    let ns = stage.world.namespace.clone();
    assert!(
        text.contains(&format!("http://revocation.example:8082/ocsp/{ns}/demo")),
        "{text}"
    );
    assert!(
        text.contains(&format!("http://revocation.example:8082/crl/{ns}/demo/")),
        "{text}"
    );

    let ocsp = |hash: &str| {
        format!(
            "ocsp {hash} -issuer ca.crt -cert tls.crt -CAfile ca.crt -url http://{}/ocsp/{ns}/demo",
            stage.port
        )
    };
    let (content, said) = openssl(gone.path(), &ocsp("-sha256"));
    assert!(content && said.contains("tls.crt: good"), "{said}");

    // Its dependents go first: the Secret is no help in telling what was issued.
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    stage.clients().delete("orders", &foreground).await.unwrap();
    stage
        .world
        .until("orders is written down", async || {
            let map = stage
                .world
                .api::<ConfigMap>()
                .get("demo-crl")
                .await
                .unwrap();
            map.data.unwrap()["revoked.json"].contains("/orders")
        })
        .await;
    let one = stage.until_phase(RevocationPhase::Published).await;
    assert!(
        one.message.contains("still accepted by the cluster until"),
        "{}",
        one.message
    );
    assert_eq!(one.certificate.as_deref(), Some(&*format!("{ns}/orders")));
    stage.pd_answers(&gone).await.unwrap();

    let map = stage.crl().await;
    for dir in [&gone, &stays] {
        std::fs::write(
            dir.path().join("ca.crl"),
            &map.data.as_ref().unwrap()["ca.crl"],
        )
        .unwrap();
    }
    let check = "verify -CAfile ca.crt -CRLfile ca.crl -crl_check tls.crt";
    let (content, said) = openssl(gone.path(), check);
    assert!(!content && said.contains("certificate revoked"), "{said}");
    let (content, said) = openssl(stays.path(), check);
    assert!(content, "{said}");

    // Within the time for which the port answers from memory.
    let asked = ocsp("-sha1");
    stage
        .world
        .until("OCSP says so", async || {
            openssl(gone.path(), &asked).1.contains("tls.crt: revoked")
        })
        .await;
    let (content, said) = openssl(gone.path(), &ocsp("-sha256"));
    assert!(content && said.contains("Response verify OK"), "{said}");
    assert!(said.contains("Reason: cessationOfOperation"), "{said}");
    let (content, said) = openssl(stays.path(), &ocsp("-sha256"));
    assert!(content && said.contains("tls.crt: good"), "{said}");

    // The same by GET, and the lists.
    let (content, said) = openssl(
        gone.path(),
        "ocsp -issuer ca.crt -cert tls.crt -reqout request -no_nonce",
    );
    assert!(content, "{said}");
    let request = std::fs::read(gone.path().join("request")).unwrap();
    let encoded = openssl_base64(&request);
    let (status, kind, body) = get(stage.port, &format!("/ocsp/{ns}/demo/{encoded}")).await;
    assert_eq!((status, &*kind), (200, "application/ocsp-response"));
    std::fs::write(gone.path().join("answer"), body).unwrap();
    let (content, said) = openssl(
        gone.path(),
        "ocsp -no_nonce -issuer ca.crt -cert tls.crt -respin answer -CAfile ca.crt",
    );
    assert!(content && said.contains("tls.crt: revoked"), "{said}");
    let ca = one.authority.clone();
    for path in [
        format!("/crl/{ns}/demo.crl"),
        format!("/crl/{ns}/demo/{ca}.crl"),
    ] {
        let (status, kind, body) = get(stage.port, &path).await;
        assert_eq!((status, &*kind), (200, "application/pkix-crl"), "{path}");
        let stored = &map.binary_data.as_ref().unwrap()[&format!("{ca}.crl")].0;
        assert_eq!(&body, stored, "{path}");
    }
    for path in [
        "/".to_owned(),
        "/crl".to_owned(),
        format!("/crl/{ns}/demo"),
        format!("/crl/{ns}/other.crl"),
        format!("/crl/{ns}/demo/00.crl"),
        "/crl/kube-system/demo.crl".to_owned(),
        format!("/ocsp/{ns}/..%2f..%2fsecrets/MAA="),
    ] {
        assert_eq!(get(stage.port, &path).await.0, 404, "{path}");
    }
    assert_eq!(
        get(stage.port, &format!("/ocsp/{ns}/demo/%%%")).await.0,
        400
    );
}

/// What Prometheus is told of certificates and handshakes.
async fn measured(stage: &Stage) {
    let mut text = String::new();
    let wanted = [
        "tikv_security_handshake_full_microseconds{",
        "tikv_security_handshake_resumed_microseconds{",
        "tikv_security_certificate_renew_at_seconds{",
        "of=\"demo-pd-tls\"",
        "tikv_security_client_certificate_renew_at_seconds{",
        "tikv_security_revoked_certificates{",
        "tikv_security_crl_next_update_seconds{",
        "pod=\"demo-pd-0\",port=\"2379\"",
    ];
    stage
        .world
        .until("all of it is measured", async || {
            let (_, _, body) = get(stage.health, "/metrics").await;
            text = String::from_utf8(body).unwrap();
            wanted.iter().all(|word| text.contains(word))
        })
        .await;
    let served = text
        .lines()
        .filter(|line| line.contains("certificate_ports{"));
    let served: Vec<&str> = served.collect();
    assert!(
        served
            .iter()
            .any(|line| line.contains("\"other\"") && line.ends_with(" 0")),
        "{served:?}"
    );
}

fn openssl_base64(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(["base64", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim()
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_gets_none_until_it_is_taken_back_and_then_another_one() {
    let stage = Stage::new(json!({})).await;
    let _operator = stage.operator();
    stage.world.until_condition("Ready", "True").await;
    let old = stage.ask("orders").await;
    let change = |reason: Value| {
        let patch = Patch::Merge(json!({"spec": {"revoked": reason}}));
        let api = stage.clients();
        async move {
            api.patch("orders", &PatchParams::default(), &patch)
                .await
                .unwrap()
        }
    };
    change(json!("KeyCompromise")).await;
    stage.until_ready("orders", "Revoked").await;
    let one = stage.until_phase(RevocationPhase::Published).await;
    stage
        .world
        .until("the object tells what the cluster does", async || {
            let status = stage.clients().get("orders").await.unwrap().status.unwrap();
            status.conditions[0].message.contains("KeyCompromise")
        })
        .await;
    change(Value::Null).await;
    stage.until_ready("orders", "AsDesired").await;
    let new = stage.copy("orders").await;
    let read = |dir: &TempDir| std::fs::read(dir.path().join("tls.crt")).unwrap();
    assert!(read(&old) != read(&new));
    let status = stage.clients().get("orders").await.unwrap().status.unwrap();
    assert!(status.serial.unwrap() != one.serial);
    assert_eq!(
        status.issued.len(),
        1,
        "what is revoked is not told as issued"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_every_single_write_revokes_and_cuts_off() {
    let stage = Stage::new(json!({"cut": "CaRotation"})).await;
    let operator = stage.world.operator();
    stage.world.until_condition("Ready", "True").await;
    let (gone, _) = (stage.ask("orders").await, stage.ask("billing").await);
    stage.world.quiet().await;
    drop(operator);
    stage.pd_answers(&gone).await.unwrap();
    stage
        .clients()
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    let mut lives = 0;
    loop {
        stage.world.calls.fail(1, Fault::CutAfter);
        let operator = stage.world.operator();
        let done = async {
            stage.until_gone("orders").await;
            stage.until_phase(RevocationPhase::Refused).await;
            stage.world.until_condition("Ready", "True").await;
        };
        tokio::select! {
            () = stage.world.calls.cut() => {}
            () = done => break,
        }
        drop(operator);
        lives += 1;
        assert!(lives < 300, "it writes for ever: {:#?}", stage.world.calls);
    }
    assert!(lives > 15, "{lives} lives");
    let one = stage.told().await.unwrap();
    assert_eq!(one.proof, Some(RefusalProof::Tried), "{}", one.message);
    for port in ["demo-pd-0:2379", "demo-tikv-0:20160", "demo-tikv-0:20180"] {
        assert!(one.message.contains(port), "{}", one.message);
    }
    let refused = stage.pd_answers(&gone).await.unwrap_err();
    assert!(
        refused.contains("demo-pd-0") || refused.contains("2379"),
        "{refused}"
    );
    let ca: Secret = stage.world.api().get("demo-ca-next").await.unwrap();
    let left = ca.data.unwrap_or_default();
    assert!(
        left.keys().all(|key| !key.starts_with("former")),
        "{:?}",
        left.keys()
    );

    // The other client follows, and is let in.
    let _operator = stage.world.operator();
    let api = stage.clients();
    stage
        .world
        .until("billing has a certificate of the new CA", async || {
            let status = api.get("billing").await.unwrap().status.unwrap();
            status
                .issued
                .iter()
                .any(|issued| issued.authority != one.authority)
                && status.conditions[0].status == "True"
        })
        .await;
    stage
        .pd_answers(&stage.copy("billing").await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_cluster_goes_its_clients_are_not_held_up() {
    let stage = Stage::new(json!({})).await;
    let _operator = stage.operator();
    stage.world.until_condition("Ready", "True").await;
    let _copy = stage.ask("orders").await;
    let securities: Api<TikvSecurity> = stage.world.api();
    securities
        .delete("demo", &DeleteParams::default())
        .await
        .unwrap();
    stage
        .world
        .until("it is gone", async || {
            securities.get_opt("demo").await.unwrap().is_none()
        })
        .await;
    stage
        .clients()
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    stage.until_gone("orders").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_deleted_at_once_are_all_written_down() {
    let stage = Stage::new(json!({})).await;
    let _operator = stage.operator();
    stage.world.until_condition("Ready", "True").await;
    let names: Vec<String> = (0..20).map(|n| format!("orders-{n}")).collect();
    for name in &names {
        let _copy = stage.ask(name).await;
    }
    for name in &names {
        stage
            .clients()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    for name in &names {
        stage.until_gone(name).await;
    }
    let record = stage.crl().await.data.unwrap()["revoked.json"].clone();
    for name in &names {
        assert!(record.contains(&format!("/{name}\"")), "{name}: {record}");
    }
    stage
        .world
        .until("the list has all of them", async || {
            let crl = stage.crl().await.data.unwrap()["ca.crl"].clone();
            let dir = TempDir::new().unwrap();
            std::fs::write(dir.path().join("ca.crl"), crl).unwrap();
            let (_, text) = openssl(dir.path(), "crl -in ca.crl -noout -text");
            text.matches("Serial Number:").count() == names.len()
        })
        .await;
}
