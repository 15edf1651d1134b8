//! Mode Compaction: which store compacts now, what it can not do, and what is true of old data keys meanwhile.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use jiff::{SignedDuration, Timestamp};

use super::desired::{Blocker, Desired, EncryptionDesired};
use super::keys::{Told, told};
use super::observed::Observed;
use super::pods::{PodView, replicas, views};
use super::rollout::illness;
use super::volumes::share;
use crate::api::compaction::{Amount, CompactionOrder, CompactionReport, CompactionState, OldKeys};
use crate::api::desired::RunLimits;
use crate::api::report::{AgentReport, Finding};
use crate::api::v1alpha1::{Encryption, ReencryptionMode, VolumePhase, reason};

/// TiKV looks so often whether a new data key is due (facts, encryption at rest §2.4).
const ROTATION_CHECK: SignedDuration = SignedDuration::from_mins(10);
/// Threads of TiKV for one compaction, unless `limits.threads` says otherwise: the gentlest.
const THREADS: NonZeroU8 = NonZeroU8::MIN;

/// Reads the mode: in mode Compaction, how many threads a compaction may use.
pub fn mode(wanted: &Encryption, limits: &RunLimits) -> Result<Option<NonZeroU8>, Blocker> {
    if wanted.reencryption.mode == ReencryptionMode::Restart {
        return Ok(None);
    }
    if !wanted.method.encrypts() {
        return Err(Blocker::new(
            "InvalidSpec",
            "encryption.reencryption.mode Compaction can not bring the method plaintext",
            "Write reencryption.mode: Restart.",
        ));
    }
    let others = RunLimits {
        threads: None,
        ..*limits
    };
    if !others.is_none() {
        return Err(Blocker::new(
            "InvalidSpec",
            "encryption.reencryption.mode Compaction knows limits.threads alone: TiKV's own rocksdb.rate-bytes-per-sec bounds what a compaction writes",
            "Take bytesPerSecond, requestsPerSecond and timeLimit out, or write mode: Restart.",
        ));
    }
    Ok(Some(limits.threads.unwrap_or(THREADS)))
}

/// Refuses what needs a restart: TiKV changes the method of its data keys at its start only (facts, encryption at rest
/// §2.4, §2.5).
pub fn permitted(observed: &Observed, desired: &Desired) -> Result<(), Blocker> {
    let Some(encryption) = desired
        .encryption
        .as_ref()
        .filter(|one| one.compaction.is_some())
    else {
        return Ok(());
    };
    let before = told(observed.agent_config.as_ref()).map(|told| told.state.method);
    let method = encryption.config.method;
    let why = match before {
        Some(before) if before == method => return Ok(()),
        Some(before) => format!("the stores are encrypted by {before}, and {method} is asked for"),
        None => "encryption has not begun yet".to_owned(),
    };
    Err(Blocker::new(
        "CompactionNeedsRestart",
        format!(
            "encryption.reencryption.mode is Compaction, but {why}: TiKV changes its method at its start only"
        ),
        "Write reencryption.mode: Restart; when DataEncrypted is True, mode: Compaction.",
    ))
}

/// What the agents are told; the turn stays where it is.
pub fn order(encryption: &EncryptionDesired, before: Option<&Told>) -> Option<CompactionOrder> {
    let before = before.and_then(|before| before.state.compaction.as_ref());
    Some(CompactionOrder {
        threads: encryption.compaction?,
        turn: before.and_then(|order| order.turn.clone()),
    })
}

/// Since when every store writes new files under its present data key; `None` while one does not say.
pub fn present_keys_since(observed: &Observed) -> Option<Timestamp> {
    let pods = views(observed, &observed.tikv);
    let made = |pod: &PodView<'_>| pod.report?.coverage.as_ref()?.current_data_key_made_at;
    let all: Option<Vec<Timestamp>> = pods.iter().map(made).collect();
    all?.into_iter().min()
}

/// Whose turn it is. A store that has it keeps it until its tables are done, because what TiKV was asked for can not be
/// taken back; the next one gets it only while the cluster is well.
pub fn turn(observed: &Observed, told: &Told, now: Timestamp) -> Option<String> {
    let order = told
        .state
        .compaction
        .as_ref()
        .filter(|_| told.state.reencrypt)?;
    let pods = views(observed, &observed.tikv);
    if let Some(holder) = order.turn.as_deref() {
        let pod = pods.iter().find(|pod| pod.name == holder);
        let works = pod.map_or(pods.len() < replicas(&observed.tikv), |pod| {
            matches!(
                look(told, pod),
                Stand::Unknown | Stand::Failed(_) | Stand::Due | Stand::Working(_)
            )
        });
        if works {
            return order.turn.clone();
        }
    }
    if hindrance(observed, &pods, now).is_some() {
        return None;
    }
    let next = pods
        .iter()
        .find(|pod| matches!(look(told, pod), Stand::Due))?;
    Some(next.name.to_owned())
}

