//! What the stores have proven, by their agents' reports.

use crate::api::key_dict::KeyDictReport;
use crate::api::v1alpha1::KeyRing;
use crate::plan::master_key::ParsedKey;
use crate::plan::observed::Observed;
use crate::plan::pods::{PodView, replicas, views};

/// How many stores are as the ring wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stores.
    pub total: usize,
    /// Stores whose pod has the template's configuration and whose `key.dict` is under the key in force (and not under an
    /// envelope that is to be given up), or that have no `key.dict`.
    pub proven: usize,
    /// The first thing that is missing; `None` when all are proven.
    pub waits: Option<String>,
    /// True when some `key.dict` may be under the previous key: everything but a proof of the contrary.
    pub needs_previous: bool,
}

impl Tally {
    /// Counts.
    pub fn of(observed: &Observed, ring: &KeyRing) -> Self {
        let name = ParsedKey::of(observed.name(), &ring.in_force).map(|key| key.config.name());
        let Ok(name) = name else {
            return Self::default();
        };
        let total = replicas(&observed.tikv);
        let mut tally = Self {
            total,
            ..Self::default()
        };
        let under = |report: &KeyDictReport| report.under.as_ref().is_none_or(|one| *one == name);
        let mut known = 0;
        for pod in &views(observed, &observed.tikv) {
            let report = pod.report.and_then(|report| report.key_dict.as_ref());
            known += usize::from(report.is_some_and(under));
            match lacks(pod, ring, report, &under) {
                None => tally.proven += 1,
                Some(text) => tally.waits = tally.waits.or(Some(format!("{}: {text}", pod.name))),
            }
        }
        let spare = spare_claims(observed);
        if tally.proven < total && tally.waits.is_none() {
            let away = total - tally.proven;
            tally.waits = Some(format!("{away} pods that are away to come back"));
        }
        if spare > 0 && tally.waits.is_none() {
            tally.waits = Some(format!(
                "{spare} volume claims of the StatefulSet without a pod: what is on them may be under the previous master key. Scale out once, or delete the claims if their data is not needed"
            ));
        }
        tally.needs_previous = ring.previous.is_some() && (known < total || spare > 0);
        tally
    }
}

fn lacks(
    pod: &PodView<'_>,
    ring: &KeyRing,
    report: Option<&KeyDictReport>,
    under: &impl Fn(&KeyDictReport) -> bool,
) -> Option<String> {
    if pod.terminating {
        return Some("it is stopping".to_owned());
    }
    if pod.outdated {
        return Some("it was not restarted yet".to_owned());
    }
    let Some(report) = report else {
        return Some("its agent has not told yet what its key.dict is under".to_owned());
    };
    if !under(report) {
        let name = report.under.as_ref().map(ToString::to_string);
        return Some(format!(
            "its key.dict is still under {}",
            name.unwrap_or_default()
        ));
    }
    let against = ring
        .envelope
        .as_ref()
        .is_some_and(|wish| wish.is_against(report));
    against.then(|| "its key.dict is still under the envelope from before".to_owned())
}

/// Claims of the claim templates that no pod has: their stores are stopped, and who knows what they are under.
fn spare_claims(observed: &Observed) -> usize {
    let set = observed.tikv.stateful_set.as_ref();
    let templates = set
        .and_then(|set| set.spec.as_ref())
        .and_then(|spec| spec.volume_claim_templates.as_ref())
        .map_or(0, Vec::len);
    let used = replicas(&observed.tikv).saturating_mul(templates);
    observed.tikv.claims.saturating_sub(used)
}
