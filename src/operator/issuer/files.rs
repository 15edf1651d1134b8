//! Files that ACME servers ask for (HTTP-01, RFC 8555 §8.3): from the memory of this replica, or from where the leading one put them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::api::LABEL_ACME;
use crate::issuer::acme::Files;

/// So many are looked for in the cluster at the same time: who asks is a stranger.
const READS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);
/// No token is longer.
const LONGEST: usize = 256;

/// All files.
pub struct Challenges {
    files: Files,
    client: Client,
    namespaces: Vec<String>,
    reads: Semaphore,
}

impl Challenges {
    /// `namespaces` are those that are looked after; all when empty.
    pub fn new(files: Files, client: Client, namespaces: Vec<String>) -> Self {
        Self {
            files,
            client,
            namespaces,
            reads: Semaphore::new(READS),
        }
    }

    /// The file of a token.
    pub(in crate::operator) async fn get(&self, token: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if token.is_empty() || token.len() > LONGEST || !token.bytes().all(plain) {
            return None;
        }
        if let Some(file) = self.files.get(token) {
            return Some(file);
        }
        let _reading = self.reads.acquire().await.ok()?;
        let looked = tokio::time::timeout(PATIENCE, self.look(token)).await;
        looked.ok().flatten()
    }

    async fn look(&self, token: &str) -> Option<String> {
        let apis: Vec<Api<ConfigMap>> = if self.namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            let within = |one: &String| Api::namespaced(self.client.clone(), one);
            self.namespaces.iter().map(within).collect()
        };
        let params = ListParams::default().labels(&format!("{LABEL_ACME}=files"));
        for api in apis {
            let found = match api.list(&params).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "files for ACME servers can not be looked for");
                    continue;
                }
            };
            let mut maps = found.items.into_iter().filter_map(|map| map.data);
            if let Some(file) = maps.find_map(|mut data| data.remove(token)) {
                return Some(file);
            }
        }
        None
    }
}
