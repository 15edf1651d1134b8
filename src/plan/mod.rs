//! The operator's decision, pure: what was observed and the time in, what to do and the status out.

use jiff::{SignedDuration, Timestamp};

pub mod action;
pub mod checks;
pub mod conditions;
pub mod desired;
pub mod detect;
pub mod finish;
pub mod keys;
pub mod merge;
pub mod names;
pub mod objects;
pub mod observed;
pub mod pods;
pub mod rollout;
pub mod stage;
pub mod template;
pub mod tls;
pub mod volumes;

#[cfg(test)]
mod tests;

use crate::api::v1alpha1::TikvSecurityStatus;
use crate::tikv::tikv_toml::secrets_in_the_clear;
use action::{Action, Note, Plan};
use conditions::Facts;
use desired::{Blocker, Desired};
use detect::{Layout, detect};
use keys::Told;
use names::Part;
use observed::Observed;
use rollout::Rolling;
use stage::TlsStep;

/// Decides: check, issue, tell the agents, configure, roll (ARCHITECTURE, "Operator").
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if observed.resource.metadata.deletion_timestamp.is_some() {
        let (actions, status) = finish::finish(observed);
        return assemble(observed, actions, status, None);
    }
    match prepare(observed) {
        Ok(prepared) => {
            let attempt = go(observed, &prepared, now);
            attempt
                .unwrap_or_else(|blocker| blocked(observed, Some(&prepared.desired), &blocker, now))
        }
        Err(blocker) => blocked(observed, None, &blocker, now),
    }
}

struct Prepared<'a> {
    desired: Desired,
    tikv: Layout<'a>,
    pd: Layout<'a>,
}

fn prepare(observed: &Observed) -> Result<Prepared<'_>, Blocker> {
    let desired = desired::parse(observed)?;
    checks::claims(observed)?;
    let cluster = &observed.resource.spec.cluster;
    let tikv = detect(Part::Tikv, &cluster.tikv.stateful_set, &observed.tikv)?;
    let pd = detect(Part::Pd, &cluster.pd.stateful_set, &observed.pd)?;
    checks::no_tiflash(observed)?;
    Ok(Prepared { desired, tikv, pd })
}

fn go(observed: &Observed, prepared: &Prepared<'_>, now: Timestamp) -> Result<Plan, Blocker> {
    let Prepared { desired, tikv, pd } = prepared;
    // All that can be refused is refused before the first action.
    stage::configure(observed, desired, tikv, pd, desired.tls)?;
    let issue = tls::issue(observed, desired, tikv, pd, now)?;
    if let Err(blocker) = checks::master_key(observed) {
        let mut plan = blocked(observed, Some(desired), &blocker, now);
        // What exists is renewed all the same: an outage of the KMS must not become one of TLS.
        if observed
            .secrets
            .contains_key(&names::authority_secret(observed.name()))
        {
            plan.actions.extend(issue);
        }
        return Ok(plan);
    }
    let (told, agent_config) = match &desired.encryption {
        Some(encryption) => {
            let (told, map) = keys::tell(observed, encryption, now)?;
            (Some(told), map)
        }
        None => (None, None),
    };
    let mut actions = Vec::new();
    if !observed
        .resource
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|one| one == crate::api::FINALIZER)
    {
        actions.push(Action::AddFinalizer);
    }
    let first_issue = tls::statuses(observed, Some(desired)).len() < 5;
    actions.extend(issue);
    actions.extend(agent_config.map(|map| Action::ApplyConfigMap(Box::new(map))));

    let mut rolling = rollout::roll(observed, told.as_ref(), now);
    let step = stage::tls_step(observed, desired, tikv, pd, rolling.complete);
    let mut persist_first = false;
    let mut configuring = first_issue;
    let configure = stage::configure(observed, desired, tikv, pd, step == TlsStep::On)?;
    if let TlsStep::PeerUrls(urls) = &step {
        actions.extend(urls.iter().cloned());
        hold(&mut rolling);
        persist_first = true;
    } else if configure.is_empty() {
        persist_first |= rolling.persist_first;
        actions.append(&mut rolling.actions);
        actions.extend(stage::sweep(observed));
    } else {
        // The template changes: restarts are decided when it has.
        actions.extend(configure);
        hold(&mut rolling);
        configuring = true;
    }
    let facts = Facts {
        observed,
        desired: Some(desired),
        told: told.as_ref(),
        blocker: None,
        tls: &step,
        rolling: &rolling,
        configuring,
    };
    let status = conditions::status(&facts, now);
    let mut plan = assemble(observed, actions, status, told.as_ref());
    plan.persist_first = persist_first;
    plan.events.append(&mut rolling.events);
    plan.events.extend(exposed(observed, tikv));
    Ok(plan)
}

