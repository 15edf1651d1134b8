//! The control loop of client certificates: who is looked at, and when. All watches are for metadata only.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, applier, trigger_self};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt as _, predicates, watcher};
use kube::{Client, ResourceExt as _};

use super::{References, reconcile};
use crate::api::v1alpha1::{TikvClientCertificate, TikvSecurity};
use crate::api::{LABEL_CLIENT, LABEL_NAME, LABEL_PART};
use crate::operator::error::Error;
use crate::operator::queue::{DEBOUNCE, Failures, api, key, labelled, predicates_config};
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
    let mut queue = stream::SelectAll::new();
    queue.push(subjects.boxed());
    let secrets = labelled::<Secret>(&client, namespace, LABEL_CLIENT);
    let secrets = secrets.try_filter_map(async |secret| Ok(owner(&secret)));
    queue.push(secrets.boxed());
    for cluster in &clusters {
        queue.push(changed(&client, cluster.as_deref(), &context).boxed());
        queue.push(signed(&client, cluster.as_deref(), &context).boxed());
    }
    let failures = Arc::new(Failures::default());
    let (reset, policy) = (failures.clone(), failures);
    let reconciler = move |subject: Arc<Subject>, context: Arc<Context>| {
        let reset = reset.clone();
        Box::pin(async move {
            let again = Box::pin(reconcile(&subject, &context)).await?;
            reset.forget(&key(&*subject));
            Ok::<_, Error>(Action::requeue(again))
        })
    };
    let error_policy = move |subject: Arc<Subject>, error: &Error, context: Arc<Context>| {
        let (namespace, name) = (subject.namespace().unwrap_or_default(), subject.name_any());
        let class = error.class();
        context.metrics.failed(&namespace, &name, class.name());
        let again = policy.next(&key(&*subject), class);
        tracing::warn!(%namespace, %name, class = %class.name(), ?again, %error, "reconcile of a client certificate failed");
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
        .predicate_filter(predicates::generation, predicates_config())
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
