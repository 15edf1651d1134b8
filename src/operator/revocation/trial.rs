//! Trials: certificates that were made for this alone are shown to ports, to see whether they refuse them.
//!
//! No key of a revoked certificate is needed, or kept. For a name that was taken off TiKV's list a certificate of the present CA
//! stands, whose key lives for the trial. For a CA that was replaced one stands that it signed just before it went; it is in the
//! Secret of the next CA until the rotation has ended.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;

use crate::api::AGENT_PORT;
use crate::api::v1alpha1::KeyAlgorithm;
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::operator::observe::pods::{address, server_name};
use crate::operator::observe::secrets::{authority, field};
use crate::plan::names::{Part, TIDB_STATUS_PORT, authority_secret, next_authority_secret};
use crate::plan::pods::mounts_secret;
use crate::plan::revocation::{Trial, Tried};
use crate::tikv::debug_service::{DebugError, DebugService, GRPC_PORT};
use crate::tikv::http::Endpoint;
use crate::tikv::status_port::STATUS_PORT;
use crate::tls::authority::{Authority, IssueError};
use crate::tls::bundle::TlsSet;
use crate::tls::client::grpc;
use crate::tls::leaf::{LeafSpec, LeafUse};
use crate::tls::parse::parse_one;
use crate::tls::private::PrivatePem;
use crate::tls::probe::Protocol;
use crate::tls::trial::refuses;

/// Keys of a trial's certificate in the Secret of the next CA.
pub(in crate::operator) const CERTIFICATE: &str = "former.crt";
/// Its key.
pub(in crate::operator) const KEY: &str = "former.key";

/// PD's client port.
const PD_PORT: u16 = 2379;
/// Time for one exchange.
const PATIENCE: Duration = Duration::from_secs(3);
/// A certificate for a trial of a name is valid for so long.
const SHORT: SignedDuration = SignedDuration::from_mins(10);
/// One of a CA that goes is valid while a rotation may last.
const LONG: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A client's certificate for a trial. Without names of hosts, so that no port can object to those.
pub(in crate::operator) fn issue(
    ca: &Authority,
    common_name: &str,
    lasting: bool,
) -> Result<(Vec<u8>, PrivatePem), IssueError> {
    let spec = LeafSpec {
        subject: crate::api::v1alpha1::Subject::default(),
        common_name: common_name.to_owned(),
        dns: BTreeSet::new(),
        ips: BTreeSet::new(),
        duration: if lasting { LONG } else { SHORT },
        key: KeyAlgorithm::EcdsaP256,
    };
    let made = ca.issue_for(&spec, LeafUse::Client, Timestamp::now())?;
    Ok((made.certificate_pem.into_bytes(), made.key_pem))
}

/// Whether a Secret has something that this CA signed, and that still holds.
pub(in crate::operator) fn is_of(secret: &Secret, ca: &Authority) -> bool {
    let kept = field(secret, CERTIFICATE).ok();
    let kept = kept.and_then(|kept| parse_one(kept).ok());
    kept.is_some_and(|kept| kept.issuer == ca.info().subject && Timestamp::now() < kept.not_after)
}

/// The pods, and the operator's own set.
pub(in crate::operator) struct Ports<'a> {
    /// Pods of TiKV.
    pub tikv: &'a [Pod],
    /// Pods of PD.
    pub pd: &'a [Pod],
    /// Pods of TiDB.
    pub tidb: &'a [Pod],
    /// Name of the `TikvSecurity`.
    pub resource: &'a str,
    /// The operator's own set, which no port refuses.
    pub own: &'a TlsSet,
}