/// Keeps what the rollout remembers and drops what it would do.
fn hold(rolling: &mut Rolling) {
    rolling.actions.clear();
    rolling.events.clear();
    rolling.complete = false;
    rolling.persist_first = false;
}

/// Nothing is touched but what must be put back: schedulers of ours that would stay.
fn blocked(
    observed: &Observed,
    desired: Option<&Desired>,
    blocker: &Blocker,
    now: Timestamp,
) -> Plan {
    let told = keys::told(observed.agent_config.as_ref());
    let mut rolling = rollout::roll(observed, told.as_ref(), now);
    hold(&mut rolling);
    let (put_back, evicting) = rollout::put_back(observed, now);
    let before = observed.resource.status.as_ref();
    let before = before
        .map(|status| status.rollout.clone())
        .unwrap_or_default();
    rolling.status.evicting = evicting;
    rolling.status.pending_before = before.pending_before;
    rolling.status.restore_max_store_down_time = before.restore_max_store_down_time;
    let facts = Facts {
        observed,
        desired,
        told: told.as_ref(),
        blocker: Some(blocker),
        tls: &TlsStep::Off,
        rolling: &rolling,
        configuring: false,
    };
    let status = conditions::status(&facts, now);
    assemble(observed, put_back, status, told.as_ref())
}

fn assemble(
    observed: &Observed,
    actions: Vec<Action>,
    status: TikvSecurityStatus,
    told: Option<&Told>,
) -> Plan {
    let before = observed.resource.status.as_ref();
    let text = |status: &TikvSecurityStatus| {
        let found = status
            .conditions
            .iter()
            .find(|one| one.type_ == "Blocked" && one.status == "True");
        found.map(|one| (one.reason.clone(), one.message.clone()))
    };
    let mut events = Vec::new();
    if let Some((reason, message)) =
        text(&status).filter(|now| before.and_then(text).as_ref() != Some(now))
    {
        events.push(Note {
            warning: true,
            reason,
            message,
        });
    }
    let ready =
        |status: &TikvSecurityStatus| status.phase == Some(crate::api::v1alpha1::Phase::Ready);
    if ready(&status) && !before.is_some_and(ready) {
        events.push(Note {
            warning: false,
            reason: "Ready".to_owned(),
            message: "Everything is as desired and proven".to_owned(),
        });
    }
    let requeue = if !actions.is_empty() {
        SignedDuration::from_secs(1)
    } else if ready(&status) {
        SignedDuration::from_secs(30)
    } else {
        SignedDuration::from_secs(5)
    };
    Plan {
        persist_first: false,
        actions,
        volumes: volumes::volumes(observed, told),
        status,
        events,
        requeue,
    }
}

/// Once, when the resource is first seen: a secret in TiKV's file is printed by TiKV in three places.
fn exposed(observed: &Observed, tikv: &Layout<'_>) -> Option<Note> {
    let found = secrets_in_the_clear(tikv.toml()).unwrap_or_default();
    let first = observed.resource.status.is_none();
    (first && !found.is_empty()).then(|| Note {
        warning: true,
        reason: "SecretInConfiguration".to_owned(),
        message: format!(
            "ConfigMap {} has {} in the clear; TiKV prints it in its log, in last_tikv.toml and at GET /config. Move it to a Secret or use the pods' identity.",
            tikv.source_name(),
            found.join(", ")
        ),
    })
}
