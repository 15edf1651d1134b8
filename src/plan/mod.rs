//! The operator's decision, pure: what was observed and the time in, what to do and the status out.

use jiff::{SignedDuration, Timestamp};

pub mod acme;
pub mod action;
pub mod ca;
pub mod checks;
pub mod client_certificate;
pub mod clock;
pub mod compaction;
pub mod conditions;
pub mod desired;
pub mod detect;
pub mod drift;
pub mod endpoints;
pub mod export;
pub mod finish;
pub mod key_status;
pub mod keys;
pub mod leaf;
pub mod master_key;
pub mod merge;
pub mod mysql;
pub mod names;
pub mod objects;
pub mod observed;
pub mod pods;
pub mod policy;
pub mod probes;
pub mod renewal;
pub mod revocation;
pub mod ring;
pub mod rollout;
pub mod rotations;
pub mod schedule;
pub mod stage;
pub mod template;
pub mod tls;
pub mod trust;
pub mod verification;
pub mod versions;
pub mod volumes;
pub mod wrapped;

#[cfg(test)]
mod tests;

use crate::api::v1alpha1::{KeyRing, Spared, TikvSecurityStatus, condition};
use crate::tikv::tikv_toml::secrets_in_the_clear;
use action::{Action, Note, Plan};
use conditions::{Configuration, Facts};
use desired::{Blocker, Desired};
use detect::{Layout, Layouts, detect};
use drift::Found;
use keys::Told;
use names::Part;
use observed::Observed;
use ring::Turn;
use rollout::Rolling;
use stage::TlsStep;

/// Decides: check, issue, tell the agents, configure, roll (ARCHITECTURE, "Operator").
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if observed.resource.metadata.deletion_timestamp.is_some() {
        let (actions, status) = finish::finish(observed);
        return assemble(observed, actions, status, None, now);
    }
    match prepare(observed, now) {
        Ok(prepared) => {
            let attempt = go(observed, &prepared, now);
            attempt
                .unwrap_or_else(|blocker| blocked(observed, Some(&prepared.desired), &blocker, now))
        }
        Err(blocker) => blocked(observed, None, &blocker, now),
    }
}

struct Prepared<'a> {
    /// With the master keys of the ring.
    desired: Desired,
    /// As it was recorded.
    ring: Option<KeyRing>,
    layouts: Layouts<'a>,
    /// Why TiDB can not be seen through. What exists is kept true all the same.
    tidb: Option<Blocker>,
}

fn prepare(observed: &Observed, now: Timestamp) -> Result<Prepared<'_>, Blocker> {
    let desired = desired::parse(observed)?;
    checks::claims(observed)?;
    let cluster = &observed.resource.spec.cluster;
    let tikv = detect(Part::Tikv, &cluster.tikv.stateful_set, &observed.tikv)?;
    let pd = detect(Part::Pd, &cluster.pd.stateful_set, &observed.pd)?;
    let tidb = cluster.tidb.as_ref();
    let tidb = tidb.map(|tidb| detect(Part::Tidb, &tidb.stateful_set, &observed.tidb));
    let (tidb, problem) = match tidb {
        Some(Err(problem)) => (None, Some(problem)),
        Some(Ok(tidb)) => (Some(tidb), None),
        None => (None, None),
    };
    checks::no_tiflash(observed)?;
    versions::kms(observed, &desired, &tikv)?;
    let spec = observed.resource.spec.encryption.as_ref();
    let ring = spec.map(|encryption| ring::recorded(observed, encryption, &tikv, now));
    let ring = ring.transpose()?;
    let desired = match &ring {
        Some(ring) => desired.under(observed.name(), ring, observed.ring().is_some())?,
        None => desired,
    };
    Ok(Prepared {
        desired,
        ring,
        layouts: Layouts { tikv, pd, tidb },
        tidb: problem,
    })
}