impl Ports<'_> {
    /// Shows what the CA before signed, where a rotation has left something to show.
    pub async fn former_ca(&self, objects: &Objects) -> Result<Vec<Trial>, Error> {
        let secret: Option<Secret> = objects.get(&next_authority_secret(self.resource)).await?;
        let shown = secret.as_ref().and_then(|secret| {
            let (certificate, key) = (field(secret, CERTIFICATE).ok()?, field(secret, KEY).ok()?);
            (!certificate.is_empty())
                .then(|| self.set(certificate.to_vec(), PrivatePem::new(key.to_vec())))
        });
        let Some(shown) = shown else {
            return Ok(Vec::new());
        };
        let ports = [
            (self.tikv, Part::Tikv, GRPC_PORT, Protocol::Grpc),
            (self.tikv, Part::Tikv, STATUS_PORT, Protocol::Http),
            (self.tikv, Part::Agent, AGENT_PORT, Protocol::Http),
            (self.pd, Part::Pd, PD_PORT, Protocol::Http),
            (self.tidb, Part::Tidb, TIDB_STATUS_PORT, Protocol::Http),
        ];
        let looks = ports.iter().flat_map(|(pods, part, port, protocol)| {
            let secure = self.secure(pods, *part);
            let shown = &shown;
            secure.map(move |(pod, ip)| async move {
                let at = SocketAddr::new(ip, *port);
                let name = server_name(pod);
                Trial {
                    of: Tried::FormerCa,
                    pod: pod.name_any(),
                    port: *port,
                    refused: refuses(at, &name, *protocol, shown, self.own, PATIENCE).await,
                }
            })
        });
        Ok(join_all(looks).await)
    }

    /// Asks every store something with each of these names. TiKV shakes hands with whomever the CA vouches for, and refuses the call
    /// (facts, TLS §3.1, §9.6).
    pub async fn names(
        &self,
        objects: &Objects,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Trial>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let secret: Option<Secret> = objects.get(&authority_secret(self.resource)).await?;
        let Some(Ok(ca)) = secret.as_ref().map(authority) else {
            return Ok(Vec::new());
        };
        let mut looks = Vec::new();
        for name in names {
            let made = issue(&ca, name, false).map_err(Error::issue(format!(
                "making a certificate to try the name {name} with"
            )))?;
            let shown = self.set(made.0, made.1);
            for (pod, ip) in self.secure(self.tikv, Part::Tikv) {
                let (shown, own) = (shown.clone(), self.own.clone());
                looks.push(async move {
                    let endpoint = Endpoint::new(ip.to_string(), GRPC_PORT);
                    let endpoint = endpoint.named(server_name(pod));
                    Trial {
                        of: Tried::Name(name.clone()),
                        pod: pod.name_any(),
                        port: GRPC_PORT,
                        refused: call_is_refused(endpoint, &shown, &own).await,
                    }
                });
            }
        }
        Ok(join_all(looks).await)
    }

    fn set(&self, certificate: Vec<u8>, key: PrivatePem) -> TlsSet {
        TlsSet {
            ca: self.own.ca.clone(),
            certificate,
            key,
        }
    }

    fn secure<'a>(
        &self,
        pods: &'a [Pod],
        part: Part,
    ) -> impl Iterator<Item = (&'a Pod, std::net::IpAddr)> + use<'a> {
        let secret = part.secret(self.resource);
        pods.iter()
            .filter(move |pod| mounts_secret(pod, &secret))
            .filter_map(|pod| Some((pod, address(pod)?)))
    }
}

/// Whether a store refuses a call with this, and answers one with the operator's own set.
async fn call_is_refused(endpoint: Endpoint, shown: &TlsSet, own: &TlsSet) -> Result<bool, String> {
    let ask = |set: &TlsSet| {
        let tls = grpc(set).map_err(|error| error.to_string());
        let endpoint = endpoint.clone();
        async move {
            let service = DebugService {
                endpoint,
                tls: Some(tls?),
            };
            let asked = tokio::time::timeout(PATIENCE, service.settled()).await;
            match asked {
                Ok(Ok(())) => Ok(false),
                Ok(Err(error)) if is_unauthenticated(&error) => Ok(true),
                Ok(Err(DebugError::Refused { .. })) => Ok(false),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            }
        }
    };
    if ask(own).await? {
        return Err("it refuses the operator too".to_owned());
    }
    ask(shown).await
}

/// How TiKV refuses a name that is not on its list.
const fn is_unauthenticated(error: &DebugError) -> bool {
    const UNAUTHENTICATED: u32 = 16;
    matches!(
        error,
        DebugError::Refused {
            code: UNAUTHENTICATED,
            ..
        }
    )
}

/// A trial's certificate as data of a Secret.
pub(in crate::operator) fn data(made: &(Vec<u8>, PrivatePem)) -> serde_json::Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    serde_json::json!({
        CERTIFICATE: STANDARD.encode(&made.0),
        KEY: STANDARD.encode(made.1.expose()),
    })
}
