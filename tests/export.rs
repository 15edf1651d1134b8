//! One contract for all places that certificates are copied to, on real services: OpenBao's KV engine and moto's Secrets Manager.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod moto;
#[allow(dead_code)]
mod openbao;

use std::sync::Arc;

use moto::Moto;
use openbao::OpenBao;
use serde_json::{Value, json};
use tikv_security::export::{
    Content, ExportClass, Found, KvEngine, MARK, SecretsManager, Step, Target, step,
};
use tikv_security::kms::aws::StaticCredentials;
use tikv_security::kms::vault::{Auth, Connection, VaultClient};

const MINE: &str = "TikvSecurity/tikv/basic/4b5a";

/// A service, as somebody else uses it.
trait Others {
    fn target(&self, name: &str) -> Arc<dyn Target>;
    /// Writes; the secret is made where there is none.
    fn put(&self, name: &str, content: &Value);
    /// What a consumer reads.
    fn get(&self, name: &str) -> Option<Value>;
    fn delete(&self, name: &str);
    fn mark(&self, name: &str, mark: &str);
}

impl Others for OpenBao {
    fn target(&self, name: &str) -> Arc<dyn Target> {
        Arc::new(engine(
            self,
            Self::app_role("operator", openbao::SECRET),
            "secret",
            name,
        ))
    }

    fn put(&self, name: &str, content: &Value) {
        self.root(
            "POST",
            &format!("secret/data/{name}"),
            &json!({"data": content}),
        );
    }

    fn get(&self, name: &str) -> Option<Value> {
        let token = self.root_token();
        let headers = [("x-vault-token", token)];
        let path = format!("/v1/secret/data/{name}");
        let (status, body) = self.exchange("GET", &path, &headers, b"");
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status == 200).then(|| body["data"]["data"].clone())
    }

    fn delete(&self, name: &str) {
        self.root("DELETE", &format!("secret/data/{name}"), &json!({}));
    }

    fn mark(&self, name: &str, mark: &str) {
        let mark = json!({"custom_metadata": {MARK: mark}});
        self.root("POST", &format!("secret/metadata/{name}"), &mark);
    }
}

impl Others for Moto {
    fn target(&self, name: &str) -> Arc<dyn Target> {
        Arc::new(SecretsManager {
            place: format!("awsSecretsManager {name} in eu-central-1"),
            secret: name.to_owned(),
            region: "eu-central-1".to_owned(),
            kms_key_id: None,
            endpoint: Some(self.endpoint.clone()),
            credentials: Some(StaticCredentials::new("id", "do-not-print", None)),
        })
    }

    fn put(&self, name: &str, content: &Value) {
        let text = content.to_string();
        let value = json!({"SecretId": name, "SecretString": text});
        if self.secrets("PutSecretValue", &value).is_err() {
            let made = json!({"Name": name, "SecretString": text});
            self.secrets("CreateSecret", &made).unwrap();
        }
    }

    fn get(&self, name: &str) -> Option<Value> {
        let told = self
            .secrets("GetSecretValue", &json!({"SecretId": name}))
            .ok()?;
        let told: Value = serde_json::from_str(&told).unwrap();
        serde_json::from_str(told["SecretString"].as_str().unwrap()).ok()
    }

    fn delete(&self, name: &str) {
        self.secrets("DeleteSecret", &json!({"SecretId": name}))
            .unwrap();
    }

    fn mark(&self, name: &str, mark: &str) {
        let tags = json!({"SecretId": name, "Tags": [{"Key": MARK, "Value": mark}]});
        self.secrets("TagResource", &tags).unwrap();
    }
}

fn engine(server: &OpenBao, auth: Auth, mount: &str, path: &str) -> KvEngine {
    let client = VaultClient::new(Connection {
        address: server.address(),
        ca: Some(server.trusted()),
        namespace: None,
        auth,
    });
    KvEngine::new(
        format!("vault {mount}/{path}"),
        Arc::new(client),
        mount,
        path,
    )
}

