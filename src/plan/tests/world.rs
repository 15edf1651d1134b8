//! The small world.

mod agents;
mod issuers;
mod sql;
mod trust;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::ANNOTATION_APPLIED;
use crate::api::key_dict::{KeyDictReport, MasterKeyName};
use crate::api::report::{
    AgentPhase, AgentReport, Coverage, Finding, KeyCheck, Progress, VerificationReport,
};
use crate::api::v1alpha1::MasterKey;
use crate::plan::action::{Action, Plan};
use crate::plan::names::{Part, VOLUME_TLS};
use crate::plan::observed::*;
use crate::plan::revocation::record::Stored;
use crate::plan::{keys, merge, plan};
use crate::tikv::encryption_config::{self, MasterKeyConfig};
use crate::tikv::pd::Task;
use crate::tikv::pd::types::{Member, Store, StoreState};
use crate::tls::parse::CertificateInfo;

#[derive(Clone)]
pub struct World {
    pub seen: Observed,
    pub now: Timestamp,
    pub serial: u32,
    pub uid: u32,
    /// Everything done, by name and object.
    pub log: Vec<String>,
    /// Most stores that were away at once, outside the switch to TLS.
    pub most_away: usize,
    pub agents_fail: bool,
    /// Runs still to come that end before everything is done, without an error.
    pub short_runs: usize,
    /// Whether the run of a pod was one of these, by its UID.
    pub short: BTreeMap<String, bool>,
    /// What an agent can not measure for, by pod: it answers nothing new while it says this.
    pub says: BTreeMap<String, Finding>,
    /// What each store's `key.dict` is under, and the key of the KMS's making.
    pub sealed: BTreeMap<String, (MasterKeyName, String)>,
    /// Master keys that can not be used, by their text.
    pub lost: BTreeSet<String>,
    /// What agents say of the master key, by pod.
    pub keys: BTreeMap<String, KeyCheck>,
    /// What agents have verified, by pod.
    pub verified: BTreeMap<String, VerificationReport>,
    /// What each process has of its certificates, by UID of its pod.
    pub processes: BTreeMap<(String, Part), trust::Process>,
    /// Ways between stores, by UID of the pod at one end and name of that at the other.
    pub channels: BTreeMap<(String, String), trust::Channel>,
    /// Pods whose files do not follow their Secrets.
    pub stuck: BTreeSet<String>,
    /// Whether channels that were opened before may be refused.
    pub emergency: bool,
    /// Whether somebody has TiDB read the certificate of its MySQL port anew each time (`ALTER INSTANCE RELOAD TLS`).
    pub reloads: bool,
    /// Serial number of the CA before, while something that it signed is kept for trials.
    pub former: Option<String>,
}

#[allow(clippy::needless_pass_by_value)]
pub fn resource(spec: Value) -> Value {
    json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity",
        "metadata": {"name": "db", "namespace": "prod", "uid": "u-db", "generation": 1},
        "spec": spec,
    })
}

pub fn spec() -> Value {
    json!({
        "environment": "production",
        "cluster": {"tikv": {"statefulSet": {"name": "tikv"}}, "pd": {"statefulSet": {"name": "pd"}}},
        "tls": {"issuer": {"selfSigned": {}}},
        "encryption": {"method": "aes256-ctr", "masterKey": {"awsKms": {"keyId": "alias/k", "region": "eu-1", "credentialsSecret": {"name": "aws"}}}},
        "rollout": {"allowDowntime": true, "settle": "60s"},
    })
}

fn workload(part: &str, args: &Value, port: u16) -> StatefulSet {
    serde_json::from_value(json!({
        "metadata": {"name": part, "namespace": "prod", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "serviceName": format!("{part}-peer"), "replicas": 3, "selector": {},
            "template": {"spec": {
                "containers": [{
                    "name": part, "image": part, "args": args,
                    "readinessProbe": {"httpGet": {"path": "/status", "port": port}, "periodSeconds": 5},
                    "volumeMounts": [{"name": "config", "mountPath": format!("/etc/{part}")}, {"name": "data", "mountPath": format!("/var/lib/{part}")}],
                }],
                "volumes": [{"name": "config", "configMap": {"name": format!("{part}-config")}}],
            }},
        },
    }))
    .unwrap()
}

