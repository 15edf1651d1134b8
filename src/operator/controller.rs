//! The control loop: who is looked at, and when.
//!
//! All watches are for metadata only. A reconcile reads what it needs from the API server itself, so it never
//! plans on less than it wrote last time, and no Secret of anybody else is ever held in memory.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, applier, trigger_self};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt as _, predicates, watcher};
use kube::{Client, ResourceExt as _};

use super::error::Error;
use super::objects::Kind;
use super::queue::{DEBOUNCE, Failures, api, key, labelled, predicates_config};
use super::reconcile::{Context, reconcile};
use crate::api::LABEL_NAME;
use crate::api::v1alpha1::{TikvSecurity, TikvVolume};

/// What the queue holds.
type Subject = PartialObjectMeta<TikvSecurity>;

/// Reconciles until `shutdown`; a reconcile that runs then is finished.
pub async fn run(
    context: Arc<Context>,
    namespace: Option<String>,
    concurrency: u16,
    shutdown: impl Future<Output = ()>,
) {
    let client = context.client.clone();
    let namespace = namespace.as_deref();
    let (store, writer) = reflector::store();
    let subjects = watcher(
        api::<Subject>(&client, namespace),
        watcher::Config::default(),
    )
    .default_backoff()
    .reflect(writer)
    .touched_objects()
    .predicate_filter(predicates::generation, predicates_config());
    let subjects = trigger_self(subjects, ()).map_ok(|request| request.obj_ref);
    let queue = stream::select_all([
        subjects.boxed(),
        owned::<StatefulSet>(&client, namespace).boxed(),
        owned::<Pod>(&client, namespace).boxed(),
        owned::<Secret>(&client, namespace).boxed(),
        owned::<ConfigMap>(&client, namespace).boxed(),
        owned_settled::<TikvVolume>(&client, namespace).boxed(),
    ]);
    let failures = Arc::new(Failures::default());
    let (reset, policy) = (failures.clone(), failures);
    let reconciler = move |subject: Arc<Subject>, context: Arc<Context>| {
        let reset = reset.clone();
        Box::pin(async move {
            let key = key(&*subject);
            let again = Box::pin(reconcile(&subject, &context)).await?;
            reset.forget(&key);
            Ok::<_, Error>(Action::requeue(again))
        })
    };
    let error_policy = move |subject: Arc<Subject>, error: &Error, context: Arc<Context>| {
        let (namespace, name) = (subject.namespace().unwrap_or_default(), subject.name_any());
        let class = error.class();
        context.metrics.failed(&namespace, &name, class.name());
        let again = policy.next(&key(&*subject), class);
        tracing::warn!(%namespace, %name, class = %class.name(), ?again, %error, "reconcile failed");
        Action::requeue(again)
    };
    let config = Config::default()
        .debounce(DEBOUNCE)
        .concurrency(concurrency);
    applier(
        reconciler,
        error_policy,
        context,
        store,
        queue.take_until(shutdown),
        config,
    )
    .for_each(async |outcome| {
        if let Err(kube::runtime::controller::Error::QueueError(error)) = outcome {
            tracing::warn!(%error, "a watch failed; it is begun again");
        }
    })
    .await;
}

/// The owners of objects that carry our label, at each change of such an object.
fn owned<K: Kind + Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<ObjectRef<Subject>, watcher::Error>> + use<K> {
    labelled::<K>(client, namespace, LABEL_NAME).try_filter_map(async |object| Ok(owner(&object)))
}

/// As `owned`, but not at changes of the status, which is ours.
fn owned_settled<K: Kind + Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<ObjectRef<Subject>, watcher::Error>> + use<K> {
    labelled::<K>(client, namespace, LABEL_NAME)
        .predicate_filter(predicates::generation, predicates_config())
        .try_filter_map(async |object| Ok(owner(&object)))
}

fn owner<K: Kind>(object: &PartialObjectMeta<K>) -> Option<ObjectRef<Subject>> {
    let name = object.labels().get(LABEL_NAME)?;
    let namespace = object.namespace()?;
    Some(ObjectRef::new(name).within(&namespace))
}