fn kv(server: &OpenBao) {
    server.root(
        "POST",
        "sys/mounts/secret",
        &json!({"type": "kv", "options": {"version": "2"}}),
    );
    server.policy(
        "operator",
        r#"
path "secret/data/tikv/*"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/tikv/*" { capabilities = ["create", "read", "update", "delete"] }
"#,
    );
}

fn content(number: u8) -> (Content, Value) {
    let [ca, certificate, key] =
        ["ca", "certificate", "key"].map(|part| format!("{part} {number}\n"));
    let made = Content::new(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap();
    let read = json!({"ca.crt": ca, "tls.crt": certificate, "tls.key": key});
    (made, read)
}

/// What was found, what that means, and the same done.
async fn carried_out(target: &dyn Target, wanted: Option<&Content>) -> Step {
    let found = target.look(wanted, MINE).await.unwrap();
    let step = step(&found, wanted.is_some());
    match step {
        Step::Create | Step::Replace => target.write(wanted.unwrap(), MINE, &found).await.unwrap(),
        Step::Mark => target.mark(MINE, &found).await.unwrap(),
        Step::Delete => target.delete().await.unwrap(),
        Step::Rest | Step::Refuse => {}
    }
    step
}

async fn contract(service: &dyn Others) {
    let (one, read_one) = content(1);
    let (two, read_two) = content(2);
    let name = "tikv/basic/client";
    let target = service.target(name);
    let target = &*target;
    assert_eq!(carried_out(target, None).await, Step::Rest);
    assert_eq!(carried_out(target, Some(&one)).await, Step::Create);
    assert_eq!(service.get(name).unwrap(), read_one);
    assert_eq!(carried_out(target, Some(&one)).await, Step::Rest);
    assert_eq!(carried_out(target, Some(&two)).await, Step::Replace);
    assert_eq!(service.get(name).unwrap(), read_two);

    // Somebody changes it, or adds to it, or deletes it.
    service.put(name, &json!({"tls.key": "theirs"}));
    assert_eq!(carried_out(target, Some(&two)).await, Step::Replace);
    let mut more = read_two.clone();
    more["more"] = json!("of theirs");
    service.put(name, &more);
    assert_eq!(carried_out(target, Some(&two)).await, Step::Replace);
    service.delete(name);
    assert_eq!(service.get(name), None);
    assert_eq!(carried_out(target, Some(&two)).await, Step::Replace);
    assert_eq!(service.get(name).unwrap(), read_two);
    assert_eq!(carried_out(target, Some(&two)).await, Step::Rest);
    assert_eq!(carried_out(target, None).await, Step::Delete);
    assert_eq!(service.get(name), None);
    assert_eq!(carried_out(target, None).await, Step::Rest);

    // Somebody else's, without a mark and with another.
    let name = "tikv/theirs";
    let target = service.target(name);
    let target = &*target;
    service.put(name, &json!({"password": "theirs"}));
    assert_eq!(carried_out(target, Some(&one)).await, Step::Refuse);
    assert_eq!(carried_out(target, None).await, Step::Rest);
    service.mark(name, "TikvSecurity/tikv/other/77aa");
    let found = target.look(Some(&one), MINE).await.unwrap();
    let whose = Found::Foreign("TikvSecurity/tikv/other/77aa".to_owned());
    assert_eq!(found, whose);
    assert_eq!(carried_out(target, None).await, Step::Rest);
    assert_eq!(service.get(name).unwrap(), json!({"password": "theirs"}));
    // Until they say that it may be taken.
    service.mark(name, MINE);
    assert_eq!(carried_out(target, Some(&one)).await, Step::Replace);

    // A run that was cut off between content and mark.
    let name = "tikv/cut-off";
    let target = service.target(name);
    service.put(name, &read_one);
    assert_eq!(carried_out(&*target, Some(&one)).await, Step::Mark);
    assert_eq!(carried_out(&*target, Some(&two)).await, Step::Replace);
    assert_eq!(service.get(name).unwrap(), read_two);
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_contract_and_tells_failures_apart() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    kv(&server);
    contract(&server).await;
    let (one, read_one) = content(1);

    // What a person prepared keeps its rules and its other words.
    let rules = json!({"max_versions": 2, "custom_metadata": {"team": "storage"}});
    server.root("POST", "secret/metadata/tikv/prepared", &rules);
    let prepared = server.target("tikv/prepared");
    assert_eq!(carried_out(&*prepared, Some(&one)).await, Step::Create);
    let told = server.root("GET", "secret/metadata/tikv/prepared", &json!({}));
    assert_eq!(told["data"]["max_versions"], 2);
    assert_eq!(told["data"]["custom_metadata"]["team"], "storage");
    assert_eq!(told["data"]["custom_metadata"][MARK], MINE);

    // Written by somebody between the look and the write: nothing of theirs is lost.
    let raced = server.target("tikv/raced");
    let found = raced.look(Some(&one), MINE).await.unwrap();
    server.put("tikv/raced", &json!({"password": "theirs"}));
    let error = raced.write(&one, MINE, &found).await.unwrap_err();
    assert_eq!(error.class, ExportClass::Unavailable, "{error}");
    assert_eq!(server.get("tikv/raced").unwrap()["password"], "theirs");

    let refused = |auth: Auth, mount: &str, path: &str| {
        let target = engine(&server, auth, mount, path);
        let content = content(1).0;
        async move {
            let error = target.look(Some(&content), MINE).await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(!told.contains("do-not-print"), "{told}");
            assert!(!error.remedy.is_empty());
            println!("{error} [{}]", error.remedy);
            error.class
        }
    };
    let good = || OpenBao::app_role("operator", openbao::SECRET);
    server.root(
        "POST",
        "sys/mounts/old",
        &json!({"type": "kv", "options": {"version": "1"}}),
    );
    server.policy(
        "operator",
        r#"
path "old/*"    { capabilities = ["create", "read", "update"] }
path "secret/*" { capabilities = ["create", "read", "update"] }
path "transit/*" { capabilities = ["read"] }
"#,
    );
    assert_eq!(
        refused(good(), "old", "tikv/x").await,
        ExportClass::Malformed
    );
    assert_eq!(
        refused(good(), "transit", "tikv/x").await,
        ExportClass::Malformed
    );
    assert_eq!(
        refused(good(), "nowhere", "tikv/x").await,
        ExportClass::Denied
    );
    assert_eq!(
        refused(good(), "secret", "a/../b").await,
        ExportClass::Malformed
    );
    let wrong = OpenBao::app_role("operator", "do-not-print");
    assert_eq!(
        refused(wrong, "secret", "tikv/x").await,
        ExportClass::Denied
    );
    server.policy("operator", openbao::NOTHING);
    assert_eq!(
        refused(good(), "secret", "tikv/x").await,
        ExportClass::Denied
    );
    server.seal();
    assert_eq!(
        refused(good(), "secret", "tikv/x").await,
        ExportClass::Unavailable
    );
    server.unseal();
    assert_eq!(server.get("tikv/prepared").unwrap(), read_one);
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keeps_the_contract() {
    let Some(server) = Moto::start() else { return };
    contract(&server).await;
    let key = server.new_key("{}");
    let target = SecretsManager {
        place: "awsSecretsManager tikv/with-key in eu-central-1".to_owned(),
        secret: "tikv/with-key".to_owned(),
        region: "eu-central-1".to_owned(),
        kms_key_id: Some(key.clone()),
        endpoint: Some(server.endpoint.clone()),
        credentials: Some(StaticCredentials::new("id", "do-not-print", None)),
    };
    let (one, _) = content(1);
    assert_eq!(carried_out(&target, Some(&one)).await, Step::Create);
    let told = json!({"SecretId": "tikv/with-key"});
    let told = server.secrets("DescribeSecret", &told).unwrap();
    assert!(told.contains(&key), "{told}");
    assert!(!format!("{target:?}").contains("do-not-print"));

    let nowhere = SecretsManager {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..target
    };
    let error = nowhere.look(Some(&one), MINE).await.unwrap_err();
    assert_eq!(error.class, ExportClass::Unavailable, "{error}");
}