fn map(name: &str, key: &str, text: &str) -> ConfigMap {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "prod", "uid": name}, "data": {key: text}}),
    )
    .unwrap()
}

impl World {
    pub fn new(spec: Value, live: bool) -> Self {
        let tikv = workload(
            "tikv",
            &json!([
                "--addr=0.0.0.0:20160",
                "--advertise-addr=$(POD).tikv-peer.prod.svc:20160",
                "--pd-endpoints=http://pd:2379",
                "--data-dir=/var/lib/tikv",
                "--config=/etc/tikv/tikv.toml"
            ]),
            20180,
        );
        let pd = workload(
            "pd",
            &json!([
                "--name=$(POD)",
                "--client-urls=http://0.0.0.0:2379",
                "--peer-urls=http://0.0.0.0:2380",
                "--advertise-client-urls=http://$(POD).pd-peer.prod.svc:2379",
                "--config=/etc/pd/pd.toml"
            ]),
            2379,
        );
        let facts = |set, map: ConfigMap| WorkloadFacts {
            stateful_set: Some(set),
            config_maps: [(map.metadata.name.clone().unwrap(), map)].into(),
            ..WorkloadFacts::default()
        };
        let mut world = Self {
            seen: Observed::of(
                serde_json::from_value(resource(spec)).unwrap(),
                facts(tikv, map("tikv-config", "tikv.toml", "# mine\n[storage]\n")),
                facts(pd, map("pd-config", "pd.toml", "[replication]\n")),
                "tikv-security:1",
            ),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            serial: 1,
            uid: 1,
            log: Vec::new(),
            most_away: 0,
            agents_fail: false,
            short_runs: 0,
            short: BTreeMap::new(),
            says: BTreeMap::new(),
            sealed: BTreeMap::new(),
            lost: BTreeSet::new(),
            keys: BTreeMap::new(),
            verified: BTreeMap::new(),
            processes: BTreeMap::new(),
            channels: BTreeMap::new(),
            stuck: BTreeSet::new(),
            emergency: false,
            reloads: false,
            former: None,
        };
        if world.has_tidb() {
            world.seen.tidb = sql::facts();
        }
        if live {
            let members = (0..3).map(|n| Member {
                name: format!("pd-{n}"),
                member_id: n,
                peer_urls: vec![format!("http://pd-{n}.pd-peer:2380")],
                ..Member::default()
            });
            world.seen.pd_state = PdState::Reachable(Box::new(PdFacts {
                members: members.collect(),
                healthy: (0..3).map(|n| format!("pd-{n}")).collect(),
                leader: Some("pd-2".into()),
                initialized: true,
                max_store_down_time: Some("30m0s".into()),
                ..PdFacts::default()
            }));
            for _ in 0..4 {
                world.kubernetes();
            }
            world.now += SignedDuration::from_hours(1);
        }
        world
    }

    pub fn pd(&mut self) -> &mut PdFacts {
        match &mut self.seen.pd_state {
            PdState::Reachable(facts) => facts,
            _ => panic!("PD is not reachable"),
        }
    }

    /// One reconcile that dies before its action number `cut`.
    pub fn reconcile(&mut self, cut: Option<usize>) -> Plan {
        self.prove();
        self.try_former_ca();
        self.try_names();
        let plan = plan(&self.seen, self.now);
        // What PD is asked for fails while it is away, and ends the reconcile.
        let away = !matches!(self.seen.pd_state, PdState::Reachable(_));
        let fails = plan
            .actions
            .iter()
            .position(|action| away && asks_pd(action));
        let cut = cut.or(fails).map(|cut| cut.min(fails.unwrap_or(cut)));
        let actions = cut.unwrap_or(plan.actions.len()).min(plan.actions.len());
        if plan.persist_first || cut.is_none() {
            self.seen.resource.status = Some(plan.status.clone());
        }
        for action in &plan.actions[..actions] {
            self.act(action);
        }
        if cut.is_none() {
            self.seen.volumes = plan
                .volumes
                .iter()
                .map(|one| (one.metadata.name.clone().unwrap(), one.clone()))
                .collect();
        }
        self.now += SignedDuration::from_secs(10);
        self.kubernetes();
        plan
    }

