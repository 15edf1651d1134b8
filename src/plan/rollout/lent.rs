//! What is borrowed of PD while stores are disturbed, and given back: its patience with absent stores, its
//! maintenance lock.

use jiff::SignedDuration;

use super::Roll;
use crate::api::v1alpha1::{RolloutPhase, RolloutStatus};
use crate::plan::action::Action;
use crate::plan::names;
use crate::plan::observed::{Observed, PdFacts};

/// Longest absence that a re-encryption is given before PD makes replicas elsewhere (facts, TLS §4.5).
const LONG_ABSENCE: &str = "4h0m0s";

impl Roll<'_> {
    /// A store that re-encrypts may be away longer than PD waits by default.
    pub(super) fn raise_down_time(&mut self, facts: &PdFacts) {
        let rewriting = self.told.is_some_and(|told| told.state.reencrypt);
        let present = facts.max_store_down_time.as_deref();
        let short = present.is_some_and(|text| shorter(text, SignedDuration::from_hours(4)));
        if rewriting && short {
            if self.out.status.restore_max_store_down_time.is_none() {
                self.out.status.restore_max_store_down_time = present.map(str::to_owned);
            }
            self.out
                .actions
                .push(Action::SetMaxStoreDownTime(LONG_ABSENCE.to_owned()));
        }
    }

    pub(super) fn restore_down_time(&mut self, facts: &PdFacts) {
        let action = patience(facts, &mut self.out.status);
        self.out.actions.extend(action);
    }

    /// No TiKV pod is disturbed without PD's maintenance lock, and it is not kept when nothing is (facts, TLS §4.5).
    /// Who has it is looked up each time, so a crash between taking and giving back leaves nothing behind.
    pub(super) fn hold_maintenance(&mut self) {
        let Some(facts) = self.observed.pd_facts().filter(|facts| facts.initialized) else {
            return;
        };
        let id = id(self.observed);
        let stores: Vec<&str> = self.tikv.iter().map(|pod| pod.name).collect();
        let disturbs = |action: &Action| match action {
            Action::EvictLeaders { .. } => true,
            Action::DeletePod { name, .. } => stores.contains(&name.as_str()),
            _ => false,
        };
        let disturbing = self.out.actions.iter().any(disturbs);
        match &facts.maintenance {
            Some(task) if task.is(&id) => {
                let phase = self.out.status.phase;
                if !disturbing && matches!(phase, RolloutPhase::Idle | RolloutPhase::Held) {
                    self.out.actions.push(Action::ReleaseMaintenance { id });
                }
            }
            Some(task) if disturbing => {
                let text = format!("the maintenance {task}, which holds PD's lock, to end");
                self.out.actions.clear();
                self.out.events.clear();
                self.out.persist_first = false;
                self.out
                    .status
                    .evicting
                    .retain(|store| facts.evicting.contains(store));
                self.wait(RolloutPhase::AwaitingHealth, None, &text);
            }
            None if disturbing => {
                let description = format!(
                    "tikv-security restarts TiKV for TikvSecurity {}/{}",
                    self.observed.namespace(),
                    self.observed.name()
                );
                let take = Action::TakeMaintenance { id, description };
                self.out.actions.insert(0, take);
            }
            _ => {}
        }
    }
}

/// Gives back PD's patience with absent stores, and forgets it when PD has it again, or somebody has set another one.
pub(super) fn patience(facts: &PdFacts, status: &mut RolloutStatus) -> Option<Action> {
    let old = status.restore_max_store_down_time.clone()?;
    if facts.max_store_down_time.as_deref() == Some(LONG_ABSENCE) {
        return Some(Action::SetMaxStoreDownTime(old));
    }
    status.restore_max_store_down_time = None;
    None
}

/// Gives the lock back, where it is ours.
pub fn release(observed: &Observed) -> Option<Action> {
    let id = id(observed);
    let task = observed.pd_facts()?.maintenance.as_ref()?;
    task.is(&id).then_some(Action::ReleaseMaintenance { id })
}

fn id(observed: &Observed) -> String {
    names::maintenance(observed.name(), observed.namespace())
}

fn shorter(text: &str, than: SignedDuration) -> bool {
    let found = text.parse::<SignedDuration>();
    found.is_ok_and(|found| found < than)
}
