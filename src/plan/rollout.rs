//! Restarts: who, when and why. Never two stores at once; every position is found again by looking.

mod ailing;
mod lent;
mod members;
mod reach;
mod sql;

use jiff::Timestamp;

use super::action::{Action, Note};
use super::ca;
use super::desired::Blocker;
use super::drift;
use super::keys::Told;
use super::mysql;
use super::observed::{Observed, PdFacts, PdState, WorkloadFacts};
use super::pods::{PodView, replicas, update_revision, views};
use crate::api::report::AgentPhase;
use crate::api::v1alpha1::{RolloutPhase, RolloutStatus};
use crate::tikv::pd::types::StoreState;
use ailing::failure;
pub use ailing::illness;
pub use lent::release;

/// What the rollout decided.
#[derive(Clone, Debug, Default)]
pub struct Rolling {
    /// Effects.
    pub actions: Vec<Action>,
    /// The status must be stored before them.
    pub persist_first: bool,
    /// For the status.
    pub status: RolloutStatus,
    /// Events.
    pub events: Vec<Note>,
    /// True when no pod needs a restart and none is disturbed.
    pub complete: bool,
    /// An agent that tried and could not.
    pub failed: Option<String>,
    /// An agent that can not measure or does not answer.
    pub trouble: Option<String>,
    /// A running store that must not be restarted.
    pub damaged: Option<Blocker>,
    /// A running store that could not start again, because its agent can not open its keys now.
    pub cut_off: Option<String>,
}

impl Rolling {
    /// True when nothing stands against stopping every pod once.
    pub fn sound(&self) -> bool {
        self.complete && self.damaged.is_none() && self.cut_off.is_none()
    }
}

/// Decides which pod is disturbed now, if any.
pub fn roll(observed: &Observed, told: Option<&Told>, now: Timestamp) -> Rolling {
    let before = observed
        .resource
        .status
        .as_ref()
        .map(|status| status.rollout.clone());
    let before = before.unwrap_or_default();
    let mut roll = Roll {
        observed,
        told,
        now,
        tikv: views(observed, &observed.tikv),
        pd: views(observed, &observed.pd),
        tidb: views(observed, &observed.tidb),
        out: Rolling::default(),
        before,
    };
    roll.out.status.evicting = roll.before.evicting.clone();
    roll.out.status.restore_max_store_down_time = roll.before.restore_max_store_down_time.clone();
    roll.out.status.pending_before = roll.before.pending_before;
    roll.out.damaged = ailing::damage(&roll.tikv);
    let mut cut_off = roll
        .tikv
        .iter()
        .filter_map(|pod| reach::cut_off(observed, pod));
    roll.out.cut_off = cut_off.next();
    roll.decide();
    roll.hold_maintenance();
    roll.finish()
}

/// Nothing may go on: schedulers of stores that are well are removed, and with the last of them PD gets back the rest
/// that was borrowed. Returns what to do; what is still borrowed stays in `status`.
pub fn put_back(observed: &Observed, status: &mut RolloutStatus, now: Timestamp) -> Vec<Action> {
    let Some(facts) = observed.pd_facts() else {
        return Vec::new();
    };
    status
        .evicting
        .retain(|store| facts.evicting.contains(store));
    let pods = views(observed, &observed.tikv);
    let well = |store: &&u64| {
        let pod = pods
            .iter()
            .find(|pod| pod.store.is_some_and(|one| one.id == **store));
        pod.is_some_and(|pod| pod.ailment(now).is_none())
    };
    let mut actions: Vec<Action> = status
        .evicting
        .iter()
        .filter(well)
        .map(|store| Action::StopEvicting { store: *store })
        .collect();
    if status.evicting.is_empty() {
        actions.extend(lent::patience(facts, status));
        actions.extend(release(observed));
    }
    actions
}

struct Roll<'a> {
    observed: &'a Observed,
    told: Option<&'a Told>,
    now: Timestamp,
    tikv: Vec<PodView<'a>>,
    pd: Vec<PodView<'a>>,
    tidb: Vec<PodView<'a>>,
    before: RolloutStatus,
    out: Rolling,
}

impl<'a> Roll<'a> {
    fn decide(&mut self) {
        self.forget_schedulers();
        let seen = |facts: &&WorkloadFacts| {
            let set = facts.stateful_set.as_ref();
            set.is_none_or(|set| update_revision(set).is_some())
        };
        if !self.observed.workloads().iter().all(seen) {
            return self.wait(
                RolloutPhase::Restarting,
                None,
                "the StatefulSet controller to see the new template",
            );
        }
        if self.switch_to_tls() {
            return;
        }
        if !self.roll_pd() {
            self.roll_tikv();
        }
        self.roll_tidb();
    }

