//! PD's members.

use super::{Roll, delete, old};
use crate::api::v1alpha1::RolloutPhase;
use crate::plan::action::Action;
use crate::plan::pods::{PodView, replicas};

impl<'a> Roll<'a> {
    /// PD: one member at a time, its leader last. True while PD needs something.
    pub(super) fn roll_pd(&mut self) -> bool {
        let missing = replicas(&self.observed.pd).saturating_sub(self.pd.len());
        if missing > 0
            || self
                .pd
                .iter()
                .any(|pod| pod.terminating || (!pod.ready && !pod.outdated))
        {
            let phase = RolloutPhase::Restarting;
            self.wait(phase, None, "PD's pods to be ready");
            return true;
        }
        let outdated: Vec<PodView<'a>> =
            self.pd.iter().filter(|pod| pod.outdated).cloned().collect();
        if outdated.is_empty() {
            return false;
        }
        let fresh = self
            .observed
            .pd_facts()
            .is_some_and(|facts| !facts.initialized);
        if let Some(broken) = outdated.iter().find(|pod| !pod.ready) {
            let action = delete(broken, "it is not ready and runs an old template");
            return self.restart(broken, action);
        }
        if self.paused() {
            return true;
        }
        let Some(facts) = self.observed.pd_facts() else {
            self.await_pd();
            return true;
        };
        let unwell = facts
            .members
            .iter()
            .find(|member| !facts.healthy.contains(&member.name));
        if let Some(member) = unwell.filter(|_| !fresh) {
            let text = format!("PD member {} to be healthy", member.name);
            self.wait(RolloutPhase::AwaitingHealth, None, &text);
            return true;
        }
        let leads = |pod: &PodView<'_>| {
            facts
                .leader
                .as_deref()
                .is_some_and(|name| name == pod.name || name.starts_with(&format!("{}.", pod.name)))
        };
        if let Some(follower) = outdated.iter().find(|pod| !leads(pod)) {
            return self.restart(follower, delete(follower, old(follower)));
        }
        let leader = &outdated[0];
        let heir = facts.members.iter().find(|member| {
            facts.leader.as_ref() != Some(&member.name) && facts.healthy.contains(&member.name)
        });
        if let Some(heir) = heir {
            self.out.actions.push(Action::TransferPdLeader {
                to: heir.name.clone(),
            });
            self.wait(
                RolloutPhase::AwaitingHealth,
                Some(leader),
                "PD's leadership to move",
            );
            return true;
        }
        self.restart(leader, delete(leader, old(leader)))
    }
}
