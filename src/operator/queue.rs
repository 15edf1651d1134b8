//! The control loop, whatever it looks at: watches for metadata, one reconcile at a time for each subject, and the pauses
//! after failures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Error as LoopError, applier, trigger_self};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::error::{Class, Error, pause};
use super::objects::Kind;
use super::reconcile::Context;

/// Changes that come close together are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Who is to be looked at, at each change of something else.
pub(super) type Triggers<K> =
    BoxStream<'static, Result<ObjectRef<PartialObjectMeta<K>>, watcher::Error>>;

/// Which subjects, and how many at a time.
pub(super) struct Loop<K: Kind> {
    /// Those of this namespace, or of all.
    pub namespace: Option<String>,
    /// What else they are looked at for, besides a change of their own specification.
    pub triggers: Vec<Triggers<K>>,
    /// How many at a time.
    pub concurrency: u16,
}

impl<K: Kind + Send + Sync + 'static> Loop<K> {
    /// Reconciles until `shutdown`; a reconcile that runs then is finished.
    pub async fn run<R>(
        self,
        context: Arc<Context>,
        reconcile: R,
        shutdown: impl Future<Output = ()>,
    ) where
        R: Fn(
                Arc<PartialObjectMeta<K>>,
                Arc<Context>,
            ) -> BoxFuture<'static, Result<Duration, Error>>
            + Send
            + 'static,
    {
        let subjects = api(&context.client, self.namespace.as_deref());
        let (store, writer) = reflector::store();
        let subjects = watcher(subjects, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .touched_objects()
            .predicate_filter(predicates::generation, PredicateConfig::default());
        let subjects = trigger_self(subjects, ()).map_ok(|request| request.obj_ref);
        let mut queue = stream::select_all(self.triggers);
        queue.push(subjects.boxed());
        let failures = Arc::new(Failures::default());
        let (reset, policy) = (failures.clone(), failures);
        let reconciler = move |subject: Arc<PartialObjectMeta<K>>, context: Arc<Context>| {
            let (key, reset) = (key(&*subject), reset.clone());
            let step = reconcile(subject, context);
            Box::pin(async move {
                let again = step.await?;
                reset.forget(&key);
                Ok::<_, Error>(Action::requeue(again))
            })
        };
        let error_policy = move |subject: Arc<PartialObjectMeta<K>>,
                                 error: &Error,
                                 context: Arc<Context>| {
            let kind = K::kind(&());
            let (namespace, name) = (subject.namespace().unwrap_or_default(), subject.name_any());
            let class = error.class();
            context.metrics.failed(&namespace, &name, class.name());
            let again = policy.next(&key(&*subject), class);
            tracing::warn!(%kind, %namespace, %name, class = %class.name(), ?again, %error, "reconcile failed");
            Action::requeue(again)
        };
        let config = Config::default()
            .debounce(DEBOUNCE)
            .concurrency(self.concurrency);
        applier(
            reconciler,
            error_policy,
            context,
            store,
            queue.take_until(shutdown),
            config,
        )
        .for_each(async |outcome| {
            if let Err(LoopError::QueueError(error)) = outcome {
                tracing::warn!(%error, "a watch failed; it is begun again");
            }
        })
        .await;
    }
}

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
fn key<K: kube::Resource>(subject: &K) -> String {
    format!(
        "{}/{}",
        subject.namespace().unwrap_or_default(),
        subject.name_any()
    )
}

/// Failures in a row, only to space the attempts; nothing is lost with them.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// The pause after one more failure.
    fn next(&self, key: &str, class: Class) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_default();
        *count += 1;
        let mut dice = [0_u8; 8];
        // Without random numbers there is no jitter, and that is all.
        let _ = getrandom::fill(&mut dice);
        pause(class, *count - 1, u64::from_le_bytes(dice))
    }

    /// It went well.
    fn forget(&self, key: &str) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(key);
    }
}
