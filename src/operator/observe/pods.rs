//! What runs in the pods: the agents' reports and the certificates that ports really serve.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rustls::ClientConfig;

use super::pd;
use super::secrets::Secrets;
use super::workload::Workloads;
use crate::api::AGENT_PORT;
use crate::api::report::AgentReport;
use crate::operator::agents;
use crate::operator::probes::{self, Port, Probes};
use crate::plan::detect::words;
use crate::plan::names::{AGENT_CONTAINER, MYSQL_PORT, Part, TIDB_STATUS_PORT};
use crate::plan::observed::{PdFacts, Served, ServedLeaf};
use crate::plan::pods::mounts_secret;
use crate::tikv::http::{Endpoint, Transport};
use crate::tikv::status_port::{self, STATUS_PORT};
use crate::tls::probe::Protocol;

/// TiKV's gRPC port.
const TIKV_PORT: u16 = 20160;
/// PD's peer port.
const PEER_PORT: u16 = 2380;
/// TiFlash's own port, and that of its Raft part.
const TIFLASH_PORTS: [u16; 2] = [3930, 20170];
/// TiCDC's default, and what tidb-operator gives it.
const TICDC_PORTS: [u16; 2] = [8300, 8301];

/// Time for one question to a status port.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pod's address, once it has one.
pub(in crate::operator) fn address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let address = status.pod_ip.as_ref()?.parse().ok()?;
    (!over).then_some(address)
}

/// The pod's name under its headless Service, which the wildcards in the leaves cover.
pub(in crate::operator) fn server_name(pod: &Pod) -> String {
    let name = pod.name_any();
    let namespace = pod.namespace().unwrap_or_default();
    let spec = pod.spec.as_ref();
    match spec.and_then(|spec| spec.subdomain.as_ref()) {
        Some(service) => format!("{name}.{service}.{namespace}.svc"),
        None => name,
    }
}

fn has_agent(pod: &Pod) -> bool {
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    containers
        .into_iter()
        .any(|container| container.name == AGENT_CONTAINER)
}

/// Asks every agent at once.
pub(super) async fn agents(
    pods: &[Pod],
    tls: Option<Arc<ClientConfig>>,
) -> BTreeMap<String, Result<AgentReport, String>> {
    let asked = pods.iter().filter(|pod| has_agent(pod)).filter_map(|pod| {
        let (address, tls) = (address(pod)?, tls.clone());
        Some(async move {
            let report = match tls {
                Some(tls) => agents::report(&address.to_string(), &server_name(pod), tls).await,
                None => Err("the operator has no usable client certificate yet".to_owned()),
            };
            (pod.name_any(), report)
        })
    });
    join_all(asked).await.into_iter().collect()
}

/// Replaces PD's count of leaders by the store's own, which does not lag, for the stores that are being emptied.
/// Where the store does not answer PD's count stays.
pub(super) async fn exact_leaders(
    pods: &[Pod],
    secret: &str,
    tls: Option<Arc<ClientConfig>>,
    facts: &mut PdFacts,
) {
    let evicting = facts.evicting.clone();
    let emptied = facts
        .stores
        .iter_mut()
        .filter(|store| evicting.contains(&store.id));
    let counts = emptied.map(|store| {
        let tls = tls.clone();
        async move {
            let host = store.address.split('.').next().unwrap_or_default();
            let pod = pods.iter().find(|pod| pod.name_any() == host)?;
            let secure = mounts_secret(pod, secret);
            let transport = Transport {
                tls: if secure { Some(tls?) } else { None },
                patience: PATIENCE,
            };
            let endpoint = Endpoint::new(address(pod)?.to_string(), STATUS_PORT);
            let endpoint = endpoint.named(server_name(pod));
            store.leaders = status_port::leader_count(&transport, &endpoint)
                .await
                .ok()?;
            Some(())
        }
    });
    join_all(counts).await;
}