    /// Schedulers that the status names and that no pod in work needs any more.
    fn forget_schedulers(&mut self) {
        let Some(facts) = self.observed.pd_facts() else {
            return;
        };
        let mut kept = Vec::new();
        for store in std::mem::take(&mut self.out.status.evicting) {
            let pod = self
                .tikv
                .iter()
                .find(|pod| pod.store.is_some_and(|one| one.id == store));
            let in_work = match pod {
                Some(pod) => {
                    let wanted = self.reason(pod).is_some() && self.out.damaged.is_none();
                    let can = reach::cut_off(self.observed, pod).is_none();
                    wanted && can || pod.ailment(self.now).is_some()
                }
                // Its pod is away: between its end and its return.
                None => {
                    facts.stores.iter().any(|one| one.id == store)
                        && self.tikv.len() < replicas(&self.observed.tikv)
                }
            };
            if in_work {
                kept.push(store);
            } else if facts.evicting.contains(&store) {
                kept.push(store);
                self.out.actions.push(Action::StopEvicting { store });
            }
        }
        self.out.status.evicting = kept;
    }

    /// The template has TLS and a pod has not: TiKV's port is all TLS or all plaintext, so all go together.
    fn switch_to_tls(&mut self) -> bool {
        let workloads = self.observed.workloads();
        let there = workloads.iter().filter(|one| one.stateful_set.is_some());
        let templates = there.into_iter().all(|facts| template_has_tls(facts));
        let core = self.pd.iter().chain(&self.tikv).filter(|pod| !pod.tls);
        let tidb = self.tidb.iter().filter(|pod| !pod.tls);
        // TiDB that comes later, or is left over, is rolled: it is the stores that speak either the one or the other.
        let needed = core.clone().next().is_some();
        let plain: Vec<PodView<'a>> = core.chain(tidb).filter(|_| needed).cloned().collect();
        if !templates || plain.is_empty() {
            return false;
        }
        let begun = plain.len() < self.pd.len() + self.tikv.len() + self.tidb.len();
        if let Some(damaged) = self.out.damaged.clone().filter(|_| !begun) {
            self.wait(RolloutPhase::Held, None, &damaged.message);
            return true;
        }
        if let Some(cut_off) = self.out.cut_off.clone().filter(|_| !begun) {
            self.wait(RolloutPhase::Held, None, &cut_off);
            return true;
        }
        let mut actions = Vec::new();
        for pod in plain.iter().filter(|pod| !pod.terminating) {
            actions.push(delete(pod, "the cluster switches to TLS"));
        }
        if !actions.is_empty() {
            let text =
                "The whole cluster restarts once into TLS: TiKV speaks either TLS or plaintext";
            self.note("SwitchingToTls", text);
        }
        self.out.actions.extend(actions);
        let first = plain.first().map(|pod| pod.name.to_owned());
        self.wait(
            RolloutPhase::SwitchingToTls,
            None,
            "all pods to stop and come back with TLS",
        );
        self.out.status.pod = first;
        true
    }

