//! Pods, joined with what PD and the agents say of them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use super::ca::Restarts;
use super::keys::Told;
use super::mysql;
use super::names::VOLUME_TLS;
use super::observed::{Observed, PdFacts, WorkloadFacts};
use super::template;
use crate::api::report::{AgentPhase, AgentReport};
use crate::tikv::pd::types::{Store, StoreState};

/// A store that PD has not heard of for so long is not well, whatever its state says (facts, TLS §4.2).
const FRESH: SignedDuration = SignedDuration::from_secs(20);

/// One pod.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its place in the StatefulSet.
    pub ordinal: u32,
    /// True while it is being deleted.
    pub terminating: bool,
    /// True when all containers are ready.
    pub ready: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it became ready.
    pub ready_since: Option<Timestamp>,
    /// Which template it was made of.
    pub revision: Option<&'a str>,
    /// True when it does not run the StatefulSet's present template, and must, or is `stale` or `unread`.
    pub outdated: bool,
    /// True when it must restart because the CA changed.
    pub stale: bool,
    /// True when it must restart because its MySQL port serves an earlier certificate.
    pub unread: bool,
    /// True when it mounts TLS.
    pub tls: bool,
    /// Its store in PD.
    pub store: Option<&'a Store>,
    /// Its agent's answer.
    pub report: Option<&'a AgentReport>,
}

impl PodView<'_> {
    /// Why it is not well, in words; `None` when it is.
    pub fn ailment(&self, now: Timestamp) -> Option<String> {
        if self.terminating {
            return Some("it is stopping".to_owned());
        }
        if let Some(report) = self.report.filter(|report| !report.gate_open) {
            return Some(agent_text(report));
        }
        if !self.ready {
            return Some("it is not ready".to_owned());
        }
        let Some(store) = self.store else {
            return Some("PD does not know its store yet".to_owned());
        };
        let stale = store
            .last_heartbeat
            .is_none_or(|at| now.duration_since(at) > FRESH);
        match store.state {
            StoreState::Up if store.busy => Some("its store is busy catching up".to_owned()),
            StoreState::Up if stale => Some("PD has no fresh heartbeat of its store".to_owned()),
            // A store that PD heard of before this pod was made is not back yet.
            StoreState::Up if store.started.is_some_and(|at| at < self.created) => {
                Some("its store has not started again".to_owned())
            }
            StoreState::Up => None,
            other => Some(format!("PD says that its store is {}", other.name())),
        }
    }

    /// True when the agent tried this desired state in this pod and could not.
    pub fn failed(&self, told: &Told) -> bool {
        let tried = self.created >= told.since;
        self.answer(told).is_some_and(|report| {
            let short = unsatisfied(report, told) && !out_of_time(report, told);
            tried && (short || under_old_envelope(report, told))
        })
    }

    /// True when only a restart lets the agent do what it is told.
    pub fn wants_agent_run(&self, told: &Told) -> bool {
        let untried = self.created < told.since;
        self.answer(told).is_some_and(|report| {
            let short = unsatisfied(report, told) && (untried || out_of_time(report, told));
            short || untried && under_old_envelope(report, told)
        })
    }

    /// The report, when it answers the present desired state.
    pub fn answer(&self, told: &Told) -> Option<&AgentReport> {
        self.report
            .filter(|report| report.desired_generation == told.state.generation)
    }
}

fn unsatisfied(report: &AgentReport, told: &Told) -> bool {
    let at_rest = matches!(report.phase, AgentPhase::Watching | AgentPhase::Held);
    // In mode Compaction a running store is not restarted for its data.
    let by_restart = told.state.reencrypt && told.state.compaction.is_none();
    by_restart && at_rest && !report.satisfied
}

/// Whether `key.dict` is under a key of the KMS's making that is to be given up.
fn under_old_envelope(report: &AgentReport, told: &Told) -> bool {
    let (wish, found) = (told.state.envelope.as_ref(), report.key_dict.as_ref());
    let against = wish
        .zip(found)
        .is_some_and(|(wish, found)| wish.is_against(found));
    against && matches!(report.phase, AgentPhase::Watching | AgentPhase::Held)
}

/// Whether the last run got further and ended because its time was over: the next one goes on from there.
fn out_of_time(report: &AgentReport, told: &Told) -> bool {
    let further = report.progress.as_ref().is_some_and(|progress| {
        progress.finished_at.is_some() && (1..progress.files_total).contains(&progress.files_done)
    });
    told.state.limits.seconds.is_some() && report.error.is_none() && further
}

