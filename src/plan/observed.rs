//! Everything a plan may look at, as plain data. No key, no password and no client is in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::export::Known;
use super::names::Part;
use super::revocation::Trial;
use super::revocation::record::Stored;
use super::trust::Bundle;
use crate::api::report::AgentReport;
use crate::api::v1alpha1::{
    Issuer, IssuerChoice, KeyRing, MasterKey, TikvSecurity, TikvSecurityPolicy, TikvVolume,
};
use crate::tikv::pd::Task;
use crate::tikv::pd::types::{Member, Store};
use crate::tls::parse::CertificateInfo;

/// One look at the world of one `TikvSecurity`.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The resource.
    pub resource: TikvSecurity,
    /// Other `TikvSecurity` objects of the namespace.
    pub others: Vec<TikvSecurity>,
    /// Policies of the cluster, wherever they hold.
    pub policies: Vec<TikvSecurityPolicy>,
    /// Labels of the namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// TiKV.
    pub tikv: WorkloadFacts,
    /// PD.
    pub pd: WorkloadFacts,
    /// TiDB, where it is named.
    pub tidb: WorkloadFacts,
    /// TiFlash, where it is named.
    pub tiflash: WorkloadFacts,
    /// TiCDC, where it is named.
    pub ticdc: WorkloadFacts,
    /// Secrets by name: those with our names, whoever made them.
    pub secrets: BTreeMap<String, SecretFacts>,
    /// What the issuer that the resource names can do.
    pub issuer: IssuerLook,
    /// Certificates that an issuer has not given, by the name of their Secret.
    pub not_issued: BTreeMap<String, IssueFailure>,
    /// What namespaces have of the CA's certificates: those of `tls.trust`, and others that were given them before.
    pub bundles: BTreeMap<String, Bundle>,
    /// What is remembered of copies outside of the cluster, by place.
    pub exports: BTreeMap<String, Known>,
    /// The agents' ConfigMap, whoever made it.
    pub agent_config: Option<ConfigMap>,
    /// Volume objects of ours by name.
    pub volumes: BTreeMap<String, TikvVolume>,
    /// The ConfigMap with the CRLs and the record of what is revoked.
    pub revoked: Stored,
    /// Certificates that were shown to ports to see whether they refuse them.
    pub trials: Vec<Trial>,
    /// What PD says.
    pub pd_state: PdState,
    /// What each TiKV pod's agent says, by pod; `Err` tells why it could not be asked. Pods without an address are absent.
    pub agents: BTreeMap<String, Result<AgentReport, String>>,
    /// What ports really serve.
    pub served: Vec<Served>,
    /// TiKV pods that say of themselves that they have not caught up with their peers; asked while the CA is rotated only, and
    /// never said by versions before 9 (facts, TLS §4.2).
    pub unready: BTreeSet<String>,
    /// Whether the master key can be used.
    pub master_key: MasterKeyProof,
    /// The same of the other master keys that are configured.
    pub other_keys: Vec<(MasterKey, MasterKeyProof)>,
    /// When its service was asked for that, and how long it took.
    pub key_probe: Option<KeyProbe>,
    /// Image that the agents run: the operator's own.
    pub agent_image: String,
}

/// A workload and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct WorkloadFacts {
    /// The StatefulSet.
    pub stateful_set: Option<StatefulSet>,
    /// ConfigMaps by name: every one that the template or a pod mounts, the one that the spec names, the ones that
    /// the annotation `ANNOTATION_SOURCE` of any of these names, and derived ones of ours (`LABEL_NAME`) whose source is among these.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Its pods (controlled by the StatefulSet).
    pub pods: Vec<Pod>,
    /// PersistentVolumeClaims of its claim templates: data may be in them even when there is no pod.
    pub claims: usize,
}

/// A Secret, without what is secret in it.
#[derive(Clone, Debug)]
pub struct SecretFacts {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it holds.
    pub content: SecretContent,
}