/// Why no store begins now.
fn hindrance(observed: &Observed, pods: &[PodView<'_>], now: Timestamp) -> Option<String> {
    if observed.resource.spec.rollout.paused {
        return Some("rollout.paused to become false".to_owned());
    }
    if pods.len() < replicas(&observed.tikv) || pods.iter().any(|pod| pod.outdated) {
        return Some("restarts to be over".to_owned());
    }
    let Some(facts) = observed.pd_facts() else {
        return Some("PD to answer".to_owned());
    };
    let unwell = || {
        let mut ailments = pods
            .iter()
            .filter_map(|pod| Some((pod.name, pod.ailment(now)?)));
        ailments
            .next()
            .map(|(name, ailment)| format!("{name}: {ailment}"))
    };
    illness(facts, None).or_else(unwell)
}

/// Where one store stands.
enum Stand<'a> {
    /// Its agent has not answered the present desired state.
    Unknown,
    /// It can not go on.
    Failed(&'a Finding),
    /// Something is in plaintext or under another method.
    BeyondReach,
    /// TiKV still writes under a data key that is too old, made then.
    AwaitsKey(Option<Timestamp>),
    /// Tables are to be compacted.
    Due,
    /// TiKV compacts.
    Working(&'a CompactionReport),
    /// No table is under an old data key; other files may be.
    Done(Option<&'a OldKeys>),
}

fn look<'a>(told: &Told, pod: &PodView<'a>) -> Stand<'a> {
    let report = pod
        .report
        .filter(|report| report.gate_open && report.desired_generation == told.state.generation);
    let Some((report, coverage)) = report.and_then(|one| Some((one, one.coverage.as_ref()?)))
    else {
        return Stand::Unknown;
    };
    let mut others = coverage.by_key.iter().filter(|key| key.bytes > 0);
    if coverage.plaintext_bytes > 0 || others.any(|key| key.method != told.state.method) {
        return Stand::BeyondReach;
    }
    let compaction = report.compaction.as_ref();
    if let Some(error) = compaction.and_then(|one| one.error.as_ref()) {
        return Stand::Failed(error);
    }
    let busy = |one: &&CompactionReport| {
        matches!(
            one.state,
            CompactionState::Running | CompactionState::Queued
        )
    };
    if let Some(compaction) = compaction.filter(busy) {
        return Stand::Working(compaction);
    }
    let old = coverage.old_keys.as_ref();
    if old.is_none_or(|old| old.tables.files == 0) {
        return if report.satisfied {
            Stand::Done(old)
        } else {
            Stand::BeyondReach
        };
    }
    if coverage.current_data_key_made_at < told.state.data_key_not_before {
        return Stand::AwaitsKey(coverage.current_data_key_made_at);
    }
    Stand::Due
}

/// The condition `DataEncrypted` in this mode: whether it is so, reason, text.
pub fn verdict(observed: &Observed, told: &Told, now: Timestamp) -> (bool, &'static str, String) {
    let pods = views(observed, &observed.tikv);
    let total = replicas(&observed.tikv);
    let stands: Vec<_> = pods.iter().map(|pod| (pod, look(told, pod))).collect();
    let done = stands
        .iter()
        .filter(|(_, stand)| matches!(stand, Stand::Done(_)));
    let sum = format!(
        "{}/{total} stores have no table under an old data key",
        done.count()
    );
    for (pod, stand) in &stands {
        match stand {
            Stand::Failed(error) => {
                let text = format!("{}: {}. Next: {}.", pod.name, error.message, error.remedy);
                return (false, "CompactionFailed", text);
            }
            Stand::BeyondReach => {
                let text = format!(
                    "{} has files in plaintext, under another method, or without a data key of their own, which no compaction changes. Write reencryption.mode: Restart until DataEncrypted is True.",
                    pod.name
                );
                return (false, "CompactionNotEnough", text);
            }
            _ => {}
        }
    }
    let working = stands.iter().find_map(|(pod, stand)| match stand {
        Stand::Working(report) => Some((pod, *report)),
        _ => None,
    });
    if let Some((pod, report)) = working {
        let family = report.column_family.as_deref();
        let what = family.map_or("waits for an earlier compaction".to_owned(), |family| {
            format!("compacts column family {family}")
        });
        let share = pod.report.and_then(progress).unwrap_or_default();
        return (
            false,
            reason::IN_PROGRESS,
            format!("{} {what} {share}; {sum}", pod.name),
        );
    }
    if stands.iter().any(|(_, stand)| matches!(stand, Stand::Due)) {
        let waits = hindrance(observed, &pods, now);
        let waits = waits
            .unwrap_or("the next store to hear that it is its turn, within two minutes".to_owned());
        return (
            false,
            reason::IN_PROGRESS,
            format!("{sum}; waits for {waits}"),
        );
    }
    let awaiting: Vec<_> = stands
        .iter()
        .filter_map(|(pod, stand)| match stand {
            Stand::AwaitsKey(made) => Some((pod.name, *made)),
            _ => None,
        })
        .collect();
    if !awaiting.is_empty() {
        return (false, "AwaitingDataKey", awaits(observed, told, &awaiting));
    }
    if done_of(&stands) < total {
        return (
            false,
            reason::IN_PROGRESS,
            format!("{sum}; the other agents have yet to read the desired state and measure"),
        );
    }
    ended(&stands, told, total)
}

fn done_of(stands: &[(&PodView<'_>, Stand<'_>)]) -> usize {
    let done = stands
        .iter()
        .filter(|(_, stand)| matches!(stand, Stand::Done(_)));
    done.count()
}

fn awaits(observed: &Observed, told: &Told, stores: &[(&str, Option<Timestamp>)]) -> String {
    let names: Vec<&str> = stores.iter().map(|(name, _)| *name).collect();
    let encryption = observed.resource.spec.encryption.as_ref();
    let period = encryption
        .map(|one| one.data_key_rotation_period.get())
        .unwrap_or_default();
    let latest = stores.iter().filter_map(|(_, made)| *made).max();
    let until =
        latest.and_then(|made| made.checked_add(period.saturating_add(ROTATION_CHECK)).ok());
    let until = until.map_or("when its period is over".to_owned(), |until| {
        format!("by {until}")
    });
    let asked = told
        .state
        .data_key_not_before
        .map_or(String::new(), |at| format!(" of {at}"));
    format!(
        "TiKV of {} still writes under a data key from before the request{asked}, so a compaction would be for nothing. TiKV makes a new one by itself {until} (dataKeyRotationPeriod, and up to 10 minutes); then it goes on. For a new data key at once: reencryption.mode: Restart.",
        names.join(", ")
    )
}

fn ended(
    stands: &[(&PodView<'_>, Stand<'_>)],
    told: &Told,
    total: usize,
) -> (bool, &'static str, String) {
    let mut kinds: BTreeMap<&str, Amount> = BTreeMap::new();
    let (mut stores, mut sum) = (0, Amount::default());
    for (_, stand) in stands {
        let Stand::Done(Some(old)) = stand else {
            continue;
        };
        stores += usize::from(old.left().files > 0);
        for one in &old.until_restart {
            kinds
                .entry(&one.kind)
                .or_default()
                .add(one.files, one.bytes);
            sum.add(one.files, one.bytes);
        }
    }
    let method = told.state.method;
    if sum.files == 0 {
        return (
            true,
            reason::AS_DESIRED,
            format!("{total} stores: every file is {method}"),
        );
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, sum)| format!("{kind} {}", sum.bytes))
        .collect();
    let text = format!(
        "{total} stores: every file is {method} and every table is under a new data key, but {} bytes in {} files of {stores} stores stay under old data keys until these stores restart ({}). To end that: reencryption.mode: Restart, which restarts them one by one.",
        sum.bytes,
        sum.files,
        kinds.join(", ")
    );
    (true, reason::OLD_KEYS_UNTIL_RESTART, text)
}

