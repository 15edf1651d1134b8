//! How long handshakes with the ports take, full and resumed. Only measured, nothing follows from it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rustls::pki_types::ServerName;

use super::metrics::Series;
use super::observe::pods::{address, server_name};
use super::probes::Port;
use crate::api::AGENT_PORT;
use crate::plan::names::{Part, TIDB_STATUS_PORT};
use crate::plan::observed::Observed;
use crate::plan::pods::mounts_secret;
use crate::tikv::debug_service::GRPC_PORT;
use crate::tls::bundle::TlsSet;
use crate::tls::probe::Protocol;
use crate::tls::survey::{Identity, Question, handshake_times};

/// A port is measured again after this time. Not TiKV's status port: it serves one caller at a time (facts, TLS §2.2).
const EVERY: Duration = Duration::from_mins(5);
/// Time for all that is asked of one port.
const PATIENCE: Duration = Duration::from_secs(3);
/// PD's client port.
const PD_PORT: u16 = 2379;

/// What was measured last, and when; `None` for a port that could not be.
type Seen = (Instant, Option<(Duration, Option<Duration>)>);

/// Of all ports, by pod and port.
#[derive(Debug, Default)]
pub(super) struct Latencies(Mutex<HashMap<Port, Seen>>);

impl Latencies {
    /// Measures the ports whose turn it is.
    pub async fn measure(&self, observed: &Observed, own: &TlsSet) {
        let Ok(identity) = Identity::new(own) else {
            return;
        };
        let due: Vec<_> = ports(observed)
            .filter(|(port, ..)| self.is_due(port))
            .collect();
        let looks = due.into_iter().map(|(port, pod, protocol)| {
            let identity = identity.clone();
            async move {
                let ip = address(pod)?;
                let question = Question {
                    address: SocketAddr::new(ip, port.port),
                    name: ServerName::try_from(server_name(pod)).ok()?,
                    protocol,
                    roots: None,
                    identity: Some(identity),
                    patience: PATIENCE,
                };
                // No reconcile waits for a port that is silent.
                let times = tokio::time::timeout(PATIENCE, handshake_times(&question)).await;
                Some((port, times.ok().flatten()))
            }
        });
        let found = join_all(looks).await;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() < EVERY * 3);
        for (port, times) in found.into_iter().flatten() {
            all.insert(port, (Instant::now(), times));
        }
    }

    fn is_due(&self, port: &Port) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(port).is_none_or(|(at, _)| at.elapsed() > EVERY)
    }

    /// What was measured of the ports that are there.
    pub fn numbers(&self, observed: &Observed) -> Vec<(Series, i64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers = Vec::new();
        for (port, pod, _) in ports(observed) {
            let Some((_, Some((full, resumed)))) = all.get(&port) else {
                continue;
            };
            let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
            let of = (pod.name_any(), port.port);
            numbers.push((Series::HandshakeFull(of.0.clone(), of.1), micros(*full)));
            if let Some(resumed) = resumed {
                numbers.push((Series::HandshakeResumed(of.0, of.1), micros(*resumed)));
            }
        }
        numbers
    }
}

/// The ports that serve one of our leaves.
fn ports(observed: &Observed) -> impl Iterator<Item = (Port, &Pod, Protocol)> {
    let (grpc, http) = (Protocol::Grpc, Protocol::Http);
    let kinds = [
        (&observed.tikv.pods, Part::Tikv, GRPC_PORT, grpc),
        (&observed.tikv.pods, Part::Agent, AGENT_PORT, http),
        (&observed.pd.pods, Part::Pd, PD_PORT, http),
        (&observed.tidb.pods, Part::Tidb, TIDB_STATUS_PORT, http),
    ];
    kinds.into_iter().flat_map(|(pods, part, port, protocol)| {
        let secret = part.secret(observed.name());
        let secure = pods.iter().filter(move |pod| mounts_secret(pod, &secret));
        secure.map(move |pod| {
            let pod_uid = pod.uid().unwrap_or_default();
            (Port { pod_uid, port }, pod, protocol)
        })
    })
}