    /// Asks each KMS.
    pub fn prove(&mut self) {
        let proof = |lost: &BTreeSet<String>, key: &MasterKey| {
            if lost.contains(&key.to_string()) {
                MasterKeyProof::Refused {
                    class: MasterKeyClass::Disabled,
                    message: format!("{key} is disabled"),
                    remedy: "Enable it.".into(),
                }
            } else {
                MasterKeyProof::Usable
            }
        };
        let Some(encryption) = &self.seen.resource.spec.encryption else {
            return;
        };
        if !self.lost.is_empty() {
            self.seen.master_key = proof(&self.lost, &encryption.master_key);
        }
        let ring = self.seen.ring();
        let keys = ring
            .into_iter()
            .flat_map(|ring| ring.previous.into_iter().chain([ring.in_force]));
        let others = keys
            .map(|one| one.key)
            .filter(|key| *key != encryption.master_key);
        self.seen.other_keys = others
            .map(|key| (key.clone(), proof(&self.lost, &key)))
            .collect();
    }

    /// What an agent does before its TiKV starts: seals `key.dict` under the master key of its configuration.
    fn seal(&mut self, pod: &Pod) {
        let name = pod.metadata.name.clone().unwrap();
        let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
        let config = volumes.iter().find(|one| one.name == "config").unwrap();
        let map = &config.config_map.as_ref().unwrap().name;
        let text = &self.seen.tikv.config_maps[map].data.as_ref().unwrap()["tikv.toml"];
        let config = encryption_config::parse(text).unwrap();
        if matches!(config.master_key, MasterKeyConfig::Plaintext) {
            return;
        }
        let (present, before) = (config.master_key.name(), config.previous_master_key.name());
        let wish = keys::told(self.seen.agent_config.as_ref()).and_then(|told| told.state.envelope);
        if let Some((under, envelope)) = self.sealed.get(&name) {
            assert!(
                *under == present || *under == before,
                "{name} is started with {present} and {before}, its key.dict is under {under}"
            );
            let given_up = wish.is_some_and(|wish| wish.not.contains(envelope));
            if *under == present && !given_up {
                return;
            }
        }
        self.serial += 1;
        self.sealed
            .insert(name, (present, format!("e{}", self.serial)));
    }

    /// Reconciles until there is nothing to do for several rounds.
    pub fn settle(&mut self) -> Plan {
        for _ in 0..1000 {
            let plan = self.reconcile(None);
            if plan.status.phase == Some(crate::api::v1alpha1::Phase::Ready)
                && plan.actions.is_empty()
            {
                return plan;
            }
        }
        let last = self.reconcile(None);
        panic!(
            "never Ready: {:#?}\n{:#?}\n{:#?}",
            last.status.conditions,
            last.status.rollout,
            self.log.iter().rev().take(20).collect::<Vec<_>>()
        );
    }

