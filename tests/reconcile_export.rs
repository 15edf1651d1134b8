//! Copies of certificates outside of the cluster, on a real API server: kept in step through a renewal and the trust of a new CA, never over what is
//! somebody else's, deleted when that was asked for. Vault is OpenBao, AWS is moto.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod moto;
#[allow(dead_code)]
mod openbao;
mod reconcile;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use moto::Moto;
use openbao::OpenBao;
use reconcile::world::World;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{TikvClientCertificate, TikvSecurity};

/// A cluster, two stores of secrets, and the Secrets with which both are reached.
struct Stage {
    world: World,
    bao: OpenBao,
    moto: Moto,
}

impl Stage {
    async fn new() -> Option<Self> {
        let (bao, moto) = (OpenBao::start()?, Moto::start()?);
        let engine = json!({"type": "kv", "options": {"version": "2"}});
        bao.root("POST", "sys/mounts/secret", &engine);
        bao.policy(
            "operator",
            r#"
path "secret/data/*"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/*" { capabilities = ["create", "read", "update", "delete"] }
"#,
        );
        let world = World::new(1).await;
        let stage = Self { world, bao, moto };
        let ca = json!({"ca.crt": stage.bao.trusted_pem()});
        stage.write("vault-ca", ca).await;
        let login = json!({"secret-id": openbao::SECRET});
        stage.write("vault-login", login).await;
        let aws = json!({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "do-not-print"});
        stage.write("aws", aws).await;
        Some(stage)
    }

    async fn write(&self, name: &str, data: Value) {
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let secrets: Api<Secret> = self.world.api();
        let params = PostParams::default();
        secrets.create(&params, &secret).await.unwrap();
    }

    fn vault(&self, path: &str, policy: &str) -> Value {
        json!({"deletionPolicy": policy, "vault": {
            "address": self.bao.address(), "caSecret": {"name": "vault-ca", "key": "ca.crt"}, "path": path,
            "auth": {"appRole": {"roleId": "operator", "secretId": {"name": "vault-login", "key": "secret-id"}}},
        }})
    }

    fn aws(&self, name: &str, policy: &str) -> Value {
        json!({"deletionPolicy": policy, "awsSecretsManager": {
            "name": name, "region": "eu-central-1", "endpoint": self.moto.endpoint, "credentialsSecret": {"name": "aws"},
        }})
    }

    async fn secure(&self, export: Value) {
        let spec = json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}, "ca": {"overlap": "0s"}, "export": export},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        });
        self.world.secure(spec).await;
    }

    async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        let resources: Api<TikvSecurity> = self.world.api();
        let params = PatchParams::default();
        resources.patch("demo", &params, &patch).await.unwrap();
    }

    /// What consumers of Vault read.
    fn in_vault(&self, path: &str) -> Option<Value> {
        let headers = [("x-vault-token", self.bao.root_token())];
        let path = format!("/v1/secret/data/{path}");
        let (status, body) = self.bao.exchange("GET", &path, &headers, b"");
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status == 200).then(|| body["data"]["data"].clone())
    }

    /// What consumers of AWS read.
    fn in_aws(&self, name: &str) -> Option<Value> {
        let told = json!({"SecretId": name});
        let told = self.moto.secrets("GetSecretValue", &told).ok()?;
        let told: Value = serde_json::from_str(&told).unwrap();
        serde_json::from_str(told["SecretString"].as_str().unwrap()).ok()
    }

    /// What a Secret holds, as a copy of it would.
    async fn held(&self, secret: &str) -> Value {
        let secret: Secret = self.world.api().get(secret).await.unwrap();
        let data = secret.data.unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        json!({"ca.crt": text("ca.crt"), "tls.crt": text("tls.crt"), "tls.key": text("tls.key")})
    }

    /// Waits until both copies are what the Secret is.
    async fn in_step(&self, secret: &str, path: &str, name: &str) -> Value {
        let mut wanted = Value::Null;
        let what = format!("{path} and {name} are in step with {secret}");
        self.world
            .until(&what, async || {
                wanted = self.held(secret).await;
                self.in_vault(path).as_ref() == Some(&wanted)
                    && self.in_aws(name).as_ref() == Some(&wanted)
            })
            .await;
        wanted
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_follow_the_set_and_hold_nothing_up() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let world = &stage.world;
    let mut tikv = stage.vault("demo/tikv", "Delete");
    tikv["set"] = json!("Tikv");
    let all = json!([
        stage.vault("demo/client", "Retain"),
        stage.aws("demo/client", "Retain"),
        tikv
    ]);
    stage.secure(all.clone()).await;
    let operator = world.operator();
    world.until_condition("Ready", "True").await;
    world.until_condition("Exported", "True").await;
    let secret = "demo-client-tls";
    let first = stage.in_step(secret, "demo/client", "demo/client").await;
    let tikv = stage.held("demo-tikv-tls").await;
    assert_eq!(stage.in_vault("demo/tikv"), Some(tikv));
    world.quiet().await;

    // A renewal, and a CA beside the present one.
    stage.change(json!({"rotate": {"certificates": "1"}})).await;
    world
        .until("the leaf is renewed", async || {
            stage.held(secret).await != first
        })
        .await;
    let renewed = stage.in_step(secret, "demo/client", "demo/client").await;
    assert_ne!(renewed["tls.key"], first["tls.key"]);
    world.until_condition("Ready", "True").await;
    stage.change(json!({"rotate": {"ca": "1"}})).await;
    world
        .until("another CA signs", async || {
            let now = stage.held(secret).await;
            now["ca.crt"] != renewed["ca.crt"] && now["tls.crt"] != renewed["tls.crt"]
        })
        .await;
    stage.in_step(secret, "demo/client", "demo/client").await;

    // Vault is sealed: the next certificate is issued and served all the same, and comes to Vault when that is there again.
    world.until_condition("Ready", "True").await;
    stage.bao.seal();
    let before = stage.held(secret).await;
    stage.change(json!({"rotate": {"certificates": "2"}})).await;
    let told = world.until_reason("Exported", "ExportUnavailable").await;
    assert!(told.contains("Check that Vault is unsealed"), "{told}");
    world
        .until("the leaf is renewed without Vault", async || {
            stage.held(secret).await != before
                && world.condition("Ready").await.unwrap().0 == "True"
        })
        .await;
    stage.bao.unseal();
    stage.in_step(secret, "demo/client", "demo/client").await;
    world.until_condition("Exported", "True").await;

    // Somebody changes one and deletes the other while nobody looks: both are put back.
    drop(operator);
    let theirs = json!({"data": {"tls.key": "theirs"}});
    stage.bao.root("POST", "secret/data/demo/client", &theirs);
    let gone = json!({"SecretId": "demo/client"});
    stage.moto.secrets("DeleteSecret", &gone).unwrap();
    let _operator = world.operator();
    stage.in_step(secret, "demo/client", "demo/client").await;

    // What is not named any more stays or goes, as was asked.
    stage.change(json!({"tls": {"export": null}})).await;
    world
        .until("TiKV's copy is deleted", async || {
            stage.in_vault("demo/tikv").is_none() && world.condition("Exported").await.is_none()
        })
        .await;
    assert!(stage.in_vault("demo/client").is_some() && stage.in_aws("demo/client").is_some());
    let status = world.resource().await.status.unwrap();
    assert_eq!(status.exports, []);

    // With the object as well; what was kept is known again.
    stage.change(json!({"tls": {"export": all}})).await;
    world.until_condition("Exported", "True").await;
    let told = serde_json::to_string(&world.resource().await).unwrap();
    assert!(
        !told.contains("do-not-print") && !told.contains(openbao::SECRET),
        "{told}"
    );
    let resources: Api<TikvSecurity> = world.api();
    let params = DeleteParams::default();
    resources.delete("demo", &params).await.unwrap();
    world
        .until("the object is gone", async || {
            resources.get_opt("demo").await.unwrap().is_none()
        })
        .await;
    assert!(stage.in_vault("demo/tikv").is_none() && stage.in_vault("demo/client").is_some());
}

fn client(export: &Value) -> TikvClientCertificate {
    let object = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate", "metadata": {"name": "orders"},
        "spec": {"securityRef": {"name": "demo"}, "duration": "24h", "export": export},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_somebody_elses_is_refused_and_so_is_a_borrowed_identity() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let world = &stage.world;
    let theirs = json!({"data": {"password": "theirs"}});
    stage.bao.root("POST", "secret/data/taken", &theirs);
    let exports = json!([stage.vault("taken", "Delete"), stage.aws("fine", "Retain")]);
    stage.secure(exports).await;
    let _operator = world.operator();
    let told = world.until_reason("Exported", "ExportForeign").await;
    assert!(told.contains("vault secret/taken at https://"), "{told}");
    assert!(
        told.contains("security.tikv.org/owner=TikvSecurity/"),
        "{told}"
    );
    world.until_condition("Ready", "True").await;
    world
        .until("the other copy is made", async || {
            stage.in_aws("fine").is_some()
        })
        .await;
    assert_eq!(stage.in_vault("taken").unwrap()["password"], "theirs");

    let clients: Api<TikvClientCertificate> = world.api();
    let mut borrowed = stage.vault("orders", "Delete");
    borrowed["vault"]["auth"] = json!({"kubernetes": {"role": "operator"}});
    let mut ambient = stage.aws("orders", "Delete");
    ambient["awsSecretsManager"]["credentialsSecret"].take();
    for wrong in [borrowed, ambient] {
        let wrong = client(&json!([wrong]));
        let refused = clients.create(&PostParams::default(), &wrong).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("lent to nobody"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_a_client_follow_it_and_go_with_it() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let world = &stage.world;
    stage.secure(json!([])).await;
    let _operator = world.operator();
    world.until_condition("Ready", "True").await;
    let clients: Api<TikvClientCertificate> = world.api();
    let both = json!([
        stage.vault("orders", "Delete"),
        stage.aws("orders", "Delete")
    ]);
    let wanted = client(&both);
    clients
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    world
        .until("the client has its certificate", async || {
            let found: Option<Secret> = world.api().get_opt("orders").await.unwrap();
            found.is_some()
        })
        .await;
    let first = stage.in_step("orders", "orders", "orders").await;
    let longer = Patch::Merge(json!({"spec": {"dnsNames": ["orders.example"]}}));
    let params = PatchParams::default();
    clients.patch("orders", &params, &longer).await.unwrap();
    world
        .until("the client has another certificate", async || {
            stage.held("orders").await != first
        })
        .await;
    stage.in_step("orders", "orders", "orders").await;
    world
        .until("the client's status tells it", async || {
            let status = clients.get("orders").await.unwrap().status.unwrap();
            let serial = status.serial.clone();
            let copies = status.exports.iter();
            status
                .conditions
                .iter()
                .any(|one| one.type_ == "Exported" && one.status == "True")
                && copies.clone().count() == 2
                && copies
                    .clone()
                    .all(|one| one.current && one.serial == serial)
        })
        .await;

    // Revoked: nobody is to go on with it.
    let revoked = Patch::Merge(json!({"spec": {"revoked": "KeyCompromise"}}));
    clients.patch("orders", &params, &revoked).await.unwrap();
    let none = async || stage.in_vault("orders").is_none() && stage.in_aws("orders").is_none();
    world
        .until("the copies of what is revoked are gone", none)
        .await;
    let again = Patch::Merge(json!({"spec": {"revoked": null}}));
    clients.patch("orders", &params, &again).await.unwrap();
    world
        .until("a new certificate is there", async || {
            stage.in_vault("orders").is_some()
        })
        .await;
    stage.in_step("orders", "orders", "orders").await;
    let gone = DeleteParams::default();
    clients.delete("orders", &gone).await.unwrap();
    world
        .until("the object and its copies are gone", async || {
            clients.get_opt("orders").await.unwrap().is_none() && none().await
        })
        .await;
}
