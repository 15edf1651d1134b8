//! TiDB's pods. They keep no data, so nothing is moved before one restarts; its connections end.

use super::{Roll, delete, old};
use crate::api::v1alpha1::RolloutPhase;
use crate::plan::mysql;
use crate::plan::pods::{PodView, replicas};

impl<'a> Roll<'a> {
    /// TiDB, when PD and TiKV need nothing: one pod at a time, each ready before the next. A certificate of its MySQL port that is about
    /// to end waits for neither, as long as nothing else is disturbed.
    pub(super) fn roll_tidb(&mut self) {
        let complete = std::mem::take(&mut self.out.complete);
        let idle = complete || self.out.actions.is_empty();
        let wanting = |pod: &&PodView<'a>| pod.outdated && (complete || self.pressing(pod));
        let wanting: Vec<PodView<'a>> = self.tidb.iter().filter(wanting).cloned().collect();
        if !complete && (!idle || wanting.is_empty()) {
            return;
        }
        let missing = replicas(&self.observed.tidb).saturating_sub(self.tidb.len());
        let stopping = self.tidb.iter().find(|pod| pod.terminating).cloned();
        if missing > 0 || stopping.is_some() {
            let phase = RolloutPhase::Restarting;
            return self.wait(phase, stopping.as_ref(), "TiDB's pods to be ready");
        }
        if let Some(broken) = wanting.iter().find(|pod| !pod.ready) {
            if !self.paused() {
                let why = "it is not ready and runs an old template";
                self.restart(broken, delete(broken, why));
            }
            return;
        }
        if let Some(unwell) = self.tidb.iter().find(|pod| !pod.ready).cloned() {
            let phase = RolloutPhase::Restarting;
            return self.wait(phase, Some(&unwell), "TiDB's pods to be ready");
        }
        let Some(pod) = wanting.first() else {
            self.out.complete = complete;
            return;
        };
        if !self.paused() {
            let why = self.reason(pod).unwrap_or_else(|| old(pod).to_owned());
            self.restart(pod, delete(pod, &why));
        }
    }

    fn pressing(&self, pod: &PodView<'_>) -> bool {
        pod.unread && mysql::is_pressing(self.observed, pod.name, self.now)
    }
}
