//! One reconcile of a `TikvClientCertificate`: observe, plan, report, write the Secret.
//!
//! # Guarantees
//! May be cut after any await. The Secret is written whole, and only over what was looked at. A Secret that was not made
//! for this object is never written to.

pub(super) mod controller;
mod observe;
mod references;
mod write;

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;

use super::error::Error;
use super::export;
use super::metrics::ClientLife;
use super::objects::Objects;
use super::reconcile::Context;
use super::report;
use super::revocation::record;
use crate::api::FINALIZER_REVOKE;
use crate::api::v1alpha1::{TikvClientCertificate, condition};
use crate::plan::client_certificate::{plan, request};
pub(super) use references::References;

const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_mins(10);

/// Brings one `TikvClientCertificate` a step further. Returns when to look again.
pub(super) async fn reconcile(
    subject: &PartialObjectMeta<TikvClientCertificate>,
    context: &Context,
) -> Result<Duration, Error> {
    let (namespace, name) = (subject.namespace().unwrap_or_default(), subject.name_any());
    let uid = subject.uid().unwrap_or_default();
    let objects = Objects::new(context.client.clone(), &namespace, &name, &uid);
    let resource = match objects.written::<TikvClientCertificate>(&name).await? {
        None => {
            context.references.forget(&namespace, &name);
            context.metrics.client_gone(&namespace, &name);
            return Ok(LATER);
        }
        Some(resource) if resource.metadata.uid.as_ref() != Some(&uid) => return Ok(SOON),
        Some(resource) => resource,
    };
    let wanted = request::reference(&resource);
    context.references.note(&namespace, &name, &wanted);
    let cluster = Objects::new(context.client.clone(), &wanted.namespace, &wanted.name, "");
    let outcome = step(context, &objects, &cluster, &resource).await;
    if let Err(error) = &outcome {
        report::failure(&context.recorder, &resource, error).await;
    }
    outcome
}

async fn step(
    context: &Context,
    objects: &Objects,
    cluster: &Objects,
    resource: &TikvClientCertificate,
) -> Result<Duration, Error> {
    let observed = observe::observe(context, objects, cluster, resource).await?;
    let plan = plan(&observed, Timestamp::now());
    if plan.hold == Some(true) {
        objects
            .hold::<TikvClientCertificate>(FINALIZER_REVOKE, true)
            .await?;
    }
    if !plan.revoke.is_empty() {
        record::append(
            &context.pen,
            cluster,
            observed.security.as_ref(),
            &plan.revoke,
        )
        .await?;
    }
    let owner = export::Owner { resource, objects };
    if resource.metadata.deletion_timestamp.is_some() {
        report::events(&context.recorder, resource, &plan.events).await;
        if export::carry_out(context, &owner, &plan.exports).await {
            return Ok(SOON);
        }
        // Its Secret goes with it, by Kubernetes' own hand.
        if plan.hold == Some(false) {
            objects
                .hold::<TikvClientCertificate>(FINALIZER_REVOKE, false)
                .await?;
        }
        return Ok(Duration::try_from(plan.requeue).unwrap_or(SOON));
    }
    let mut conditions = plan.status.conditions.iter();
    let ready = conditions.any(|one| one.type_ == condition::READY && one.status == "True");
    let life = ClientLife {
        not_before: plan.status.not_before.map(Timestamp::as_second),
        renew_at: plan.status.renew_at.map(Timestamp::as_second),
        not_after: plan.status.not_after.map(Timestamp::as_second),
    };
    let (namespace, name) = (objects.namespace(), objects.owner());
    context.metrics.client(namespace, name, ready, &life);
    context
        .metrics
        .client_exported(namespace, name, &plan.status);
    let uid = resource.uid().unwrap_or_default();
    let told = plan.status.exports.clone();
    let wanted = |place: &str| told.iter().any(|one| one.target == place);
    context.exports.keep(&uid, wanted);
    let mut status = plan.status;
    let made = match &plan.action {
        Some(action) => {
            let made =
                write::make(context, objects, cluster, action, status.reserved.as_ref()).await;
            Some((action, made))
        }
        None => None,
    };
    if let Some((_, Ok(made))) = &made
        && let Some(issued) = &made.issued
    {
        let before = status.reserved.replace(issued.clone());
        status
            .issued
            .extend(before.filter(|one| one.serial != issued.serial));
    }
    // First: should the write fail, it is told what was to be done, and nothing is handed out that could not be revoked.
    if resource.status.as_ref() != Some(&status) {
        let mut bare = resource.clone();
        bare.status = Some(status);
        objects.put_client_status(&bare).await?;
    }
    report::events(&context.recorder, resource, &plan.events).await;
    if let Some((action, made)) = made {
        tracing::info!(
            namespace = objects.namespace(),
            name = objects.owner(),
            issues = action.issue.is_some(),
            "writing the Secret of a client certificate"
        );
        write::write(objects, resource, action, made?).await?;
    }
    // Last of all: whoever does not answer there holds up nothing here.
    if export::carry_out(context, &owner, &plan.exports).await {
        return Ok(SOON);
    }
    Ok(Duration::try_from(plan.requeue).unwrap_or(SOON).max(SOON))
}