/// What a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a handful of them in a reconcile"
)]
pub enum SecretContent {
    /// A CA; where its key is here, it belongs to the certificate.
    Authority(Box<AuthorityFacts>),
    /// A leaf set that passed `TlsSet::check`.
    Leaf {
        /// The leaf.
        certificate: CertificateInfo,
        /// The certificates of its `ca.crt`.
        trusts: Vec<CertificateInfo>,
        /// The one of them that its chain leads to.
        root: Box<CertificateInfo>,
    },
    /// A wrapped master key.
    Wrapped,
    /// Something else; what is wrong with it, in words that give nothing away.
    Unusable(String),
}

/// A CA and who signs with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFacts {
    /// The certificate that is trusted.
    pub anchor: CertificateInfo,
    /// The certificate that signs leaves: the anchor, or an intermediate one.
    pub signer: CertificateInfo,
    /// When the first certificate of the chain ends.
    pub ends: Timestamp,
    /// Whose CA it is.
    pub issuer: Issuer,
}

impl AuthorityFacts {
    /// Whether its key is in the cluster.
    pub fn key_is_here(&self) -> bool {
        matches!(
            self.issuer.choice(),
            Some(IssuerChoice::SelfSigned(_) | IssuerChoice::CaSecret(_)) | None
        )
    }
}

/// Whether both are the same CA, or one certificate of it each.
pub fn same_ca(one: &CertificateInfo, other: &CertificateInfo) -> bool {
    one.public_key == other.public_key && one.subject == other.subject
}

/// What the issuer that the resource names can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerLook {
    /// There is nothing to ask: it makes a CA when it is told to.
    Makes,
    /// It has a CA.
    Offers {
        /// The certificate that is trusted.
        anchor: Box<CertificateInfo>,
        /// The certificate that signs.
        signer: Box<CertificateInfo>,
    },
    /// It can not be used.
    Refused {
        /// What happened, without secrets.
        message: String,
        /// What to do next.
        remedy: String,
    },
}

/// A certificate that was asked for and not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueFailure {
    /// What happened, without secrets, and what to do next.
    pub message: String,
    /// When it is asked for again.
    pub retry_at: Timestamp,
}

/// What PD says.
#[derive(Clone, Debug)]
pub enum PdState {
    /// There was no pod to ask.
    NotAsked,
    /// Asked, no answer.
    Unreachable(String),
    /// Answered.
    Reachable(Box<PdFacts>),
}

/// PD's view of the cluster.
#[derive(Clone, Debug, Default)]
pub struct PdFacts {
    /// Members with their URLs as etcd stores them.
    pub members: Vec<Member>,
    /// Names of the healthy members.
    pub healthy: BTreeSet<String>,
    /// Name of PD's leader.
    pub leader: Option<String>,
    /// False until the first TiKV bootstrapped the cluster.
    pub initialized: bool,
    /// Stores but tombstones.
    pub stores: Vec<Store>,
    /// Stores whose leaders are being evicted, by whomever.
    pub evicting: BTreeSet<u64>,
    /// Regions with a replica that is gone.
    pub down_peers: u64,
    /// Regions with a replica that lags.
    pub pending_peers: u64,
    /// `max-store-down-time` in PD's notation.
    pub max_store_down_time: Option<String>,
    /// Who holds PD's maintenance lock; `None` also where PD has none.
    pub maintenance: Option<Task>,
}

/// What one port served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The pod.
    pub pod: String,
    /// The port.
    pub port: u16,
    /// The certificate, or why none was seen.
    pub result: Result<ServedLeaf, String>,
}

/// A certificate that a port served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedLeaf {
    /// Serial number as in `CertificateInfo`.
    pub serial: String,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// True when our CA signed it and the name fits.
    pub trusted: bool,
}

/// A question to the service of the master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyProbe {
    /// When.
    pub checked_at: Timestamp,
    /// How long the answer took.
    pub latency_milliseconds: u64,
}

