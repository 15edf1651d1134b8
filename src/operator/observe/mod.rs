//! Looks at everything a plan may look at. A source that fails becomes data; only the API server's failure is an error.

mod pd;
pub(super) mod pods;
mod policies;
pub(super) mod secrets;
mod trust;
mod workload;

use kube::ResourceExt as _;
pub(super) use trust::Distributed;

use super::error::Error;
use super::objects::Objects;
use super::reconcile::Context;
use super::revocation::record;
use super::revocation::trial::Ports;
use super::{issuer, master_key};
use crate::api::LABEL_NAME;
use crate::api::v1alpha1::{TikvSecurity, TikvVolume};
use crate::plan::names::{Part, agent_config, next_authority_secret};
use crate::plan::observed::{Observed, PdState};
use crate::plan::revocation;
use crate::tikv::pd::PdClient;

/// What was seen, and the means to act on it that a plan does not see.
pub(super) struct View {
    /// For the planner.
    pub observed: Observed,
    /// PD, as it can be reached now.
    pub pd: PdClient,
}

/// Looks once. All objects are read from the API server, none from a cache: nothing is older than our last write.
pub(super) async fn observe(
    context: &Context,
    objects: &Objects,
    resource: TikvSecurity,
) -> Result<View, Error> {
    let (name, spec) = (resource.name_any(), &resource.spec.cluster);
    let agent_config = objects.get(&agent_config(&name)).await?;
    let wrapped = master_key::wrapped_secrets(&resource, agent_config.as_ref());
    let secrets = secrets::read(objects, &name, &Part::of(spec), &wrapped).await?;
    let workloads = workload::all(objects, spec).await?;
    let (tikv, pd_pods) = (&workloads.tikv, &workloads.pd.pods);
    let volumes: Vec<TikvVolume> = objects.list(&format!("{LABEL_NAME}={name}")).await?;
    let others = others(objects, &resource).await?;
    let (policies, namespace_labels) = if context.heeds_policies {
        policies::read(&context.client, &resource.namespace().unwrap_or_default()).await?
    } else {
        Default::default()
    };
    let bundles = trust::read(context, &resource).await?;
    let issuer = issuer::look(context, objects, &resource).await?;
    let not_issued = context
        .issuers
        .not_issued(&resource.uid().unwrap_or_default(), jiff::Timestamp::now());
    let exports = context.exports.known(&resource.uid().unwrap_or_default());
    let master_key = master_key::prove(context, objects, &resource).await?;
    let other_keys =
        master_key::prove_configured(context, objects, &resource, agent_config.as_ref()).await?;
    let key_probe = context.proofs.probe(&resource);

    let tls = secrets.client_config();
    let pd = pd::client(pd_pods, &Part::Pd.secret(&name), tls.clone());
    let tikv_secret = Part::Tikv.secret(&name);
    let now = jiff::Timestamp::now();
    let look = pods::Look {
        probes: &context.probes,
        secrets: &secrets,
        resource: &name,
        now,
    };
    let rotating = secrets.has(&next_authority_secret(&name));
    let (mut pd_state, agents, served, unready) = futures::join!(
        pd::state(&pd, !pd_pods.is_empty()),
        pods::agents(&tikv.pods, tls.clone()),
        look.served(&workloads),
        pods::unready(&tikv.pods, &tikv_secret, tls.clone().filter(|_| rotating)),
    );
    if let PdState::Reachable(facts) = &mut pd_state {
        pods::exact_leaders(&tikv.pods, &tikv_secret, tls, facts).await;
    }
    let own = secrets.client().cloned();
    let mut observed = Observed {
        resource,
        others,
        policies,
        namespace_labels,
        tikv: workloads.tikv,
        pd: workloads.pd,
        tidb: workloads.tidb,
        tiflash: workloads.tiflash,
        ticdc: workloads.ticdc,
        secrets: secrets.into_facts(),
        issuer,
        not_issued,
        bundles,
        exports,
        agent_config,
        volumes: volumes
            .into_iter()
            .map(|volume| (volume.name_any(), volume))
            .collect(),
        pd_state,
        agents,
        served,
        unready,
        revoked: record::read(objects).await?,
        trials: Vec::new(),
        master_key,
        other_keys,
        key_probe,
        agent_image: context.agent_image.clone(),
    };
    if let Some(own) = &own {
        let ports = Ports {
            tikv: &observed.tikv.pods,
            pd: &observed.pd.pods,
            tidb: &observed.tidb.pods,
            resource: &name,
            own,
        };
        let mut trials = ports
            .names(objects, &revocation::to_try(&observed, now))
            .await?;
        if rotating {
            trials.extend(ports.former_ca(objects).await?);
        }
        observed.trials = trials;
        context.latencies.measure(&observed, own).await;
    }
    Ok(View { observed, pd })
}

/// The other objects of the namespace; those that nobody can read claim nothing.
async fn others(objects: &Objects, resource: &TikvSecurity) -> Result<Vec<TikvSecurity>, Error> {
    use kube::core::DeserializeGuard;
    let api = objects.guarded::<TikvSecurity>();
    let all = api
        .list(&kube::api::ListParams::default())
        .await
        .map_err(Error::kube("listing TikvSecurity"))?;
    let readable = all
        .into_iter()
        .filter_map(|DeserializeGuard(one)| one.ok())
        .filter(|one: &TikvSecurity| one.name_any() != resource.name_any());
    Ok(readable.collect())
}
