//! Plays StatefulSet controller, kubelet, PD, TiKV and agents, with real sockets on loopback addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret, Volume};
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tikv_security::tikv::encryption_config;
use tokio::task::JoinHandle;

use super::pd::Pd;
use super::server::{Handler, Identity, mutual, serve};

const TICK: Duration = Duration::from_millis(100);

/// The machine room of one namespace.
pub struct Node {
    client: Client,
    namespace: String,
    pd: Arc<Mutex<Pd>>,
    agents: Agents,
    pods: BTreeMap<String, Running>,
}

/// What agents say, by pod, on top of what an agent says that has done what was desired.
pub type Agents = Arc<Mutex<BTreeMap<String, Value>>>;

struct Running {
    name: String,
    identities: Vec<(String, String, Identity)>,
    /// The agents' ConfigMap, and what this pod's agent read there last.
    desired: Option<(String, Arc<Mutex<String>>)>,
    servers: Vec<JoinHandle<()>>,
    /// PD reads whom it trusts once, at its start.
    trust: Option<Vec<u8>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

impl Node {
    /// Runs until the handle is aborted.
    pub fn start(
        client: Client,
        namespace: &str,
        pd: Arc<Mutex<Pd>>,
        agents: Agents,
    ) -> JoinHandle<()> {
        let mut node = Self {
            client,
            namespace: namespace.to_owned(),
            pd,
            agents,
            pods: BTreeMap::new(),
        };
        tokio::spawn(async move {
            loop {
                if let Err(error) = node.tick().await {
                    eprintln!("node: {error}");
                }
                tokio::time::sleep(TICK).await;
            }
        })
    }

    async fn tick(&mut self) -> Result<(), kube::Error> {
        let sets = Api::<StatefulSet>::namespaced(self.client.clone(), &self.namespace);
        let all = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pods = all.list(&ListParams::default()).await?.items;
        let alive: Vec<String> = pods.iter().filter_map(kube::ResourceExt::uid).collect();
        self.pods.retain(|uid, _| alive.contains(uid));
        for set in sets.list(&ListParams::default()).await?.items {
            self.control(&sets, &all, &set, &pods).await?;
        }
        for pod in &pods {
            let uid = pod.uid().unwrap();
            if !self.pods.contains_key(&uid) {
                let running = self.run(&all, pod).await?;
                self.pods.insert(uid, running);
            }
        }
        self.publish().await?;
        self.tell_pd(&pods);
        Ok(())
    }

    /// As the StatefulSet controller under `OnDelete`, and as far as it touches pods, under anything else.
    async fn control(
        &self,
        sets: &Api<StatefulSet>,
        all: &Api<Pod>,
        set: &StatefulSet,
        pods: &[Pod],
    ) -> Result<(), kube::Error> {
        let spec = set.spec.as_ref().unwrap();
        let template = serde_json::to_vec(&spec.template).unwrap();
        let digest = Sha256::digest(&template);
        let hash = format!(
            "{:02x}{:02x}{:02x}{:02x}",
            digest[0], digest[1], digest[2], digest[3]
        );
        let revision = format!("{}-{hash}", set.name_any());
        let wanted = spec.replicas.unwrap_or(1);
        let status = json!({"status": {
            "replicas": wanted, "readyReplicas": wanted, "updateRevision": revision,
            "observedGeneration": set.metadata.generation,
        }});
        let told = set.status.as_ref().is_some_and(|status| {
            status.update_revision.as_ref() == Some(&revision)
                && status.observed_generation == set.metadata.generation
        });
        if !told {
            sets.patch_status(
                &set.name_any(),
                &PatchParams::default(),
                &Patch::Merge(status),
            )
            .await?;
        }
        for ordinal in 0..wanted {
            let name = format!("{}-{ordinal}", set.name_any());
            if pods.iter().any(|pod| pod.name_any() == name) {
                continue;
            }
            let template = spec.template.clone();
            let mut labels = template
                .metadata
                .unwrap_or_default()
                .labels
                .unwrap_or_default();
            labels.insert("controller-revision-hash".to_owned(), revision.clone());
            let mut pod_spec = template.spec.unwrap();
            pod_spec.hostname = Some(name.clone());
            pod_spec.subdomain = spec.service_name.clone();
            for claim in spec.volume_claim_templates.iter().flatten() {
                let claim = claim.name_any();
                let volume = json!({"name": claim, "persistentVolumeClaim": {
                    "claimName": format!("{claim}-{name}"),
                }});
                let volume: Volume = serde_json::from_value(volume).unwrap();
                pod_spec.volumes.get_or_insert_default().push(volume);
            }
            let pod = Pod {
                metadata: ObjectMeta {
                    name: Some(name),
                    labels: Some(labels),
                    owner_references: set.controller_owner_ref(&()).map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(pod_spec),
                ..Pod::default()
            };
            match all.create(&PostParams::default(), &pod).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                made => drop(made?),
            }
        }
        Ok(())
    }