    fn act(&mut self, action: &Action) {
        let away = !matches!(self.seen.pd_state, PdState::Reachable(_));
        self.log.push(match action {
            Action::DeletePod { name, .. } => format!("DeletePod {name}"),
            Action::EvictLeaders { store } | Action::StopEvicting { store } => {
                format!("{} {store}", action.name())
            }
            other => other.name().to_owned(),
        });
        match action {
            Action::AddFinalizer => {
                self.seen.resource.metadata.finalizers = Some(vec![crate::api::FINALIZER.into()]);
            }
            Action::PublishTrust { .. } | Action::WithdrawTrust { .. } => {}
            Action::PublishCrl { .. } => self.publish_crl(action),
            Action::RemoveFinalizer => self.seen.resource.metadata.finalizers = None,
            Action::IssueCa {
                metadata,
                issuer,
                common_name,
                duration,
            } => {
                let made = self.authority(issuer, common_name, *duration);
                let before = self.store(metadata, made);
                assert!(before.is_none(), "a CA was overwritten");
            }
            Action::RefreshCa {
                metadata, issuer, ..
            } => {
                let made = self.authority(issuer, "", SignedDuration::ZERO);
                self.store(metadata, made);
            }
            Action::TrustBeside {
                secret,
                version,
                trusted,
            } => {
                let trusted = trusted
                    .iter()
                    .map(|anchor| self.ca(anchor).anchor)
                    .collect();
                self.trust_beside(secret, version, trusted);
            }
            Action::PromoteCa { from, metadata } => {
                let content = self.seen.secrets[&from.secret].content.clone();
                if let Some(SecretContent::Authority(going)) =
                    self.seen.secrets.get("db-ca").map(|one| &one.content)
                {
                    self.former = going.key_is_here().then(|| going.anchor.serial.clone());
                }
                self.store(metadata, content);
            }
            Action::RecordCaRotation {
                secret,
                version,
                memory,
            } => {
                self.record_rotation(secret, version, memory);
            }
            Action::VacateCa { secret, version } => {
                let gone = self.seen.secrets.remove(secret).unwrap();
                self.former = None;
                assert_eq!(gone.metadata.resource_version.as_ref(), Some(version));
            }
            Action::IssueLeaf {
                metadata,
                authority,
                beside,
                spec,
            } => {
                self.issue_leaf(metadata, authority, beside, spec);
            }
            Action::WrapMasterKey { metadata } => {
                let facts = SecretFacts {
                    metadata: (**metadata).clone(),
                    content: SecretContent::Wrapped,
                };
                let name = metadata.name.clone().unwrap();
                let before = self.seen.secrets.insert(name, facts);
                assert!(before.is_none(), "a wrapped key was overwritten");
            }
            Action::ApplyConfigMap(map) => {
                let name = map.metadata.name.clone().unwrap();
                let mut map = (**map).clone();
                map.metadata.uid = Some(name.clone());
                if name == "db-agent" {
                    self.seen.agent_config = Some(map);
                } else if name.starts_with("pd") {
                    self.seen.pd.config_maps.insert(name, map);
                } else if name.starts_with("tidb") {
                    self.seen.tidb.config_maps.insert(name, map);
                } else {
                    self.seen.tikv.config_maps.insert(name, map);
                }
            }
            Action::DeleteConfigMap { name, .. } => {
                self.seen.tikv.config_maps.remove(name);
                self.seen.pd.config_maps.remove(name);
                self.seen.tidb.config_maps.remove(name);
            }
            Action::PatchStatefulSet { name, patch } => {
                let facts = self.workload(name);
                let mut set = serde_json::to_value(&facts.stateful_set).unwrap();
                assert_eq!(
                    set["metadata"]["resourceVersion"],
                    patch["metadata"]["resourceVersion"]
                );
                merge::apply(&mut set, patch);
                let generation = set["metadata"]["generation"].as_i64().unwrap() + 1;
                set["metadata"]["generation"] = json!(generation);
                set["metadata"]["resourceVersion"] = json!(generation.to_string());
                facts.stateful_set = serde_json::from_value(set).unwrap();
            }
            Action::UpdatePdPeerUrls {
                member_id, urls, ..
            } => {
                let member = self
                    .pd()
                    .members
                    .iter_mut()
                    .find(|one| one.member_id == *member_id)
                    .unwrap();
                member.peer_urls.clone_from(urls);
            }
            Action::TakeMaintenance { id, description } => {
                assert!(self.pd().maintenance.is_none(), "taken twice");
                self.pd().maintenance = Some(Task {
                    kind: "tikv".into(),
                    id: id.clone(),
                    description: description.clone(),
                });
            }
            Action::ReleaseMaintenance { .. } => {
                assert!(self.pd().evicting.is_empty(), "given back too early");
                self.pd().maintenance = None;
            }
            Action::TransferPdLeader { to } => self.pd().leader = Some(to.clone()),
            Action::SetMaxStoreDownTime(text) => self.pd().max_store_down_time = Some(text.clone()),
            Action::EvictLeaders { store } => {
                let known = self
                    .seen
                    .resource
                    .status
                    .as_ref()
                    .unwrap()
                    .rollout
                    .evicting
                    .contains(store);
                assert!(
                    known,
                    "store {store} is evicted and the status does not know"
                );
                self.holds_lock();
                self.pd().evicting.insert(*store);
                for one in self.pd().stores.iter_mut().filter(|one| one.id == *store) {
                    one.leaders = 0;
                }
            }
            Action::StopEvicting { store } => drop(self.pd().evicting.remove(store)),
            Action::DeletePod { name, uid, .. } => {
                if name.starts_with("tikv") && !away {
                    self.holds_lock();
                }
                let gone = |pod: &Pod| {
                    pod.metadata.name.as_ref() != Some(name)
                        || pod.metadata.uid.as_ref() != Some(uid)
                };
                self.seen.tikv.pods.retain(gone);
                self.seen.pd.pods.retain(gone);
                self.seen.tidb.pods.retain(gone);
                if name.starts_with("tidb") {
                    self.tidb_stops(name);
                    return;
                }
                let switching = self.seen.resource.status.as_ref().is_some_and(|s| {
                    s.rollout.phase == crate::api::v1alpha1::RolloutPhase::SwitchingToTls
                }) || name.starts_with("pd");
                if !switching
                    && !self
                        .log
                        .iter()
                        .rev()
                        .take(6)
                        .any(|line| line.contains("pd-"))
                {
                    self.most_away = self.most_away.max(3 - self.seen.tikv.pods.len());
                }
            }
        }
    }