/// Pods whose store says that it has not caught up with its peers. One that does not answer says nothing.
pub(super) async fn unready(
    pods: &[Pod],
    secret: &str,
    tls: Option<Arc<ClientConfig>>,
) -> BTreeSet<String> {
    let Some(tls) = tls else {
        return BTreeSet::new();
    };
    let transport = Transport {
        tls: Some(tls),
        patience: PATIENCE,
    };
    let secure = pods.iter().filter(|pod| mounts_secret(pod, secret));
    let asked = secure.map(|pod| async {
        let endpoint = Endpoint::new(address(pod)?.to_string(), STATUS_PORT);
        let endpoint = endpoint.named(server_name(pod));
        let ready = status_port::ready(&transport, &endpoint).await.ok()?;
        (ready == Some(false)).then(|| pod.name_any())
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// TiCDC's port: 8301 where the pods say so, as tidb-operator makes them, else the program's own default.
fn ticdc_port(pods: &[Pod]) -> u16 {
    let [default, other] = TICDC_PORTS;
    let mut containers = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref())
        .flat_map(|spec| &spec.containers);
    let says = containers.any(|container| {
        let declared = container.ports.iter().flatten();
        let ending = format!(":{other}");
        declared
            .into_iter()
            .any(|port| port.container_port == i32::from(other))
            || words(container).iter().any(|word| word.ends_with(&ending))
    });
    if says { other } else { default }
}

/// What is needed to look at ports.
pub(super) struct Look<'a> {
    /// Results of the last handshakes.
    pub probes: &'a Probes,
    /// What should be served, and our own certificate.
    pub secrets: &'a Secrets,
    /// Name of the `TikvSecurity`.
    pub resource: &'a str,
    /// Now.
    pub now: Timestamp,
}

impl Look<'_> {
    /// Handshakes with every port that should serve one of our leaves.
    pub async fn served(&self, workloads: &Workloads) -> Vec<Served> {
        let (grpc, http) = (Protocol::Grpc, Protocol::Http);
        let Workloads {
            tikv,
            pd,
            tidb,
            tiflash,
            ticdc,
        } = workloads;
        let ticdc_port = ticdc_port(&ticdc.pods);
        let ports = [
            (tikv, Part::Tikv, TIKV_PORT, grpc),
            (tikv, Part::Tikv, STATUS_PORT, http),
            (tikv, Part::Agent, AGENT_PORT, http),
            (pd, Part::Pd, pd::PORT, http),
            (pd, Part::Pd, PEER_PORT, http),
            (tidb, Part::Tidb, TIDB_STATUS_PORT, http),
            (tidb, Part::TidbServer, MYSQL_PORT, Protocol::Mysql),
            (tiflash, Part::Tiflash, TIFLASH_PORTS[0], grpc),
            (tiflash, Part::Tiflash, TIFLASH_PORTS[1], grpc),
            (ticdc, Part::Ticdc, ticdc_port, http),
        ];
        let looks = ports
            .into_iter()
            .flat_map(|(facts, owner, port, protocol)| {
                let pods = facts.pods.iter();
                pods.filter_map(move |pod| self.one(pod, owner, port, protocol))
            });
        join_all(looks).await
    }

    fn one<'a>(
        &'a self,
        pod: &'a Pod,
        owner: Part,
        port: u16,
        protocol: Protocol,
    ) -> Option<impl Future<Output = Served> + 'a> {
        let secret = owner.secret(self.resource);
        let address = SocketAddr::new(address(pod)?, port);
        let set = self.secrets.client()?;
        if !mounts_secret(pod, &secret) {
            return None;
        }
        Some(async move {
            let name = server_name(pod);
            let look = probes::Look {
                address,
                name: &name,
                protocol,
                wanted: self.secrets.serial(&secret).unwrap_or_default(),
                stubborn: port == STATUS_PORT,
            };
            let key = Port {
                pod_uid: pod.uid().unwrap_or_default(),
                port,
            };
            let seen = self.probes.look(key, look, set, self.now).await;
            Served {
                pod: pod.name_any(),
                port,
                result: seen.map(|served| ServedLeaf {
                    serial: served.certificate.serial,
                    not_after: served.certificate.not_after,
                    trusted: served.trusted,
                }),
            }
        })
    }
}