/// What an agent that holds TiKV back is doing.
pub fn agent_text(report: &AgentReport) -> String {
    let progress = report
        .progress
        .as_ref()
        .filter(|progress| progress.bytes_total > 0);
    let share =
        progress.map(|p| format!(", {}%", p.bytes_done.saturating_mul(100) / p.bytes_total));
    let share = share.unwrap_or_default();
    match (report.phase, &report.error) {
        (AgentPhase::Held, Some(error)) => format!(
            "its agent holds TiKV back: {}. {}",
            error.message.trim_end_matches('.'),
            error.remedy
        ),
        (AgentPhase::Held, None) => "its agent holds TiKV back".to_owned(),
        (AgentPhase::Recovering, _) => format!("its agent finishes an interrupted run{share}"),
        (AgentPhase::Reencrypting | AgentPhase::Verifying, _) => {
            format!("its agent re-encrypts{share}")
        }
        _ => "its agent prepares".to_owned(),
    }
}

/// The pods of a workload, highest ordinal first, as a StatefulSet restarts them.
pub fn views<'a>(observed: &'a Observed, facts: &'a WorkloadFacts) -> Vec<PodView<'a>> {
    let revision = facts
        .stateful_set
        .as_ref()
        .and_then(update_revision)
        .unwrap_or_default();
    let same = template::spared(observed, facts);
    let restarts = Restarts::of(observed);
    let mut views: Vec<_> = facts
        .pods
        .iter()
        .map(|pod| view(observed, pod, revision, &same, &restarts))
        .collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.ordinal));
    views
}

fn view<'a>(
    observed: &'a Observed,
    pod: &'a Pod,
    revision: &str,
    same: &[String],
    restarts: &Restarts,
) -> PodView<'a> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let own = labels
        .and_then(|all| all.get("controller-revision-hash"))
        .map(String::as_str);
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .find(|one| one.type_ == "Ready" && one.status == "True");
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    let ip = status.and_then(|status| status.pod_ip.as_deref());
    let created = pod.metadata.creation_timestamp.as_ref();
    let created = created.map_or(Timestamp::MIN, |time| time.0);
    let tls = volumes.iter().find(|volume| volume.name == VOLUME_TLS);
    let secret = tls.and_then(|volume| volume.secret.as_ref()?.secret_name.as_deref());
    let stale = restarts.must(secret, created);
    let unread = mysql::unread(observed, pod, created);
    let other = own.is_none_or(|own| own != revision && !same.iter().any(|one| one == own));
    PodView {
        name,
        uid: pod.metadata.uid.as_deref().unwrap_or_default(),
        ordinal: name
            .rsplit('-')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ready: ready.is_some(),
        created,
        ready_since: ready
            .and_then(|one| one.last_transition_time.as_ref())
            .map(|time| time.0),
        revision: own,
        outdated: other || stale || unread,
        stale,
        unread,
        tls: tls.is_some(),
        store: observed
            .pd_facts()
            .and_then(|facts| store_of(facts, name, ip)),
        report: observed
            .agents
            .get(name)
            .and_then(|answer| answer.as_ref().ok()),
    }
}

fn store_of<'a>(facts: &'a PdFacts, pod: &str, ip: Option<&str>) -> Option<&'a Store> {
    facts.stores.iter().find(|store| {
        let host = store
            .address
            .rsplit_once(':')
            .map_or(store.address.as_str(), |(host, _)| host);
        host.split('.').next() == Some(pod)
            || ip.is_some_and(|ip| host.trim_matches(['[', ']']) == ip)
    })
}

/// The revision of the present template, once the StatefulSet's controller has seen it.
pub fn update_revision(stateful_set: &StatefulSet) -> Option<&str> {
    let status = stateful_set.status.as_ref()?;
    let seen = status.observed_generation >= stateful_set.metadata.generation;
    status.update_revision.as_deref().filter(|_| seen)
}

/// How many pods there should be.
pub fn replicas(facts: &WorkloadFacts) -> usize {
    let spec = facts
        .stateful_set
        .as_ref()
        .and_then(|set| set.spec.as_ref());
    let wanted = spec.map_or(0, |spec| spec.replicas.unwrap_or(1));
    usize::try_from(wanted).unwrap_or_default()
}

/// True when the pod mounts the Secret, so that its process speaks TLS with it.
pub fn mounts_secret(pod: &Pod, secret: &str) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| {
        let name = volume
            .secret
            .as_ref()
            .and_then(|source| source.secret_name.as_deref());
        let projected = volume
            .projected
            .iter()
            .flat_map(|all| all.sources.iter().flatten());
        let mut projected = projected.filter_map(|source| source.secret.as_ref());
        name == Some(secret) || projected.any(|source| source.name == secret)
    })
}
