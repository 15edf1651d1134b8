//! What the revocation port answers from: the CRLs as they are stored, and the CAs that sign answers of OCSP. Kept for some
//! seconds, so that who asks a lot does not make the operator ask the API server a lot.
//!
//! Read from the API server and not from the memory of the control loop: every replica answers, also one that only stands by.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use tokio::sync::Semaphore;

use super::publish::der_key;
use super::record::stored;
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::operator::observe::secrets::authority;
use crate::plan::names::{authority_secret, crl_config, next_authority_secret};
use crate::plan::revocation::record::Stored;
use crate::tls::revocation::ocsp::{Answer, Responder, answer};

/// How long something that was read is answered from.
const FRESH: Duration = Duration::from_secs(5);
/// So many clusters are remembered, those that are none included.
const CLUSTERS: usize = 512;
/// So many are read at the same time.
const READS: usize = 4;

/// What is published for one cluster.
pub(super) struct Published {
    /// Lists in DER by the serial number of their CA.
    pub lists: BTreeMap<String, Vec<u8>>,
    /// The CA that signs now.
    pub signer: Option<String>,
    /// When the lists are replaced at the latest.
    pub next_update: Option<Timestamp>,
    responders: Vec<Responder>,
}

type Key = (String, String);

/// A look at a cluster and its age; `None` for one that publishes nothing.
type Seen = (Instant, Option<Arc<Published>>);

/// What was read last.
pub struct Cache {
    client: Client,
    /// Namespaces in which clusters are looked after; all when empty.
    namespaces: Vec<String>,
    seen: Mutex<HashMap<Key, Seen>>,
    reads: Semaphore,
}

impl Cache {
    /// An empty one.
    pub fn new(client: Client, namespaces: Vec<String>) -> Self {
        Self {
            client,
            namespaces,
            seen: Mutex::default(),
            reads: Semaphore::new(READS),
        }
    }

    /// What is published for a cluster.
    ///
    /// # Errors
    /// The API server did not answer.
    pub(super) async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Published>>, Error> {
        let here = self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace);
        if !here || !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((_, known)) = self.known(&key) {
            return Ok(known);
        }
        // A semaphore that is never closed is always got.
        let _reading = self.reads.acquire().await.ok();
        if let Some((_, known)) = self.known(&key) {
            return Ok(known);
        }
        let found = self.read(namespace, name).await?.map(Arc::new);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (at, _)| at.elapsed() < FRESH);
        if seen.len() < CLUSTERS {
            seen.insert(key, (Instant::now(), found.clone()));
        }
        Ok(found)
    }

    /// The last look, while it is fresh.
    fn known(&self, key: &Key) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(key)
            .filter(|(at, _)| at.elapsed() < FRESH)
            .cloned()
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<Published>, Error> {
        let objects = Objects::new(self.client.clone(), namespace, name, "");
        let Some(map) = objects.get::<ConfigMap>(&crl_config(name)).await? else {
            return Ok(None);
        };
        let lists = map.binary_data.clone().unwrap_or_default();
        let Stored::Ours { record, .. } = stored(map, name) else {
            return Ok(None);
        };
        let mut published = Published {
            lists: BTreeMap::new(),
            signer: record.authorities.first().cloned(),
            next_update: record.next_update,
            responders: Vec::new(),
        };
        for serial in &record.authorities {
            if let Some(list) = lists.get(&der_key(serial)) {
                published.lists.insert(serial.clone(), list.0.clone());
            }
        }
        for secret in [authority_secret(name), next_authority_secret(name)] {
            objects.guard::<Secret>(&secret).await?;
            let stored: Option<Secret> = objects.get(&secret).await?;
            let Some(Ok(ca)) = stored.as_ref().map(authority) else {
                continue;
            };
            let Some(list) = published.lists.get(ca.id()) else {
                continue;
            };
            match Responder::new(ca, list) {
                Ok(responder) => published.responders.push(responder),
                Err(error) => {
                    tracing::warn!(%namespace, %name, %error, "a CA can not answer for what it signed");
                }
            }
        }
        Ok(Some(published))
    }
}

impl Published {
    /// Answers a request of OCSP.
    pub fn answer(&self, request: &[u8]) -> Result<Answer, Error> {
        answer(&self.responders, request, Timestamp::now())
            .map_err(Error::issue("answering a request of OCSP".to_owned()))
    }
}

/// As names of namespaces and of `TikvSecurity` objects can be: nothing else is asked for.
fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 63
        && text
            .bytes()
            .all(|byte| letter(byte) || b"-.".contains(&byte))
        && text.bytes().next().is_some_and(letter)
}