    /// As kubelet: an address, the servers, the status.
    async fn run(&self, all: &Api<Pod>, pod: &Pod) -> Result<Running, kube::Error> {
        let (name, spec) = (pod.name_any(), pod.spec.as_ref().unwrap());
        let address = fresh_address();
        let mut running = Running {
            name: name.clone(),
            identities: Vec::new(),
            desired: None,
            servers: Vec::new(),
            trust: None,
        };
        let pd = self.pd.clone();
        let (mut identities, mut servers) = (Vec::new(), Vec::new());
        let mut listen = |port: u16, suffix: &str, handler: Handler| {
            let identity = Identity::default();
            if let Some(secret) = secret_with(spec, suffix) {
                identities.push((secret, String::new(), identity.clone()));
            }
            servers.push(serve(SocketAddr::new(address, port), identity, handler));
        };
        if is_pd(&name) {
            let answers = pd.clone();
            let handler: Handler = Arc::new(move |call, body| Pd::answer(&answers, call, body));
            listen(2379, "-pd-tls", handler.clone());
            listen(2380, "-pd-tls", handler);
        } else {
            let (known, me) = (pd.clone(), name.clone());
            let handler: Handler = Arc::new(move |call, _| match call {
                "GET /metrics" => {
                    let leaders = known.lock().unwrap().leaders(&me);
                    let metric = "tikv_raftstore_region_count{type=\"leader\"}";
                    (200, format!("{metric} {leaders}\n"))
                }
                "GET /status" => (200, String::new()),
                _ => (404, String::new()),
            });
            listen(20160, "-tikv-tls", handler.clone());
            listen(20180, "-tikv-tls", handler);
            if let Some(config) = desired_config(spec) {
                let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
                let desired = maps.get(&config).await?.data.unwrap_or_default();
                let desired = desired["desired.json"].clone();
                // An agent reads what is desired again and again, but works only when its pod starts.
                let latest = Arc::new(Mutex::new(desired.clone()));
                running.desired = Some((config, latest.clone()));
                let (said, me) = (self.agents.clone(), name.clone());
                let key_dict = key_dict(&maps, spec).await?;
                listen(
                    20190,
                    "-agent-tls",
                    Arc::new(move |call, _| match call {
                        "GET /v1/status" => {
                            let mut report = report(&desired, &latest.lock().unwrap());
                            report["keyDict"] = key_dict.clone();
                            if let Some(Value::Object(said)) = said.lock().unwrap().get(&me) {
                                for (key, value) in said {
                                    report[key] = value.clone();
                                }
                            }
                            (200, report.to_string())
                        }
                        _ => (404, String::new()),
                    }),
                );
            }
        }
        (running.identities, running.servers) = (identities, servers);
        let now = Timestamp::now().to_string();
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": now},
                {"type": "ContainersReady", "status": "True", "lastTransitionTime": now},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
                {"type": "Initialized", "status": "True", "lastTransitionTime": now},
            ],
        }});
        all.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(running)
    }

    /// As kubelet and the reload rules: what is in the Secret is what is served.
    async fn publish(&mut self) -> Result<(), kube::Error> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        for running in self.pods.values_mut() {
            if let Some((name, latest)) = &running.desired
                && let Some(map) = maps.get_opt(name).await?
            {
                latest
                    .lock()
                    .unwrap()
                    .clone_from(&map.data.unwrap_or_default()["desired.json"]);
            }
            for (name, seen, identity) in &mut running.identities {
                let Some(secret) = secrets.get_opt(name).await? else {
                    continue;
                };
                let version = secret.resource_version().unwrap();
                if *seen != version {
                    if is_pd(&running.name) && running.trust.is_none() {
                        let data = secret.data.as_ref().unwrap();
                        running.trust = Some(data["ca.crt"].0.clone());
                    }
                    let set = mutual(&secret, running.trust.as_deref());
                    *identity.lock().unwrap() = Some(set);
                    *seen = version;
                }
            }
        }
        Ok(())
    }

    fn tell_pd(&self, pods: &[Pod]) {
        let mut pd = self.pd.lock().unwrap();
        pd.stores.clear();
        pd.members.clear();
        for pod in pods {
            let Some(running) = self.pods.get(&pod.uid().unwrap()) else {
                continue;
            };
            let service = pod
                .spec
                .as_ref()
                .unwrap()
                .subdomain
                .clone()
                .unwrap_or_default();
            let host = format!("{}.{service}.{}.svc", running.name, self.namespace);
            if is_pd(&running.name) {
                let url = format!("http://{host}:2380");
                pd.peer_urls.entry(running.name.clone()).or_insert(url);
                pd.members.insert(running.name.clone());
            } else {
                let started = pod.creation_timestamp().unwrap().0;
                pd.initialized = true;
                pd.stores
                    .insert(running.name.clone(), (format!("{host}:20160"), started));
            }
        }
    }
}