fn go(observed: &Observed, prepared: &Prepared<'_>, now: Timestamp) -> Result<Plan, Blocker> {
    let Prepared {
        desired, layouts, ..
    } = prepared;
    // All that can be refused is refused before the first action.
    stage::configure(observed, desired, layouts, desired.tls)?;
    let issue = tls::issue(observed, desired, layouts, now)?;
    let turned = turn(observed, prepared, now)?;
    let (turn, next) = turned.map_or((None, None), |(turn, next)| (Some(turn), Some(next)));
    let told = next.as_ref().and_then(|next| next.encryption.as_ref());
    let told = told.zip(turn.as_ref());
    let told = told.map(|(encryption, turn)| keys::tell(observed, encryption, &turn.ring, now));
    let (told, agent_config) = told
        .transpose()?
        .map_or((None, None), |(told, map)| (Some(told), map));
    let drift = drift::find(observed);
    let left = || drift::is_left(&drift).then_some(Obstacle::Drift);
    let obstacle = permitted(observed, prepared, turn.as_ref());
    let desired = next.as_ref().unwrap_or(desired);
    let obstacle =
        obstacle.and_then(|()| wrapped::make(observed, desired).map_err(Obstacle::WrappedKey));
    let obstacle = obstacle.and_then(|wrap| left().map_or(Ok(wrap), Err));
    let wrap = match obstacle {
        Ok(wrap) => wrap,
        Err(obstacle) => {
            let untold = agent_config.is_some().then_some(told).flatten();
            let restraint = Restraint {
                obstacle: &obstacle,
                drift: &drift,
                turn: turn.as_ref(),
            };
            return restrained(observed, prepared, &restraint, issue, untold, now);
        }
    };
    let mut actions = Vec::new();
    if !has_finalizer(observed) {
        actions.push(Action::AddFinalizer);
    }
    let first_issue = tls::statuses(observed, Some(desired)).len() <= observed.parts().len();
    let issuing = issue.len();
    actions.extend(issue);
    // Before any template names it.
    actions.extend(wrap);
    actions.extend(agent_config.map(|map| Action::ApplyConfigMap(Box::new(map))));

    let mut rolling = rollout::roll(observed, told.as_ref(), now);
    // A store is restarted only when every key that it may be under can be used.
    let withheld = turn
        .as_ref()
        .and_then(|turn| checks::previous_key(observed, turn).err());
    let withheld = withheld.filter(|_| !rolling.complete);
    if withheld.is_some() {
        actions.extend(stop(&mut rolling, observed, now));
    }
    let step = stage::tls_step(observed, desired, &layouts.pd, rolling.sound());
    let mut persist_first = turn.as_ref().is_some_and(|turn| turn.moved);
    let mut configuration = Configuration::of(!first_issue);
    let configure = stage::configure(observed, desired, layouts, step == TlsStep::On)?;
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
        configuration = Configuration::Pending;
    }
    let busy = !actions.is_empty() || withheld.is_some();
    let authority = authority(observed, desired, &rolling, busy, now)?;
    actions.extend(authority.iter().flat_map(|turn| turn.actions.clone()));
    let facts = Facts {
        observed,
        desired: Some(desired),
        drift: &drift,
        told: told.as_ref(),
        turn: turn.as_ref(),
        authority: authority.as_ref(),
        takes_turn: true,
        blocker: withheld.as_ref(),
        tls: &step,
        rolling: &rolling,
        configuration,
        issuing,
    };
    let status = conditions::status(&facts, now);
    let mut plan = assemble(observed, actions, status, told.as_ref(), now);
    plan.persist_first = persist_first;
    plan.events
        .extend(turn.into_iter().flat_map(|turn| turn.notes));
    plan.events
        .extend(authority.into_iter().flat_map(|turn| turn.notes));
    plan.events.append(&mut rolling.events);
    plan.events.extend(exposed(observed, &layouts.tikv));
    Ok(plan)
}

fn has_finalizer(observed: &Observed) -> bool {
    let mut all = observed.resource.metadata.finalizers.iter().flatten();
    all.any(|one| one == crate::api::FINALIZER)
}