/// Where the volume of a store stands in this mode; `None` where the mode has nothing to say.
pub fn stand(told: &Told, pod: &PodView<'_>) -> Option<(VolumePhase, String)> {
    told.state
        .compaction
        .as_ref()
        .filter(|_| told.state.reencrypt)?;
    let report = pod.report.filter(|report| report.error.is_none())?;
    let old = report
        .coverage
        .as_ref()
        .and_then(|coverage| coverage.old_keys.as_ref());
    let bytes = old.map_or(0, |old| old.tables.bytes);
    Some(match look(told, pod) {
        Stand::Unknown => (
            VolumePhase::Compacting,
            "Its agent has yet to read the desired state and measure".to_owned(),
        ),
        Stand::Failed(error) => (
            VolumePhase::Failed,
            format!("{}. Next: {}", error.message, error.remedy),
        ),
        Stand::BeyondReach => (
            VolumePhase::Waiting,
            "Files in plaintext or under another method: only mode Restart rewrites them"
                .to_owned(),
        ),
        Stand::AwaitsKey(_) => (
            VolumePhase::Compacting,
            "TiKV has yet to make a new data key".to_owned(),
        ),
        Stand::Due => (
            VolumePhase::Compacting,
            format!("{bytes} bytes of tables are to be compacted, when it is its turn"),
        ),
        Stand::Working(report) => {
            let family = report.column_family.as_deref().unwrap_or("nothing yet");
            (
                VolumePhase::Compacting,
                format!(
                    "TiKV compacts column family {family}; {bytes} bytes of tables are under old data keys"
                ),
            )
        }
        Stand::Done(old) => {
            let left = old.map(OldKeys::left).unwrap_or_default();
            let method = told.state.method;
            let text = if left.files == 0 {
                format!("Every file is {method}")
            } else {
                format!(
                    "Every file is {method}; {} bytes in {} files stay under old data keys until the store restarts",
                    left.bytes, left.files
                )
            };
            (VolumePhase::AsDesired, text)
        }
    })
}

/// How far a compaction is, as `45%`.
pub fn progress(report: &AgentReport) -> Option<String> {
    let compaction = report.compaction.as_ref()?;
    let left = report.coverage.as_ref()?.old_keys.as_ref()?.tables.bytes;
    let total = compaction.bytes_total;
    let runs = compaction.state == CompactionState::Running;
    runs.then(|| share(total.saturating_sub(left), total))
}
