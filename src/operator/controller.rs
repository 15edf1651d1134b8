//! The control loop: who is looked at, and when.
//!
//! All watches are for metadata only. A reconcile reads what it needs from the API server itself, so it never
//! plans on less than it wrote last time, and no Secret of anybody else is ever held in memory.

use std::sync::Arc;

use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Client, ResourceExt as _};

use super::objects::Kind;
use super::queue::{Loop, labelled};
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
    let (client, within) = (&context.client, namespace.as_deref());
    let triggers = vec![
        owned::<StatefulSet>(client, within).boxed(),
        owned::<Pod>(client, within).boxed(),
        owned::<Secret>(client, within).boxed(),
        owned::<ConfigMap>(client, within).boxed(),
        owned_settled::<TikvVolume>(client, within).boxed(),
    ];
    let work = Loop {
        namespace,
        triggers,
        concurrency,
    };
    let step = |subject: Arc<Subject>, context: Arc<Context>| {
        async move { Box::pin(reconcile(&subject, &context)).await }.boxed()
    };
    work.run(context, step, shutdown).await;
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
        .predicate_filter(predicates::generation, PredicateConfig::default())
        .try_filter_map(async |object| Ok(owner(&object)))
}

fn owner<K: Kind>(object: &PartialObjectMeta<K>) -> Option<ObjectRef<Subject>> {
    let name = object.labels().get(LABEL_NAME)?;
    let namespace = object.namespace()?;
    Some(ObjectRef::new(name).within(&namespace))
}