    fn holds_lock(&mut self) {
        let task = self.pd().maintenance.as_ref();
        assert_eq!(
            task.map(|task| task.id.as_str()),
            Some("db.prod.tikv-security"),
            "a store is disturbed without PD's lock"
        );
    }

    /// What everybody else does.
    pub fn kubernetes(&mut self) {
        let now = self.now;
        for part in ["pd", "tikv", "tidb"] {
            let uid = &mut self.uid;
            let facts = match part {
                "pd" => &mut self.seen.pd,
                "tikv" => &mut self.seen.tikv,
                _ => &mut self.seen.tidb,
            };
            let Some(set) = &mut facts.stateful_set else {
                continue;
            };
            let template = serde_json::to_vec(&set.spec.as_ref().unwrap().template).unwrap();
            let revision: String = Sha256::digest(template)
                .iter()
                .take(4)
                .map(|b| format!("{b:02x}"))
                .collect();
            let status = set.status.get_or_insert_default();
            status.observed_generation = set.metadata.generation;
            status.update_revision = Some(revision.clone());
            if !matches!(self.seen.pd_state, PdState::Reachable(_)) {
                continue;
            }
            for ordinal in 0..3 {
                let name = format!("{part}-{ordinal}");
                if facts
                    .pods
                    .iter()
                    .any(|pod| pod.metadata.name.as_ref() == Some(&name))
                {
                    continue;
                }
                *uid += 1;
                let mut pod: Pod = serde_json::from_value(json!({
                    "metadata": {"name": name, "uid": format!("u{uid}"), "labels": {"controller-revision-hash": revision}},
                    "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
                }))
                .unwrap();
                pod.metadata.creation_timestamp = Some(Time(now));
                pod.spec
                    .clone_from(&set.spec.as_ref().unwrap().template.spec);
                pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_transition_time =
                    Some(Time(now));
                facts.pods.push(pod.clone());
                if part == "tikv" {
                    self.seal(&pod);
                    self.started(ordinal, &name);
                    return self.agents();
                }
            }
        }
        if let PdState::Reachable(facts) = &mut self.seen.pd_state {
            for store in &mut facts.stores {
                store.last_heartbeat = Some(now);
                let evicted = facts.evicting.contains(&store.id);
                store.leaders = if evicted { 0 } else { 5 };
            }
        }
        self.agents();
    }
}

fn asks_pd(action: &Action) -> bool {
    matches!(
        action,
        Action::UpdatePdPeerUrls { .. }
            | Action::TransferPdLeader { .. }
            | Action::SetMaxStoreDownTime(_)
            | Action::EvictLeaders { .. }
            | Action::StopEvicting { .. }
            | Action::TakeMaintenance { .. }
            | Action::ReleaseMaintenance { .. }
    )
}