/// What follows for the master keys, and what is desired with them.
fn turn(
    observed: &Observed,
    prepared: &Prepared<'_>,
    now: Timestamp,
) -> Result<Option<(Turn, Desired)>, Blocker> {
    let Prepared {
        desired, layouts, ..
    } = prepared;
    let encryption = observed.resource.spec.encryption.as_ref();
    let Some((encryption, ring)) = encryption.zip(prepared.ring.as_ref()) else {
        return Ok(None);
    };
    let tls = stage::has_begun(observed);
    let settled = stage::configure(observed, desired, layouts, tls)?.is_empty();
    let mut turn = ring::turn(observed, encryption, ring, settled, now);
    let next = desired.under(observed.name(), &turn.ring, observed.ring().is_some())?;
    if turn.finished {
        // The pods lack nothing but the end of a key that none of them needs.
        let patch = stage::configure(observed, &next, layouts, tls)?;
        let pods = pods::views(observed, &observed.tikv);
        let mut revisions: Vec<String> = pods
            .iter()
            .filter_map(|pod| pod.revision.map(str::to_owned))
            .collect();
        revisions.sort();
        revisions.dedup();
        turn.ring.spared = stage::digest_of(&patch, &layouts.tikv).map(|template| Spared {
            template,
            revisions,
        });
    }
    Ok(Some((turn, next)))
}

/// What forbids new work, but not that what runs goes on.
enum Obstacle {
    /// A policy is violated, a mode can not do what is asked for, or TiDB is not as it must be: always a matter for a person.
    Policy(Blocker),
    /// The wrapped master key is lost or not ours: always a matter for a person.
    WrappedKey(Blocker),
    /// The master key can not be used: a matter for a person only where something is to be done.
    Key(Blocker),
    /// What somebody else changed is left as it is, on request, and no pod may be restarted with it.
    Drift,
}

/// An obstacle, and what else is known of the moment in which it was met.
struct Restraint<'a> {
    obstacle: &'a Obstacle,
    drift: &'a [Found],
    turn: Option<&'a Turn>,
}

/// Nothing new is begun, and what is true stays said.
fn restrained(
    observed: &Observed,
    prepared: &Prepared<'_>,
    restraint: &Restraint<'_>,
    issue: Vec<Action>,
    untold: Option<Told>,
    now: Timestamp,
) -> Result<Plan, Blocker> {
    let Prepared {
        desired, layouts, ..
    } = prepared;
    let Restraint {
        obstacle,
        drift,
        turn,
    } = *restraint;
    let told = keys::told(observed.agent_config.as_ref());
    // Volume objects of stores whose agents' ConfigMap was deleted, and is not put back, stay.
    let (left, pending) = (matches!(obstacle, Obstacle::Drift), untold.is_some());
    let told = told.or(untold.filter(|_| left));
    let untold = pending;
    let mut rolling = rollout::roll(observed, told.as_ref(), now);
    let step = stage::tls_step(observed, desired, &layouts.pd, rolling.sound());
    let lacks = !stage::configure(observed, desired, layouts, step == TlsStep::On)?.is_empty();
    let step = match step {
        TlsStep::PeerUrls(_) => TlsStep::Wait("what the condition Blocked names".to_owned()),
        step => step,
    };
    let settled = matches!(step, TlsStep::On | TlsStep::Off);
    let waits = turn.is_some_and(|turn| turn.waits.is_some());
    let idle = !untold && !lacks && settled && rolling.complete && !waits;
    let blocker = match obstacle {
        Obstacle::Policy(blocker) | Obstacle::WrappedKey(blocker) => Some(blocker),
        Obstacle::Key(blocker) => (!idle).then_some(blocker),
        // The condition Drift says it.
        Obstacle::Drift => None,
    };
    let mut actions = stop(&mut rolling, observed, now);
    // What exists is renewed all the same: an outage of the KMS, or a new policy, must not become an outage of TLS.
    let authority = names::authority_secret(observed.name());
    if observed.secrets.contains_key(&authority) {
        actions.extend(issue);
    }
    let facts = Facts {
        observed,
        desired: Some(desired),
        drift,
        told: told.as_ref(),
        turn,
        authority: None,
        takes_turn: false,
        blocker,
        tls: &step,
        rolling: &rolling,
        configuration: Configuration::of(!lacks && !untold),
        issuing: actions
            .iter()
            .filter(|action| matches!(action, Action::IssueLeaf { .. }))
            .count(),
    };
    let status = conditions::status(&facts, now);
    Ok(assemble(observed, actions, status, told.as_ref(), now))
}

