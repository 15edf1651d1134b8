//! Handshakes with the pods' ports, not more often than makes sense.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::tls::bundle::TlsSet;
use crate::tls::probe::{Protocol, Served, probe, provoke_reload};

/// A port that serves what it should is looked at again after this time.
const GOOD: Duration = Duration::from_mins(1);
/// Any other after this.
const BAD: Duration = Duration::from_secs(5);
/// Time for one handshake.
const PATIENCE: Duration = Duration::from_secs(3);
/// Ports of pods that are gone are forgotten after this time.
const FORGET: Duration = Duration::from_hours(1);

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// UID of the pod.
    pub pod_uid: String,
    /// Number of the port.
    pub port: u16,
}

/// How to look at a port.
pub struct Look<'a> {
    /// Where it is.
    pub address: SocketAddr,
    /// Name that its certificate must carry.
    pub name: &'a str,
    /// What is on it.
    pub protocol: Protocol,
    /// Serial that it should serve.
    pub wanted: &'a str,
    /// True for TiKV's status port, which reloads only after a failed handshake (facts, TLS §9.2).
    pub stubborn: bool,
}

/// Results of the last handshakes. Only saves handshakes: nothing is lost with it.
#[derive(Debug, Default)]
pub struct Probes(Mutex<HashMap<Port, Seen>>);

/// A result and its age.
type Seen = (Instant, Result<Served, String>);

impl Probes {
    /// What the port serves, or in words why that is not known.
    pub async fn look(
        &self,
        port: Port,
        look: Look<'_>,
        set: &TlsSet,
        now: Timestamp,
    ) -> Result<Served, String> {
        if let Some(known) = self.recent(&port, look.wanted) {
            return known;
        }
        let shake = || probe(look.address, look.name, look.protocol, set, now, PATIENCE);
        let mut seen = shake().await;
        let other = seen
            .as_ref()
            .is_ok_and(|served| served.certificate.serial != look.wanted);
        if other && look.stubborn {
            provoke_reload(look.address, PATIENCE).await;
            seen = shake().await;
        }
        let seen = seen.map_err(|error| error.to_string());
        if let Ok(mut all) = self.0.lock() {
            all.retain(|_, (at, _)| at.elapsed() < FORGET);
            all.insert(port, (Instant::now(), seen.clone()));
        }
        seen
    }

    fn recent(&self, port: &Port, wanted: &str) -> Option<Result<Served, String>> {
        let all = self.0.lock().ok()?;
        let (at, seen) = all.get(port)?;
        let good = seen
            .as_ref()
            .is_ok_and(|served| served.trusted && served.certificate.serial == wanted);
        let fresh = at.elapsed() < if good { GOOD } else { BAD };
        fresh.then(|| seen.clone())
    }
}
