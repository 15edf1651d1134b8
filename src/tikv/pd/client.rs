//! Asking PD: each member in turn until one answers.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use super::types::{
    Member, MemberHealth, Members, RawClusterStatus, RawMembers, RawRegions, RawStores,
    RegionCheck, Store,
};
use crate::tikv::http::{Answer, Endpoint, Transport};

/// A client of all members of one PD.
#[derive(Clone)]
pub struct PdClient {
    members: Vec<(Endpoint, Transport)>,
}

/// Why PD did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PdError {
    /// Nobody answered.
    #[error("no PD member answered: {0}")]
    Unreachable(String),
    /// Answered, but no.
    #[error("PD answered {status} to {method} {path}: {message}")]
    Refused {
        /// Status code.
        status: u16,
        /// Method of the request.
        method: Method,
        /// Path of the request.
        path: String,
        /// What PD said.
        message: String,
    },
    /// Answered something that this program does not understand.
    #[error("PD's answer to {path} can not be read: {error}")]
    Malformed {
        /// Path of the request.
        path: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl PdClient {
    /// A client of the members at `endpoints`; plaintext without `tls`.
    pub fn new(
        endpoints: Vec<Endpoint>,
        tls: Option<Arc<ClientConfig>>,
        patience: Duration,
    ) -> Self {
        let secure = tls.is_some();
        let members = endpoints.into_iter().map(|endpoint| (endpoint, secure));
        Self::mixed(members.collect(), tls, patience)
    }

    /// A client of members of which some speak TLS and some plaintext, as in the middle of a switch. A member that
    /// speaks TLS is passed over when there is no `tls`.
    pub fn mixed(
        members: Vec<(Endpoint, bool)>,
        tls: Option<Arc<ClientConfig>>,
        patience: Duration,
    ) -> Self {
        let plain = Transport {
            tls: None,
            patience,
        };
        let secured = tls.map(|tls| Transport {
            tls: Some(tls),
            patience,
        });
        let members = members.into_iter().filter_map(|(endpoint, secure)| {
            let transport = if secure {
                secured.clone()?
            } else {
                plain.clone()
            };
            Some((endpoint, transport))
        });
        Self {
            members: members.collect(),
        }
    }

    /// All stores but tombstones.
    pub async fn stores(&self) -> Result<Vec<Store>, PdError> {
        let answer: RawStores = self.read("/pd/api/v1/stores").await?;
        Ok(answer.stores.into_iter().map(Store::from).collect())
    }

    /// Members and the leader's name.
    pub async fn members(&self) -> Result<Members, PdError> {
        let answer: RawMembers = self.read("/pd/api/v1/members").await?;
        let leader = answer.leader.map(|leader: Member| leader.name);
        Ok(Members {
            all: answer.members,
            leader: leader.filter(|name| !name.is_empty()),
        })
    }

    /// Health of every member.
    pub async fn health(&self) -> Result<Vec<MemberHealth>, PdError> {
        self.read("/pd/api/v1/health").await
    }

    /// False until the first TiKV bootstrapped the cluster.
    pub async fn initialized(&self) -> Result<bool, PdError> {
        let answer: RawClusterStatus = self.read("/pd/api/v1/cluster/status").await?;
        Ok(answer.is_initialized)
    }

    /// How many regions PD finds fault with.
    pub async fn regions(&self, check: RegionCheck) -> Result<u64, PdError> {
        let path = format!("/pd/api/v1/regions/check/{}", check.name());
        let answer: RawRegions = self.read(&path).await?;
        Ok(answer.count)
    }

    /// The leader steps down in favour of whoever wins.
    pub async fn resign_leader(&self) -> Result<(), PdError> {
        self.write(Method::POST, "/pd/api/v1/leader/resign", None)
            .await
    }

    /// The leadership goes to the named member.
    pub async fn transfer_leader(&self, member: &str) -> Result<(), PdError> {
        let path = format!("/pd/api/v1/leader/transfer/{member}");
        self.write(Method::POST, &path, None).await
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, PdError> {
        let answer = self.ask(Method::GET, path, None).await?;
        succeed(&Method::GET, path, &answer)?;
        parse(path, &answer)
    }

    /// As `read`, but `None` when PD answers 404.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, PdError> {
        let answer = self.ask(Method::GET, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        succeed(&Method::GET, path, &answer)?;
        parse(path, &answer).map(Some)
    }

    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<(), PdError> {
        let answer = self.ask(method.clone(), path, body).await?;
        succeed(&method, path, &answer)
    }

    /// One answer of whatever status: of the first member that has something to say. A member that can not be
    /// connected, breaks off or says that it has no leader is passed over.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<Answer, PdError> {
        let body = body.map(|value| value.to_string().into_bytes());
        let mut failures = Vec::new();
        for (endpoint, transport) in &self.members {
            let sent = transport.send(endpoint, method.clone(), path, body.clone());
            match sent.await {
                Ok(answer) if leaderless(&answer) => {
                    failures.push(format!("{endpoint} answered {}", answer.status));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => failures.push(error.to_string()),
            }
        }
        if failures.is_empty() {
            failures.push("no member that could be asked".to_owned());
        }
        Err(PdError::Unreachable(failures.join("; ")))
    }
}

fn leaderless(answer: &Answer) -> bool {
    matches!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
    )
}

pub(super) fn succeed(method: &Method, path: &str, answer: &Answer) -> Result<(), PdError> {
    if answer.status.is_success() {
        return Ok(());
    }
    Err(PdError::Refused {
        status: answer.status.as_u16(),
        method: method.clone(),
        path: path.to_owned(),
        message: answer.excerpt(),
    })
}

pub(super) fn parse<T: DeserializeOwned>(path: &str, answer: &Answer) -> Result<T, PdError> {
    serde_json::from_slice(&answer.body).map_err(|error| PdError::Malformed {
        path: path.to_owned(),
        error,
    })
}
