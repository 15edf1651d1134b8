//! One namespace with a TiKV cluster in it, and the operator beside.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, CustomResourceExt as _, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::{
    TikvClientCertificate, TikvSecurity, TikvSecurityPolicy, TikvVolume,
};
use tikv_security::operator::run::{Options, run_until};
use tikv_security::tls::parse::{CertificateInfo, parse_all};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::apiserver::ApiServer;
use super::calls::{Calls, counted};
use super::namespace;
use super::node::{Agents, Node};
use super::pd::Pd;

/// A namespace with PD and TiKV, and everything that plays them.
pub struct World {
    /// Administrator's client, not counted.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    /// What PD knows.
    pub pd: Arc<Mutex<Pd>>,
    /// What agents say, by pod, on top of what they say when all is well.
    pub agents: Agents,
    /// Calls of the operator.
    pub calls: Arc<Calls>,
    node: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.node.abort();
    }
}

/// A running operator; stops at once when dropped, wherever it is.
pub struct Operator(JoinHandle<()>);

impl Drop for Operator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    /// The cluster of the e2e manifests, with so many TiKV and PD pods.
    pub async fn new(replicas: i32) -> Self {
        let (client, namespace) = namespace(ApiServer::shared().config()).await;
        crds(&client).await;
        for file in ["pd.yaml", "tikv.yaml"] {
            deploy(&client, &namespace, file, replicas).await;
        }
        let pd = Arc::new(Mutex::new(Pd {
            down_time: "30m0s".to_owned(),
            ..Pd::default()
        }));
        let agents = Agents::default();
        let node = Node::start(client.clone(), &namespace, pd.clone(), agents.clone());
        let world = Self {
            client,
            namespace,
            pd,
            agents,
            calls: Arc::default(),
            node,
        };
        let all = usize::try_from(2 * replicas).unwrap();
        world
            .until("all pods have an address", async || {
                let pods = world
                    .api::<Pod>()
                    .list(&ListParams::default())
                    .await
                    .unwrap();
                let ready = pods.iter().filter(|pod| {
                    pod.status
                        .as_ref()
                        .is_some_and(|status| status.pod_ip.is_some())
                });
                ready.count() == all
            })
            .await;
        world
    }

    /// The API of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The certificates under a key of a Secret.
    pub async fn certificates(&self, secret: &str, key: &str) -> Vec<CertificateInfo> {
        let secret = self.api::<Secret>().get(secret).await.unwrap();
        parse_all(&secret.data.unwrap()[key].0).unwrap()
    }

    /// A Secret as a person writes it, again and again.
    pub async fn write_secret(&self, name: &str, data: Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        });
        let params = PatchParams::apply("kim").force();
        let patch = Patch::Apply(&secret);
        let written = self.api::<Secret>().patch(name, &params, &patch).await;
        written.unwrap();
    }

    /// How an operator for this namespace is started.
    pub fn options(&self) -> Options {
        Options {
            namespaces: vec![self.namespace.clone()],
            client_namespaces: Vec::new(),
            agent_image: "registry.test/tikv-security:test".to_owned(),
            ignore_policies: false,
            account: None,
            health: "127.0.0.1:0".parse().unwrap(),
            revocation: None,
            concurrency: 2,
            lease: None,
        }
    }

    /// Starts an operator for this namespace; its mutating calls are counted, and may be cut.
    pub fn operator(&self) -> Operator {
        self.operator_as(ApiServer::shared().config(), self.options())
    }

    /// As `operator`, as whom and how the caller wants.
    pub fn operator_as(&self, config: Config, options: Options) -> Operator {
        let client = counted(config, self.calls.clone());
        Operator(tokio::spawn(async move {
            let never = std::future::pending();
            run_until(client, options, never).await.unwrap();
        }))
    }

    /// Makes the `TikvSecurity` called `demo`.
    pub async fn secure(&self, mut spec: Value) -> TikvSecurity {
        let cluster = json!({
            "tikv": {"statefulSet": {"name": "demo-tikv"}},
            "pd": {"statefulSet": {"name": "demo-pd"}},
        });
        if spec["cluster"].is_null() {
            spec["cluster"] = cluster;
        }
        let object = json!({
            "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity",
            "metadata": {"name": "demo"}, "spec": spec,
        });
        let object: TikvSecurity = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Asks for TLS and for encryption under a master key in a Secret, which is made.
    pub async fn secure_all(&self) {
        let key = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "master-key"},
            "stringData": {"key": format!("{}\n", "5a".repeat(32))},
        });
        let key: Secret = serde_json::from_value(key).unwrap();
        self.api()
            .create(&PostParams::default(), &key)
            .await
            .unwrap();
        self.secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}},
            "encryption": {
                "method": "aes256-ctr",
                "masterKey": {"file": {"secret": {"name": "master-key", "key": "key"}}},
            },
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    }

    /// The `TikvSecurity` as it is.
    pub async fn resource(&self) -> TikvSecurity {
        self.api().get("demo").await.unwrap()
    }

    /// `True`, `False` or `Unknown`, and the reason, of a condition.
    pub async fn condition(&self, kind: &str) -> Option<(String, String)> {
        let status = self.resource().await.status?;
        let found = status
            .conditions
            .into_iter()
            .find(|one| one.type_ == kind)?;
        Some((found.status, found.reason))
    }

    /// The message of a condition.
    pub async fn message(&self, kind: &str) -> String {
        let status = self.resource().await.status.unwrap_or_default();
        let found = status.conditions.into_iter().find(|one| one.type_ == kind);
        found.map(|one| one.message).unwrap_or_default()
    }

    /// Waits until a condition has this reason; its message.
    pub async fn until_reason(&self, kind: &str, reason: &str) -> String {
        self.until(&format!("{kind} has the reason {reason}"), async || {
            self.condition(kind)
                .await
                .is_some_and(|(_, found)| found == reason)
        })
        .await;
        self.message(kind).await
    }

    /// Waits until a condition has this status.
    pub async fn until_condition(&self, kind: &str, status: &str) {
        self.until(&format!("{kind} is {status}"), async || {
            self.condition(kind)
                .await
                .is_some_and(|(found, _)| found == status)
        })
        .await;
    }

    /// Waits, patiently but not for ever; then shows where things stand.
    pub async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let patience = Duration::from_mins(2);
        let waiting = async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(patience, waiting).await.is_err() {
            let resource = self.api::<TikvSecurity>().get_opt("demo").await.unwrap();
            let status = resource.and_then(|one| one.status);
            let status = serde_json::to_string_pretty(&status).unwrap();
            panic!(
                "not within {patience:?}: {what}\nstatus: {status}\ncalls: {:#?}",
                self.calls
            );
        }
    }

    /// Waits until the operator has not written for some seconds.
    pub async fn quiet(&self) {
        let calm = Duration::from_secs(5);
        let mut seen = (self.calls.count(), Instant::now());
        self.until("the operator stops writing", async || {
            let count = self.calls.count();
            if count != seen.0 {
                seen = (count, Instant::now());
            }
            seen.1.elapsed() > calm
        })
        .await;
    }

    /// UIDs of the TiKV and PD pods by name.
    pub async fn pod_uids(&self) -> Vec<(String, String)> {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let uids = pods.iter().map(|pod| (pod.name_any(), pod.uid().unwrap()));
        uids.collect()
    }
}

