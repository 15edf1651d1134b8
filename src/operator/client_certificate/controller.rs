//! The control loop of client certificates: who is looked at, and when. All watches are for metadata only.

use std::sync::Arc;

use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Client, ResourceExt as _};

use super::{References, reconcile};
use crate::api::v1alpha1::{TikvClientCertificate, TikvSecurity};
use crate::api::{LABEL_CLIENT, LABEL_NAME, LABEL_PART};
use crate::operator::queue::{Loop, api, labelled};
use crate::operator::reconcile::Context;
use crate::plan::names::Part;

/// What the queue holds.
type Subject = PartialObjectMeta<TikvClientCertificate>;

/// Reconciles the client certificates of a namespace, or of all, until `shutdown`. `clusters` are the namespaces in which
/// their `TikvSecurity` objects may be.
pub(in crate::operator) async fn run(
    context: Arc<Context>,
    namespace: Option<String>,
    clusters: Vec<Option<String>>,
    concurrency: u16,
    shutdown: impl Future<Output = ()>,
) {
    let client = &context.client;
    let secrets = labelled::<Secret>(client, namespace.as_deref(), LABEL_CLIENT);
    let secrets = secrets.try_filter_map(async |secret| Ok(owner(&secret)));
    let mut triggers = vec![secrets.boxed()];
    for cluster in &clusters {
        triggers.push(changed(client, cluster.as_deref(), &context).boxed());
        triggers.push(signed(client, cluster.as_deref(), &context).boxed());
    }
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

/// Those that refer to a `TikvSecurity`, when its specification changes.
fn changed(
    client: &Client,
    namespace: Option<&str>,
    context: &Arc<Context>,
) -> impl Stream<Item = Result<ObjectRef<Subject>, watcher::Error>> + use<> {
    let context = context.clone();
    let securities = api::<PartialObjectMeta<TikvSecurity>>(client, namespace);
    watcher(securities, watcher::Config::default())
        .default_backoff()
        .touched_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default())
        .map_ok(move |security| {
            let namespace = security.namespace().unwrap_or_default();
            refer(&context.references, &namespace, &security.name_any())
        })
        .try_flatten()
}

/// Those that refer to a `TikvSecurity`, when its CA or what its clients trust changes.
fn signed(
    client: &Client,
    namespace: Option<&str>,
    context: &Arc<Context>,
) -> impl Stream<Item = Result<ObjectRef<Subject>, watcher::Error>> + use<> {
    let context = context.clone();
    let selector = format!("{LABEL_PART} in (ca, {})", Part::Client.name());
    labelled::<Secret>(client, namespace, &selector)
        .map_ok(move |secret| {
            let namespace = secret.namespace().unwrap_or_default();
            let name = secret.labels().get(LABEL_NAME).cloned().unwrap_or_default();
            refer(&context.references, &namespace, &name)
        })
        .try_flatten()
}

fn refer(
    references: &References,
    namespace: &str,
    name: &str,
) -> impl Stream<Item = Result<ObjectRef<Subject>, watcher::Error>> + use<> {
    let all = references.to(namespace, name);
    stream::iter(all).map(|(namespace, name)| Ok(ObjectRef::new(&name).within(&namespace)))
}

fn owner(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<Subject>> {
    let name = secret.labels().get(LABEL_CLIENT)?;
    Some(ObjectRef::new(name).within(&secret.namespace()?))
}
