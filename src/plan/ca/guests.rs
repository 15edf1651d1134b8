//! TiFlash and TiCDC: they get certificates, and are configured and restarted by others. What this operator would restart in its own
//! workloads it waits for here, and says so.

use super::Restarts;
use crate::plan::names::Part;
use crate::plan::observed::{Observed, WorkloadFacts};
use crate::plan::pods::{mounts_secret, replicas};

/// What lacks until every pod of them is known to have read what the step made, as far as its age tells.
pub(super) fn lacking(observed: &Observed) -> Option<String> {
    let guests = observed.guests();
    let mut lacking = guests
        .iter()
        .filter_map(|(part, facts)| of(observed, *part, facts));
    lacking.next()
}

fn of(observed: &Observed, part: Part, facts: &WorkloadFacts) -> Option<String> {
    let set = facts.stateful_set.as_ref();
    let set = set.and_then(|set| set.metadata.name.as_deref())?;
    if facts.pods.len() < replicas(facts) {
        return Some(format!("all pods of StatefulSet {set} to be there"));
    }
    let secret = part.secret(observed.name());
    let restarts = Restarts::of(observed);
    facts.pods.iter().find_map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if !mounts_secret(pod, &secret) {
            return Some(format!(
                "{name} to mount Secret {secret}: without it nobody knows whom it trusts"
            ));
        }
        if !observed.served.iter().any(|served| served.pod == name) {
            return Some(format!("{name} to serve its certificate"));
        }
        let created = pod.metadata.creation_timestamp.as_ref()?.0;
        restarts.must(Some(&secret), created).then(|| {
            format!(
                "{name} to be restarted, which is not this operator's to do, because it loads trust at its start: kubectl rollout restart statefulset {set} --namespace {}",
                observed.namespace()
            )
        })
    })
}
