//! The resource is being deleted: PD gets back what was changed in it. What pods mount has no owner, and stays.

use super::action::Action;
use super::observed::{Observed, PdState};
use super::rollout;
use crate::api::v1alpha1::{Phase, RolloutPhase, RolloutStatus, TikvSecurityStatus};

/// Puts back, and ends. PD that can not be asked is waited for only while there is something to put back.
pub fn finish(observed: &Observed) -> (Vec<Action>, TikvSecurityStatus) {
    let mut status = observed.resource.status.clone().unwrap_or_default();
    status.phase = Some(Phase::Deleting);
    let mut actions = Vec::new();
    let RolloutStatus {
        evicting,
        restore_max_store_down_time,
        phase,
        ..
    } = status.rollout.clone();
    // In the middle of a restart the maintenance lock is taken as well.
    let resting = matches!(
        phase,
        RolloutPhase::Idle | RolloutPhase::Held | RolloutPhase::AwaitingHealth
    );
    let to_put_back = !evicting.is_empty() || restore_max_store_down_time.is_some() || !resting;
    let gone = observed.pd.stateful_set.is_none() && observed.pd.pods.is_empty();
    if to_put_back && !gone {
        if !matches!(observed.pd_state, PdState::Reachable(_)) {
            status.message = Some("PD does not answer; its evict-leader schedulers, settings and maintenance lock are to be put back before this object goes".to_owned());
            return (actions, status);
        }
        actions.extend(
            evicting
                .into_iter()
                .map(|store| Action::StopEvicting { store }),
        );
        actions.extend(restore_max_store_down_time.map(Action::SetMaxStoreDownTime));
    }
    actions.extend(rollout::release(observed));
    actions.push(Action::RemoveFinalizer);
    status.message =
        Some("Certificates and configuration stay for the pods that mount them".to_owned());
    (actions, status)
}
