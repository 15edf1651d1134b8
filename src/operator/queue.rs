//! What the control loops share: watches for metadata, and the pauses after failures.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use kube::core::PartialObjectMeta;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::error::{Class, pause};
use super::objects::Kind;

/// Changes that come close together are one reconcile.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(300);

/// The API of a kind in one namespace, or in all.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    namespace.map_or_else(
        || Api::all(client.clone()),
        |namespace| Api::namespaced(client.clone(), namespace),
    )
}

pub(super) fn predicates_config() -> PredicateConfig {
    PredicateConfig::default()
}

/// Metadata of the objects that a label selector names, at each change.
pub(super) fn labelled<K: Kind + Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
    selector: &str,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + use<K> {
    let config = watcher::Config::default().labels(selector);
    watcher(api::<PartialObjectMeta<K>>(client, namespace), config)
        .default_backoff()
        .touched_objects()
}

/// Where a subject is remembered.
pub(super) fn key<K: kube::Resource>(subject: &K) -> String {
    format!(
        "{}/{}",
        subject.namespace().unwrap_or_default(),
        subject.name_any()
    )
}

/// Failures in a row, only to space the attempts; nothing is lost with them.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// The pause after one more failure.
    pub fn next(&self, key: &str, class: Class) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_default();
        *count += 1;
        let mut dice = [0_u8; 8];
        // Without random numbers there is no jitter, and that is all.
        let _ = getrandom::fill(&mut dice);
        pause(class, *count - 1, u64::from_le_bytes(dice))
    }

    /// It went well.
    pub fn forget(&self, key: &str) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(key);
    }
}
