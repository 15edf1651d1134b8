//! What the agents of the pods do, and what they say of it.

use super::*;

impl World {
    pub(super) fn started(&mut self, ordinal: u64, name: &str) {
        let now = self.now;
        let stores = &mut self.pd().stores;
        stores.retain(|store| store.id != ordinal + 1);
        stores.push(Store {
            id: ordinal + 1,
            address: format!("{name}.tikv-peer.prod.svc:20160"),
            state: StoreState::Up,
            last_heartbeat: Some(now),
            started: Some(now),
            ..Store::default()
        });
    }

    pub(super) fn agents(&mut self) {
        let told = keys::told(self.seen.agent_config.as_ref());
        let mut agents = BTreeMap::new();
        self.kubelet();
        let served = self.served();
        for pod in self.seen.tikv.pods.iter().chain(&self.seen.pd.pods) {
            let name = pod.metadata.name.clone().unwrap();
            let spec = pod.spec.as_ref().unwrap();
            if let (Some(told), true) = (&told, spec.init_containers.is_some()) {
                let born = pod.metadata.creation_timestamp.as_ref().unwrap().0;
                let satisfied = born >= told.since && !self.agents_fail;
                let mut report = report(told.state.generation, satisfied);
                let uid = pod.metadata.uid.clone().unwrap();
                let short_runs = &mut self.short_runs;
                let short = satisfied
                    && *self.short.entry(uid).or_insert_with(|| {
                        let short = *short_runs > 0;
                        *short_runs = short_runs.saturating_sub(1);
                        short
                    });
                if short {
                    report.satisfied = false;
                    report.progress = Some(Progress {
                        files_total: 9,
                        files_done: 4,
                        finished_at: Some(self.now),
                        ..Progress::default()
                    });
                }
                report.key_dict = Some(KeyDictReport {
                    under: self.sealed.get(&name).map(|sealed| sealed.0.clone()),
                    previous: false,
                    envelope: self.sealed.get(&name).map(|sealed| sealed.1.clone()),
                });
                if let Some(finding) = self.says.get(&name) {
                    report.desired_generation -= 1;
                    report.satisfied = true;
                    report.error = Some(finding.clone());
                }
                report.master_key = self.keys.get(&name).cloned();
                report.last_verification = self.verified.get(&name).cloned();
                agents.insert(name, Ok(report));
            }
        }
        (self.seen.agents, self.seen.served) = (agents, served);
    }
}

fn report(generation: i64, satisfied: bool) -> AgentReport {
    AgentReport {
        version: "1".into(),
        data_dir: "/var/lib/tikv".into(),
        desired_generation: generation,
        phase: AgentPhase::Watching,
        gate_open: true,
        journal_open: false,
        satisfied,
        error: None,
        progress: None,
        compaction: None,
        coverage: Some(Coverage {
            bytes: 100,
            encrypted_bytes: if satisfied { 100 } else { 0 },
            ..Coverage::default()
        }),
        key_dict: None,
        findings: Vec::new(),
        measured_at: None,
        master_key: None,
        last_verification: None,
    }
}