    fn roll_tikv(&mut self) {
        let now = self.now;
        let wanting: Vec<PodView<'a>> = self
            .tikv
            .iter()
            .filter(|pod| self.reason(pod).is_some())
            .cloned()
            .collect();
        let total = replicas(&self.observed.tikv);
        self.out.status.updated = Some(format!(
            "{}/{total}",
            self.tikv.len().saturating_sub(wanting.len())
        ));
        self.out.failed = self.told.and_then(|told| {
            let failed = self.tikv.iter().find(|pod| pod.failed(told))?;
            Some(failure(failed))
        });
        let trouble = |told| ailing::trouble(self.observed, &self.tikv, told, now);
        self.out.trouble = self.told.and_then(trouble);
        let fresh = self
            .observed
            .pd_facts()
            .is_some_and(|facts| !facts.initialized && facts.stores.is_empty());
        if fresh && !wanting.is_empty() {
            for pod in wanting.iter().filter(|pod| !pod.terminating) {
                self.out.actions.push(delete(
                    pod,
                    "its pod template changed before the cluster was bootstrapped",
                ));
            }
            return self.wait(RolloutPhase::Restarting, None, "all TiKV pods to come back");
        }
        if self.tikv.len() < total || self.tikv.iter().any(|pod| pod.terminating) {
            let away = self.tikv.iter().find(|pod| pod.terminating).cloned();
            return self.wait(
                RolloutPhase::Restarting,
                away.as_ref(),
                "its pod to come back",
            );
        }
        if total == 0 {
            self.out.complete = true;
            return;
        }
        if self.observed.pd_facts().is_none() {
            return self.await_pd();
        }
        let unwell: Vec<(PodView<'a>, String)> = self
            .tikv
            .iter()
            .filter_map(|pod| pod.ailment(now).map(|text| (pod.clone(), text)))
            .collect();
        if let Some((pod, ailment)) = unwell.first() {
            let holds = pod.report.is_some_and(|report| !report.gate_open);
            let sound = self.out.damaged.is_none() && !self.held();
            // Held for its master keys alone, nothing was begun on its data: another template may name others.
            let stuck = pod
                .report
                .is_some_and(|report| report.phase == AgentPhase::Held && !report.journal_open);
            let free = !holds || stuck;
            if unwell.len() == 1 && pod.outdated && !pod.ready && free && sound {
                self.restart(pod, delete(pod, "it is not ready and runs an old template"));
                return;
            }
            let phase = if holds {
                RolloutPhase::Reencrypting
            } else {
                RolloutPhase::CatchingUp
            };
            return self.wait(phase, Some(pod), &format!("{}: {ailment}", pod.name));
        }
        let Some(facts) = self.observed.pd_facts() else {
            return;
        };
        if let Some(text) = illness(facts, self.before.pending_before) {
            return self.wait(RolloutPhase::AwaitingHealth, None, &text);
        }
        if wanting.is_empty() {
            self.restore_down_time(facts);
            self.out.status.pending_before = None;
            let waiting = self
                .told
                .is_some_and(|told| self.tikv.iter().any(|pod| pod.answer(told).is_none()));
            if waiting {
                let trouble = self.out.trouble.clone();
                let text = trouble
                    .unwrap_or("the agents to read the desired state and measure".to_owned());
                return self.wait(RolloutPhase::Idle, None, &text);
            }
            self.out.complete = self.out.status.evicting.is_empty();
            return;
        }
        self.next(&wanting, facts);
    }

    /// All are well: goes on with the store in work, or begins the next.
    fn next(&mut self, wanting: &[PodView<'a>], facts: &PdFacts) {
        let evicted = |pod: &&PodView<'a>| {
            pod.store
                .is_some_and(|store| self.out.status.evicting.contains(&store.id))
        };
        if let Some(damaged) = self.out.damaged.clone() {
            return self.wait(RolloutPhase::Held, None, &damaged.message);
        }
        let in_work = wanting.iter().find(evicted).cloned();
        if in_work.is_none() {
            if let Some(failed) = self.out.failed.clone() {
                return self.wait(RolloutPhase::Held, None, &failed);
            }
            if self.paused() || !self.settled() {
                return;
            }
        }
        // A store that could not start again is left alone; the others are not held up by it.
        let can = |pod: &&PodView<'a>| reach::cut_off(self.observed, pod).is_none();
        let Some(pod) = in_work.or_else(|| wanting.iter().find(can).cloned()) else {
            let cut_off = self.out.cut_off.clone().unwrap_or_default();
            return self.wait(RolloutPhase::Held, wanting.first(), &cut_off);
        };
        if let Some(cut_off) = reach::cut_off(self.observed, &pod) {
            return self.wait(RolloutPhase::Held, Some(&pod), &cut_off);
        }
        let Some(store) = pod.store else { return };
        let reason = self.reason(&pod).unwrap_or_default();
        let alone = facts
            .stores
            .iter()
            .filter(|one| one.state == StoreState::Up)
            .count()
            < 2;
        if !self.out.status.evicting.contains(&store.id) && !alone {
            self.raise_down_time(facts);
            self.out.status.evicting.push(store.id);
            self.out.persist_first = true;
            let before = self.before.pending_before.unwrap_or(facts.pending_peers);
            self.out.status.pending_before = Some(before);
            self.out
                .actions
                .push(Action::EvictLeaders { store: store.id });
            self.note(
                "EvictingLeaders",
                &format!(
                    "Leaders leave store {} of {}, because {reason}",
                    store.id, pod.name
                ),
            );
            return self.wait(
                RolloutPhase::Evicting,
                Some(&pod),
                &format!("{} leaders to leave store {}", store.leaders, store.id),
            );
        }
        if !alone && !facts.evicting.contains(&store.id) {
            self.out
                .actions
                .push(Action::EvictLeaders { store: store.id });
        }
        let patience = self.observed.resource.spec.rollout.drain_timeout.get();
        let same =
            self.before.phase == RolloutPhase::Evicting && self.before.store_id == Some(store.id);
        let began = self.before.since.filter(|_| same).unwrap_or(self.now);
        let out_of_patience = self.now.duration_since(began) >= patience;
        if store.leaders > 0 && !alone && !out_of_patience {
            return self.wait(
                RolloutPhase::Evicting,
                Some(&pod),
                &format!("{} leaders to leave store {}", store.leaders, store.id),
            );
        }
        if store.leaders > 0 && !alone {
            let text = format!(
                "Store {} still leads {} regions after {patience:#}; its pod {} restarts all the same",
                store.id, store.leaders, pod.name
            );
            self.warn("DrainTimedOut", &text);
        }
        self.restart(&pod, delete(&pod, &reason));
    }

    /// Why a pod must restart.
    fn reason(&self, pod: &PodView<'_>) -> Option<String> {
        if pod.outdated {
            let is_its = |facts: &&&WorkloadFacts| {
                let mut pods = facts.pods.iter();
                pods.any(|one| one.metadata.name.as_deref() == Some(pod.name))
            };
            let workloads = self.observed.workloads();
            let set = workloads.iter().find(is_its);
            let set = set.and_then(|facts| facts.stateful_set.as_ref());
            let name = set.and_then(|set| set.metadata.name.as_deref());
            let drift = drift::restart_reason(self.observed, name.unwrap_or_default(), pod.created);
            return Some(drift.unwrap_or_else(|| old(pod).to_owned()));
        }
        let told = self.told?;
        pod.wants_agent_run(told).then(|| {
            format!(
                "its data is not as desired ({}, generation {})",
                told.state.method, told.state.generation
            )
        })
    }

    fn restart(&mut self, pod: &PodView<'_>, action: Action) -> bool {
        if let Action::DeletePod { reason, .. } = &action {
            self.note(
                "RestartingPod",
                &format!("Pod {} restarts: {reason}", pod.name),
            );
        }
        self.out.actions.push(action);
        self.wait(RolloutPhase::Restarting, Some(pod), "its pod to come back");
        true
    }

    fn held(&self) -> bool {
        self.observed.resource.spec.rollout.paused
    }

    fn paused(&mut self) -> bool {
        if self.held() {
            self.wait(RolloutPhase::Held, None, "rollout.paused to become false");
        }
        self.held()
    }

    /// Quiet time since the last store came back (facts, TLS §4.4).
    fn settled(&mut self) -> bool {
        let settle = self.observed.resource.spec.rollout.settle.get();
        let back = self.tikv.iter().filter_map(|pod| {
            let started = pod.store.and_then(|store| store.started);
            started.max(pod.ready_since)
        });
        let over = back.max().and_then(|last| last.checked_add(settle).ok());
        // A cluster that was never disturbed by us need not be quiet first: a restart of ours is what is waited for.
        let quiet = over.is_none_or(|over| self.now >= over);
        if !quiet {
            self.wait(
                RolloutPhase::Settling,
                None,
                &format!("quiet until {}", over.unwrap_or(self.now)),
            );
        }
        quiet
    }

    fn await_pd(&mut self) {
        let text = match &self.observed.pd_state {
            PdState::Unreachable(why) => format!("PD to answer ({why})"),
            _ => "PD to answer".to_owned(),
        };
        self.wait(RolloutPhase::AwaitingHealth, None, &text);
    }

    fn wait(&mut self, phase: RolloutPhase, pod: Option<&PodView<'_>>, text: &str) {
        self.out.status.phase = phase;
        self.out.status.pod = pod.map(|pod| pod.name.to_owned());
        self.out.status.store_id = pod.and_then(|pod| pod.store).map(|store| store.id);
        self.out.status.reason = pod.and_then(|pod| self.reason(pod));
        self.out.status.waiting_for = Some(text.to_owned());
    }

    fn note(&mut self, reason: &str, message: &str) {
        let note = Note {
            warning: false,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.out.events.push(note);
    }

    fn warn(&mut self, reason: &str, message: &str) {
        let note = Note {
            warning: true,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.out.events.push(note);
    }

    fn finish(mut self) -> Rolling {
        let key = |status: &RolloutStatus| (status.phase, status.pod.clone(), status.store_id);
        let same = key(&self.out.status) == key(&self.before);
        let idle = self.out.status.phase == RolloutPhase::Idle;
        self.out.status.since = match self.before.since {
            Some(since) if same => Some(since),
            _ if idle => None,
            _ => Some(self.now),
        };
        self.out
    }
}

/// Why a pod that is outdated restarts.
const fn old(pod: &PodView<'_>) -> &'static str {
    match (pod.stale, pod.unread) {
        (true, _) => ca::RESTART,
        (false, true) => mysql::RESTART,
        (false, false) => "its pod template changed",
    }
}

fn delete(pod: &PodView<'_>, reason: &str) -> Action {
    Action::DeletePod {
        name: pod.name.to_owned(),
        uid: pod.uid.to_owned(),
        reason: reason.to_owned(),
    }
}

fn template_has_tls(facts: &WorkloadFacts) -> bool {
    facts.stateful_set.as_ref().is_some_and(|set| {
        super::template::has_tls(&super::template::as_json(set)["spec"]["template"]["spec"])
    })
}