/// Whether policies, the master keys and what is asked of them let anything begin.
fn permitted(
    observed: &Observed,
    prepared: &Prepared<'_>,
    turn: Option<&Turn>,
) -> Result<(), Obstacle> {
    let tidb = prepared.tidb.clone();
    tidb.map_or(Ok(()), |problem| Err(Obstacle::Policy(problem)))?;
    policy::satisfied(observed).map_err(Obstacle::Policy)?;
    compaction::permitted(observed, &prepared.desired).map_err(Obstacle::Policy)?;
    let Some(turn) = turn else { return Ok(()) };
    checks::master_key(observed, turn).map_err(Obstacle::Key)?;
    turn.refused
        .clone()
        .map_or(Ok(()), |refused| Err(Obstacle::Policy(refused)))
}

/// What follows for the rotation of the CA, once there is one.
fn authority(
    observed: &Observed,
    desired: &Desired,
    rolling: &Rolling,
    busy: bool,
    now: Timestamp,
) -> Result<Option<ca::Turn>, Blocker> {
    let secret = names::authority_secret(observed.name());
    let Some(present) = ca::authority(observed, &secret) else {
        return Ok(None);
    };
    let moment = ca::Moment {
        observed,
        desired,
        rolling,
        held: busy.then(|| "what is under way to end".to_owned()),
        now,
    };
    Ok(Some(ca::turn(&ca::course(observed, present)?, &moment)))
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
    let put_back = stop(&mut rolling, observed, now);
    let drift = drift::find(observed);
    let facts = Facts {
        observed,
        desired,
        drift: &drift,
        told: told.as_ref(),
        turn: None,
        authority: None,
        takes_turn: false,
        blocker: Some(blocker),
        tls: if stage::has_begun(observed) {
            &TlsStep::On
        } else {
            &TlsStep::Off
        },
        rolling: &rolling,
        configuration: Configuration::Unknown,
        issuing: 0,
    };
    let status = conditions::status(&facts, now);
    assemble(observed, put_back, status, told.as_ref(), now)
}

/// The rollout does nothing but put back what it borrowed; what it knows to be true stays.
fn stop(rolling: &mut Rolling, observed: &Observed, now: Timestamp) -> Vec<Action> {
    if !rolling.actions.is_empty() {
        let text = "what the conditions Blocked and Drift name";
        rolling.status.waiting_for = Some(text.to_owned());
    }
    rolling.actions.clear();
    rolling.events.clear();
    let before = observed.resource.status.as_ref();
    let before = before
        .map(|status| status.rollout.clone())
        .unwrap_or_default();
    rolling.status.evicting = before.evicting;
    rolling.status.pending_before = before.pending_before;
    rolling.status.restore_max_store_down_time = before.restore_max_store_down_time;
    let put_back = rollout::put_back(observed, &mut rolling.status, now);
    rolling.complete &= rolling.status.evicting.is_empty();
    put_back
}

fn assemble(
    observed: &Observed,
    actions: Vec<Action>,
    status: TikvSecurityStatus,
    told: Option<&Told>,
    now: Timestamp,
) -> Plan {
    let before = observed.resource.status.as_ref();
    let mut status = status;
    let mut actions = actions;
    status.pd_endpoints = endpoints::of_pd(observed);
    let mut events = conditions::warnings(before, &status);
    events.extend(drift::notes(before, &status));
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
    // Last, and of no weight for when to look again: what happens in other namespaces must not hold up this one.
    if observed.resource.metadata.deletion_timestamp.is_none() {
        let revocation = revocation::turn(observed, &status, now);
        actions.extend(revocation.actions);
        events.extend(revocation.notes);
        status.revocations = revocation.statuses;
        actions.extend(trust::actions(observed));
        status.trust = trust::statuses(observed);
    }
    let exports = export::of_cluster(observed, now);
    if let Some(verdict) = exports.verdict {
        let verdict = (condition::EXPORTED, verdict.0, verdict.1, verdict.2);
        conditions::put(&mut status, observed, verdict, now);
    }
    status.exports = exports.statuses;
    if observed.resource.metadata.deletion_timestamp.is_some() && !status.exports.is_empty() {
        // What is to go with it goes first: nobody would know of it any more.
        actions.retain(|action| *action != Action::RemoveFinalizer);
    }
    let requeue = exports.next.map_or(requeue, |at| {
        let left = at.duration_since(now);
        requeue.min(left.max(SignedDuration::from_secs(1)))
    });
    Plan {
        persist_first: false,
        exports: exports.jobs,
        actions,
        volumes: volumes::volumes(observed, told, now),
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