/// Whether the master key can be used: described, and a key wrapped and unwrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeyProof {
    /// There is none to prove.
    NotAsked,
    /// Proven.
    Usable,
    /// Not usable.
    Refused {
        /// In which way; never merged.
        class: MasterKeyClass,
        /// What happened, without secrets.
        message: String,
        /// What to do next.
        remedy: String,
    },
}

/// In which way a master key can not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKeyClass {
    /// No answer; may pass by itself.
    Unavailable,
    /// Permission is missing.
    Denied,
    /// Not the key, or not one that can wrap.
    WrongKey,
    /// There is no such key.
    NotFound,
    /// The key is disabled.
    Disabled,
    /// The key waits for its deletion.
    PendingDeletion,
    /// The configuration or the key material is malformed or missing.
    Malformed,
    /// The program of this image can not load a module.
    NeedsHsmImage,
}

impl Observed {
    /// A cluster of which nothing was seen but its workloads, and a master key that can be used.
    pub fn of(
        resource: TikvSecurity,
        tikv: WorkloadFacts,
        pd: WorkloadFacts,
        agent_image: &str,
    ) -> Self {
        Self {
            resource,
            others: Vec::new(),
            policies: Vec::new(),
            namespace_labels: BTreeMap::new(),
            tikv,
            pd,
            tidb: WorkloadFacts::default(),
            tiflash: WorkloadFacts::default(),
            ticdc: WorkloadFacts::default(),
            secrets: BTreeMap::new(),
            issuer: IssuerLook::Makes,
            not_issued: BTreeMap::new(),
            bundles: BTreeMap::new(),
            exports: BTreeMap::new(),
            agent_config: None,
            volumes: BTreeMap::new(),
            pd_state: PdState::NotAsked,
            agents: BTreeMap::new(),
            served: Vec::new(),
            unready: BTreeSet::new(),
            revoked: Stored::Absent,
            trials: Vec::new(),
            master_key: MasterKeyProof::Usable,
            other_keys: Vec::new(),
            key_probe: None,
            agent_image: agent_image.to_owned(),
        }
    }

    /// The parts of the cluster that have certificates.
    pub fn parts(&self) -> Vec<Part> {
        Part::of(&self.resource.spec.cluster)
    }

    /// The workloads whose templates are this operator's to change.
    pub fn workloads(&self) -> Vec<&WorkloadFacts> {
        let tidb = self.resource.spec.cluster.tidb.as_ref();
        let tidb = tidb.map(|_| &self.tidb);
        [Some(&self.tikv), Some(&self.pd), tidb]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The workloads that are only looked at, and whose certificates those are.
    pub fn guests(&self) -> Vec<(Part, &WorkloadFacts)> {
        let cluster = &self.resource.spec.cluster;
        let tiflash = cluster.tiflash.as_ref();
        let tiflash = tiflash.map(|_| (Part::Tiflash, &self.tiflash));
        let ticdc = cluster.ticdc.as_ref();
        let ticdc = ticdc.map(|_| (Part::Ticdc, &self.ticdc));
        [tiflash, ticdc].into_iter().flatten().collect()
    }

    /// Name of the `TikvSecurity`.
    pub fn name(&self) -> &str {
        self.resource.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace of everything.
    pub fn namespace(&self) -> &str {
        let namespace = self.resource.metadata.namespace.as_deref();
        namespace.unwrap_or_default()
    }

    /// The master keys that were recorded as those of the pods.
    pub fn ring(&self) -> Option<KeyRing> {
        super::ring::remembered(&self.resource, self.agent_config.as_ref())
    }

    /// PD's facts, when it answered.
    pub fn pd_facts(&self) -> Option<&PdFacts> {
        match &self.pd_state {
            PdState::Reachable(facts) => Some(facts),
            PdState::NotAsked | PdState::Unreachable(_) => None,
        }
    }
}
