//! One reconcile: observe, plan, apply, report.
//!
//! # Flow
//! Read the resource and its world → `plan` → (status, if it must be known before acting) → actions in order →
//! volume objects, status, events, metrics.
//!
//! # Guarantees
//! May be cut after any await: what is needed to go on is in the cluster before it is needed. An idle cluster is
//! not written to.
//!
//! # Assumptions
//! One reconcile at a time for a resource (the controller's queue), one operator (the Lease). Should both fail,
//! writes carry UIDs and resource versions, and the slower one fails.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, ResourceExt as _};

use super::apply::Applier;
use super::client_certificate::References;
use super::error::Error;
use super::export;
use super::issuer::Memory;
use super::latency::Latencies;
use super::master_key::{Clients, Proofs};
use super::metrics::Metrics;
use super::objects::Objects;
use super::observe::{Distributed, View, observe};
use super::probes::Probes;
use super::report;
use super::revocation::record::Pen;
use super::vault::Account;
use crate::api::MANAGER;
use crate::api::v1alpha1::TikvSecurity;
use crate::plan::action::Plan;
use crate::plan::plan;

/// What every reconcile has at hand. Nothing in it is missed after a restart.
pub struct Context {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    pub(super) agent_image: String,
    pub(super) heeds_policies: bool,
    pub(super) account: Option<Account>,
    pub(super) probes: Probes,
    pub(super) latencies: Latencies,
    pub(super) proofs: Proofs,
    pub(super) clients: Clients,
    pub(super) issuers: Memory,
    pub(super) exports: export::Memory,
    pub(super) recorder: Recorder,
    pub(super) references: References,
    pub(super) distributed: Distributed,
    pub(super) pen: Pen,
    namespaces: Vec<String>,
    client_namespaces: Vec<String>,
}

impl Context {
    /// With an empty memory. `namespaces` are those in which `TikvSecurity` objects are looked after, all when empty;
    /// `client_namespaces` those in which clients are, besides.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        agent_image: String,
        heeds_policies: bool,
        account: Option<Account>,
        namespaces: Vec<String>,
        client_namespaces: Vec<String>,
    ) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: std::env::var("POD_NAME").ok(),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
            agent_image,
            heeds_policies,
            account,
            probes: Probes::default(),
            latencies: Latencies::default(),
            proofs: Proofs::default(),
            clients: Clients::default(),
            issuers: Memory::default(),
            exports: export::Memory::default(),
            references: References::default(),
            distributed: Distributed::default(),
            pen: Pen::default(),
            namespaces,
            client_namespaces,
        }
    }

    /// Whether `TikvSecurity` objects of this namespace are looked after.
    pub(super) fn looks_after(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace)
    }

    /// Whether clients may be in this namespace.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        self.looks_after(namespace) || self.client_namespaces.iter().any(|one| one == namespace)
    }

    /// Where clients may be: each namespace by itself, or all at once.
    pub(super) fn client_scopes(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        let both = self.namespaces.iter().chain(&self.client_namespaces);
        let mut all: Vec<Option<String>> = both.cloned().map(Some).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Brings one `TikvSecurity` a step further. Returns when to look again.
pub(super) async fn reconcile(
    subject: &PartialObjectMeta<TikvSecurity>,
    context: &Context,
) -> Result<Duration, Error> {
    let (namespace, name) = (subject.namespace().unwrap_or_default(), subject.name_any());
    context.metrics.reconciled(&namespace, &name);
    let uid = subject.uid().unwrap_or_default();
    let objects = Objects::new(context.client.clone(), &namespace, &name, &uid);
    let resource = match objects.written::<TikvSecurity>(&name).await? {
        // Deleted, or made anew: then it comes under its own UID.
        None => {
            context.metrics.show(&namespace, &name, &[]);
            return Ok(LATER);
        }
        Some(resource) if resource.metadata.uid.as_ref() != Some(&uid) => return Ok(SOON),
        Some(resource) => resource,
    };
    let kept = resource.clone();
    let outcome = Box::pin(step(context, &objects, resource)).await;
    if let Err(error) = &outcome {
        report::failure(&context.recorder, &kept, error).await;
    }
    outcome
}

const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_mins(10);

async fn step(
    context: &Context,
    objects: &Objects,
    resource: TikvSecurity,
) -> Result<Duration, Error> {
    let View { observed, pd } = Box::pin(observe(context, objects, resource)).await?;
    let plan: Plan = plan(&observed, Timestamp::now());
    report::metrics(context, &observed, &plan.status, &plan.volumes);
    let told = &plan.status.exports;
    let uid = observed.resource.uid().unwrap_or_default();
    let wanted = |place: &str| told.iter().any(|one| one.target == place);
    context.exports.keep(&uid, wanted);
    let resource = &observed.resource;
    if plan.persist_first {
        report::status(objects, resource, &plan.status, true).await?;
    }
    let applier = Applier {
        objects,
        pd: &pd,
        context,
        resource,
    };
    for action in &plan.actions {
        tracing::info!(
            namespace = observed.namespace(),
            name = observed.name(),
            action = action.name(),
            "acting"
        );
        match applier.apply(action).await {
            // What follows may need it; the next plan knows, and tells.
            Err(error @ Error::NotIssued { .. }) => {
                tracing::warn!(namespace = observed.namespace(), name = observed.name(), %error, "not issued");
                report::failure(&context.recorder, resource, &error).await;
                return Ok(SOON);
            }
            done => done?,
        }
    }
    if resource.metadata.deletion_timestamp.is_none() {
        report::volumes(objects, &observed, &plan.volumes).await?;
        if !plan.persist_first {
            report::status(objects, resource, &plan.status, false).await?;
        }
    }
    report::events(&context.recorder, resource, &plan.events).await;
    // Last of all: whoever does not answer there holds up nothing here.
    let owner = export::Owner { resource, objects };
    if export::carry_out(context, &owner, &plan.exports).await {
        return Ok(SOON);
    }
    Ok(Duration::try_from(plan.requeue).unwrap_or(SOON).max(SOON))
}
