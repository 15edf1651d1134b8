//! TiDB in the small world.

use super::*;
use crate::api::v1alpha1::RolloutPhase;

/// TiDB as a person wrote it.
pub(super) fn facts() -> WorkloadFacts {
    let set = workload(
        "tidb",
        &json!([
            "--store=tikv",
            "--advertise-address=$(POD).tidb-peer.prod.svc",
            "--path=pd:2379",
            "--config=/etc/tidb/tidb.toml"
        ]),
        10080,
    );
    let map = map("tidb-config", "tidb.toml", "lease = \"45s\"\n");
    WorkloadFacts {
        stateful_set: Some(set),
        config_maps: [(map.metadata.name.clone().unwrap(), map)].into(),
        ..WorkloadFacts::default()
    }
}

impl World {
    pub(super) fn has_tidb(&self) -> bool {
        self.seen.resource.spec.cluster.tidb.is_some()
    }

    pub(super) fn workload(&mut self, name: &str) -> &mut WorkloadFacts {
        match name {
            "pd" => &mut self.seen.pd,
            "tikv" => &mut self.seen.tikv,
            _ => &mut self.seen.tidb,
        }
    }

    /// Never two at once, but with the whole cluster, and none while another is being made.
    pub(super) fn tidb_stops(&self, name: &str) {
        let status = self.seen.resource.status.as_ref().unwrap();
        let whole = status.rollout.phase == RolloutPhase::SwitchingToTls;
        let others = self.seen.tidb.pods.len();
        assert!(
            whole || others >= 2,
            "{name} stops, and {others} others run"
        );
    }
}