fn is_pd(pod: &str) -> bool {
    pod.contains("-pd-")
}

fn secret_with(spec: &PodSpec, suffix: &str) -> Option<String> {
    let mut volumes = spec.volumes.iter().flatten();
    volumes.find_map(|volume| {
        let name = volume.secret.as_ref()?.secret_name.clone()?;
        name.ends_with(suffix).then_some(name)
    })
}

/// The agents' ConfigMap, where the pod has an agent.
fn desired_config(spec: &PodSpec) -> Option<String> {
    let mut containers = spec.init_containers.iter().flatten();
    containers.find(|container| container.name == "tikv-security-agent")?;
    let mut volumes = spec.volumes.iter().flatten();
    volumes.find_map(|volume| {
        let name = volume.config_map.as_ref()?.name.clone();
        name.ends_with("-agent").then_some(name)
    })
}

/// What an agent says of `key.dict`: it has sealed it under the master key of the configuration that its pod mounts.
async fn key_dict(maps: &Api<ConfigMap>, spec: &PodSpec) -> Result<Value, kube::Error> {
    let mounted = spec.volumes.iter().flatten();
    for source in mounted.filter_map(|volume| volume.config_map.as_ref()) {
        let map = maps.get_opt(&source.name).await?;
        let texts = map.and_then(|map| map.data).unwrap_or_default();
        let mut parsed = texts
            .iter()
            .filter(|(key, _)| key.ends_with(".toml"))
            .filter_map(|(_, text)| encryption_config::parse(text).ok());
        if let Some(config) = parsed.next() {
            return Ok(json!({"under": config.master_key.name()}));
        }
    }
    Ok(Value::Null)
}

/// What an agent says that has done what was desired when its pod started, and is asked for `latest` now.
fn report(done: &str, latest: &str) -> Value {
    let [done, latest]: [Value; 2] = [done, latest].map(|text| serde_json::from_str(text).unwrap());
    let encrypts = done["method"] != "plaintext";
    let bytes = |wanted: bool| if wanted { 4096 } else { 0 };
    let same = |key: &str| done[key] == latest[key];
    json!({
        "version": "0.1.0", "dataDir": "/var/lib/tikv", "desiredGeneration": latest["generation"],
        "phase": "Watching", "gateOpen": true, "journalOpen": false,
        "satisfied": same("method") && same("dataKeyNotBefore"),
        "coverage": {
            "files": 3, "bytes": 4096, "encryptedBytes": bytes(encrypts),
            "plaintextBytes": bytes(!encrypts), "byKey": [],
        },
        "measuredAt": Timestamp::now().to_string(),
    })
}

/// An address of 127.0.0.0/8 that no other pod of this process or a neighbouring one has.
pub fn fresh_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let block = 16 + u8::try_from(std::process::id() % 200).unwrap();
    IpAddr::from(Ipv4Addr::new(127, block, high, low))
}