/// Makes a definition, and waits until the API server serves what it defines.
pub async fn define(api: &Api<CustomResourceDefinition>, crd: &CustomResourceDefinition) {
    let name = crd.name_any();
    let params = PatchParams::apply("test").force();
    api.patch(&name, &params, &Patch::Apply(crd)).await.unwrap();
    await_condition(api.clone(), &name, conditions::is_crd_established())
        .await
        .unwrap();
}

async fn crds(client: &Client) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(async || {
        let api = Api::<CustomResourceDefinition>::all(client.clone());
        for crd in [
            TikvSecurity::crd(),
            TikvClientCertificate::crd(),
            TikvSecurityPolicy::crd(),
            TikvVolume::crd(),
        ] {
            define(&api, &crd).await;
        }
    })
    .await;
}

async fn deploy(client: &Client, namespace: &str, file: &str, replicas: i32) {
    let text = std::fs::read_to_string(Path::new("e2e/manifests").join(file)).unwrap();
    let params = PostParams::default();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).unwrap();
        match value["kind"].as_str().unwrap() {
            "ConfigMap" => {
                let map: ConfigMap = serde_json::from_value(value).unwrap();
                let api = Api::namespaced(client.clone(), namespace);
                api.create(&params, &map).await.unwrap();
            }
            "StatefulSet" => {
                let mut set: StatefulSet = serde_json::from_value(value).unwrap();
                set.spec.as_mut().unwrap().replicas = Some(replicas);
                let api = Api::namespaced(client.clone(), namespace);
                api.create(&params, &set).await.unwrap();
            }
            _ => {}
        }
    }
}
