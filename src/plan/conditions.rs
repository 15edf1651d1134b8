//! Status: what is true, from what was measured.

mod certificates;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::action::Note;
use super::ca;
use super::desired::{Blocker, Desired};
use super::drift::{self, Found};
use super::key_status;
use super::keys::Told;
use super::observed::{MasterKeyProof, Observed};
use super::ring::{self, Turn};
use super::rollout::Rolling;
use super::rotations;
use super::stage::TlsStep;
use super::tls::statuses;
use crate::api::report::AgentReport;
use crate::api::v1alpha1::{
    DriftAnswer, EncryptionStatus, MasterKey, Phase, RolloutPhase, TikvSecurityStatus, condition,
    reason,
};

/// Everything that the status is made of.
pub struct Facts<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// What is wanted, when it could be parsed.
    pub desired: Option<&'a Desired>,
    /// What somebody else changed.
    pub drift: &'a [Found],
    /// What the agents are told.
    pub told: Option<&'a Told>,
    /// The master keys and their rotation.
    pub turn: Option<&'a Turn>,
    /// The CA and its rotation.
    pub authority: Option<&'a ca::Turn>,
    /// Whether what follows for the master keys is carried out.
    pub takes_turn: bool,
    /// What stops everything.
    pub blocker: Option<&'a Blocker>,
    /// Where TLS stands.
    pub tls: &'a TlsStep,
    /// The rollout.
    pub rolling: &'a Rolling,
    /// Whether the templates are as they should be.
    pub configuration: Configuration,
    /// Certificates that are made in this very step.
    pub issuing: usize,
}

/// Whether the templates carry what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// They do.
    Current,
    /// Something is still to be written.
    Pending,
    /// What is asked for can not be told.
    Unknown,
}

impl Configuration {
    /// Current or pending.
    pub const fn of(current: bool) -> Self {
        if current {
            Self::Current
        } else {
            Self::Pending
        }
    }
}

/// Reasons that a person should hear of once, when they come.
const WARNINGS: [&str; 6] = [
    "AgentFailed",
    "AgentError",
    "CaEnds",
    "CompactionFailed",
    "CompactionNotEnough",
    "NotIssued",
];

impl Facts<'_> {
    fn key_refused(&self) -> bool {
        let refused = matches!(self.observed.master_key, MasterKeyProof::Refused { .. });
        refused || self.rolling.cut_off.is_some()
    }
}

/// The whole status.
pub fn status(facts: &Facts<'_>, now: Timestamp) -> TikvSecurityStatus {
    let observed = facts.observed;
    let before = observed.resource.status.clone().unwrap_or_default();
    let certificates = statuses(observed, facts.desired);
    let remembered = observed.ring();
    let mut status = TikvSecurityStatus {
        observed_generation: observed.resource.metadata.generation,
        rollout: facts.rolling.status.clone(),
        next_renewal: certificates.iter().filter_map(|one| one.renew_at).min(),
        certificates,
        encryption: facts.told.map(|told| encryption(observed, told)),
        rotations: ring::history(
            &before.rotations,
            &[remembered.as_ref(), facts.turn.map(|turn| &turn.ring)],
        ),
        master_key_rotation: match (facts.turn, &observed.resource.spec.encryption) {
            (Some(turn), Some(encryption)) => turn.status(observed, encryption),
            // What can not be told now is what was told last.
            (None, Some(_)) => before.master_key_rotation.clone(),
            (_, None) => None,
        },
        certificate_authority: match facts.authority {
            Some(turn) => turn.status.clone(),
            // What can not be told now is what was told last.
            None => before.certificate_authority.clone(),
        },
        master_keys: match facts.turn {
            // Where nothing is begun the ring stays as it was recorded.
            Some(turn) if facts.takes_turn => Some(turn.ring.clone()),
            _ => remembered.clone(),
        },
        master_key: key_status::status(observed, now),
        drift: drift::records(&before.drift, facts.drift, now),
        ..TikvSecurityStatus::default()
    };
    let mut set = Vec::new();
    let denied = match facts.tls {
        TlsStep::Denied(blocker) => Some(blocker),
        _ => None,
    };
    let blocker = facts.blocker.or(facts.rolling.damaged.as_ref()).or(denied);
    set.push(certificates::certificates_ready(facts, &status, now));
    set.push(match left(&status) {
        Some(text) => (condition::CONFIGURATION_CURRENT, false, "Drift", text),
        None => configuration(facts),
    });
    set.push(rollout(facts));
    set.push(reach(facts));
    set.push(data(facts, &status, now));
    let first = set.iter().find(|one| !one.1).cloned();
    set.push(drifted(&status));
    set.push(match blocker {
        Some(blocker) => (condition::BLOCKED, true, blocker.reason, blocker.text()),
        None => (
            condition::BLOCKED,
            false,
            reason::AS_DESIRED,
            "Nothing needs a person".to_owned(),
        ),
    });
    let left = set
        .iter()
        .find(|one| one.2 == reason::OLD_KEYS_UNTIL_RESTART);
    let (why, text) = match (blocker, first) {
        (Some(blocker), _) => (reason::BLOCKED, blocker.text()),
        (None, Some(first)) => (first.2, first.3),
        (None, None) => (
            reason::AS_DESIRED,
            left.map_or("Everything is as desired and proven".to_owned(), |left| {
                format!(
                    "As desired and proven, as far as it goes without a restart: {}",
                    left.3
                )
            }),
        ),
    };
    let ready = why == reason::AS_DESIRED;
    let certified = set
        .iter()
        .any(|one| one.0 == condition::CERTIFICATES_READY && one.1);
    let found = rotations::Now {
        status: &status,
        told: facts.told,
        rolled: facts.rolling.complete,
        certified: certified && facts.issuing == 0,
        at: now,
    };
    status.rotations = rotations::records(status.rotations.clone(), observed, &found);
    set.insert(0, (condition::READY, ready, why, text.clone()));
    status.phase = Some(phase(facts, ready, blocker.is_some()));
    status.message = Some(text);
    let generation = observed.resource.metadata.generation;
    status.conditions = set
        .into_iter()
        .map(|one| stamp(&before, one, generation, now))
        .collect();
    status
}

/// What a person following along should hear of, because it is new.
pub fn warnings(before: Option<&TikvSecurityStatus>, now: &TikvSecurityStatus) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    let blocked = now.conditions.iter().rev();
    for one in blocked {
        let says = if one.type_ == condition::BLOCKED {
            one.status == "True"
        } else {
            let lost = one.type_ == condition::MASTER_KEY_REACHABLE
                && one.status == "False"
                && one.reason != reason::UNKNOWN;
            lost || one.type_ != condition::READY && WARNINGS.contains(&one.reason.as_str())
        };
        let told = before.is_some_and(|before| {
            before.conditions.iter().any(|old| {
                let same = old.type_ == one.type_ && old.reason == one.reason;
                same && (one.type_ != condition::BLOCKED || old.message == one.message)
            })
        });
        if says && !told && !notes.iter().any(|note| note.reason == one.reason) {
            notes.push(Note {
                warning: true,
                reason: one.reason.clone(),
                message: one.message.clone(),
            });
        }
    }
    notes
}

/// Type, whether it is True, reason and message of a condition.
pub type Verdict = (&'static str, bool, &'static str, String);

fn configuration(facts: &Facts<'_>) -> Verdict {
    let verdict =
        |good, why, text: &str| (condition::CONFIGURATION_CURRENT, good, why, text.to_owned());
    let lacking = |why, because: &str| {
        verdict(
            false,
            why,
            &format!("The templates lack TLS; waiting for {because}"),
        )
    };
    let rotation = facts.turn.and_then(|turn| turn.waits.as_ref());
    match (facts.configuration, facts.tls) {
        (Configuration::Unknown, _) => verdict(
            false,
            reason::BLOCKED,
            "Not compared with what is asked for, and not changed; see the condition Blocked",
        ),
        (_, TlsStep::Denied(blocker)) => verdict(false, blocker.reason, "The templates lack TLS"),
        (_, TlsStep::Wait(what)) => lacking(reason::IN_PROGRESS, what),
        (_, TlsStep::PeerUrls(_)) => {
            lacking(reason::IN_PROGRESS, "PD's members to have their new URLs")
        }
        (Configuration::Pending, _) if facts.blocker.is_some() => verdict(
            false,
            reason::BLOCKED,
            "Something is to be written, but not while it is blocked",
        ),
        (Configuration::Pending, _) => {
            verdict(false, reason::IN_PROGRESS, "Configuration is being written")
        }
        (Configuration::Current, _) if rotation.is_some() => {
            let what = rotation.map(String::as_str).unwrap_or_default();
            verdict(
                false,
                reason::IN_PROGRESS,
                &format!("The rotation of the master key waits for {what}"),
            )
        }
        (Configuration::Current, _) => verdict(
            true,
            reason::AS_DESIRED,
            "The pod templates carry what is asked for",
        ),
    }
}

/// What was left as somebody else made it.
fn left(status: &TikvSecurityStatus) -> Option<String> {
    let open = status.drift.iter().filter(|one| one.ended_at.is_none());
    let left: Vec<_> = open.filter(|one| one.answer == DriftAnswer::Left).collect();
    let first = left.first()?;
    let more = match left.len() {
        1 => String::new(),
        all => format!(" (and {} more, see status.drift)", all - 1),
    };
    Some(format!(
        "{}{more}. No pod is restarted and nothing is written meanwhile. Undo it, or write spec.drift: Correct.",
        drift::text(first)
    ))
}

/// Whether what this operator made is as it made it.
fn drifted(status: &TikvSecurityStatus) -> Verdict {
    if let Some(text) = left(status) {
        return (condition::DRIFT, true, "Left", text);
    }
    let open = status.drift.iter().filter(|one| one.ended_at.is_none());
    let mut back = open.filter(|one| one.answer == DriftAnswer::PutBack);
    if let Some(first) = back.next() {
        return (condition::DRIFT, true, "PuttingBack", drift::text(first));
    }
    let none = "What this operator made is as it made it".to_owned();
    (condition::DRIFT, false, reason::AS_DESIRED, none)
}

fn rollout(facts: &Facts<'_>) -> Verdict {
    if facts.rolling.complete {
        return (
            condition::ROLLOUT_COMPLETE,
            true,
            reason::AS_DESIRED,
            "Every pod runs its template".to_owned(),
        );
    }
    let waiting = facts.rolling.status.waiting_for.clone();
    let text = waiting.map_or("Pods will be restarted".to_owned(), |what| {
        format!("Waiting for {what}")
    });
    (
        condition::ROLLOUT_COMPLETE,
        false,
        reason::IN_PROGRESS,
        text,
    )
}

/// Whether the master key is reached from everywhere: from here, and from each store that runs.
fn reach(facts: &Facts<'_>) -> Verdict {
    let verdict = master_key(facts);
    let Some(cut_off) = facts.rolling.cut_off.as_ref().filter(|_| verdict.1) else {
        return verdict;
    };
    let text = format!(
        "The operator can use the master key, but a store can not. Waiting for {cut_off}. Do not restart that pod; check its way to the KMS and its identity."
    );
    (condition::MASTER_KEY_REACHABLE, false, "StoreCutOff", text)
}

fn master_key(facts: &Facts<'_>) -> Verdict {
    let verdict = |good, why, text: String| (condition::MASTER_KEY_REACHABLE, good, why, text);
    if facts.observed.resource.spec.encryption.is_none() {
        return verdict(
            true,
            reason::NOT_REQUESTED,
            "Encryption at rest is not asked for".to_owned(),
        );
    }
    match &facts.observed.master_key {
        MasterKeyProof::Usable => {}
        MasterKeyProof::NotAsked => {
            return verdict(false, reason::UNKNOWN, "Not proven yet".to_owned());
        }
        MasterKeyProof::Refused { .. } => return refusal(&facts.observed.master_key, ""),
    }
    let configured = |key: &MasterKey| super::checks::proof(facts.observed, key);
    let ring = facts.turn.map(|turn| &turn.ring);
    let keys = ring
        .into_iter()
        .flat_map(|ring| [Some(&ring.in_force), ring.previous.as_ref()]);
    let mut others = keys.flatten().map(|one| configured(&one.key));
    if let Some(refused) = others.find(|proof| matches!(proof, MasterKeyProof::Refused { .. })) {
        return refusal(refused, "Stores may still be under another master key: ");
    }
    verdict(
        true,
        reason::AS_DESIRED,
        "A key was wrapped and unwrapped".to_owned(),
    )
}

fn refusal(proof: &MasterKeyProof, which: &str) -> Verdict {
    let (why, text) = match proof {
        MasterKeyProof::Refused {
            class,
            message,
            remedy,
        } => (
            super::checks::master_key_reason(*class),
            format!("{which}{message}. {remedy}"),
        ),
        MasterKeyProof::Usable | MasterKeyProof::NotAsked => (reason::UNKNOWN, String::new()),
    };
    (condition::MASTER_KEY_REACHABLE, false, why, text)
}

fn data(facts: &Facts<'_>, status: &TikvSecurityStatus, now: Timestamp) -> Verdict {
    let verdict = |good, why, text: String| (condition::DATA_ENCRYPTED, good, why, text);
    let (Some(told), Some(sum)) = (facts.told, &status.encryption) else {
        if facts.observed.resource.spec.encryption.is_some() {
            return verdict(
                false,
                reason::IN_PROGRESS,
                "The agents were not told yet".to_owned(),
            );
        }
        return verdict(
            true,
            reason::NOT_REQUESTED,
            "Encryption at rest is not asked for".to_owned(),
        );
    };
    if let Some(failed) = &facts.rolling.failed {
        return verdict(
            false,
            "AgentFailed",
            format!("{failed} After that write a new word in rotate.dataKey to try again."),
        );
    }
    if let Some(damaged) = &facts.rolling.damaged {
        return verdict(false, damaged.reason, damaged.text());
    }
    if let Some(trouble) = &facts.rolling.trouble {
        return verdict(false, "AgentError", trouble.clone());
    }
    if !told.state.reencrypt {
        return verdict(
            true,
            "ReencryptionNever",
            format!(
                "{} of the data is encrypted; by policy existing files are left as they are",
                sum.encrypted
            ),
        );
    }
    if told.state.compaction.is_some() {
        let (good, why, text) = super::compaction::verdict(facts.observed, told, now);
        return verdict(good, why, text);
    }
    if sum.stores_total > 0 && sum.stores_as_desired == sum.stores_total {
        return verdict(
            true,
            reason::AS_DESIRED,
            format!(
                "{} stores, {} bytes: every file is {}",
                sum.stores_total, sum.bytes, told.state.method
            ),
        );
    }
    verdict(
        false,
        reason::IN_PROGRESS,
        format!(
            "{} stores are as desired, {} did not answer",
            sum.stores, sum.stores_unknown
        ),
    )
}

fn encryption(observed: &Observed, told: &Told) -> EncryptionStatus {
    let total = super::pods::replicas(&observed.tikv);
    let reports: Vec<&AgentReport> = observed
        .agents
        .values()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    let good = reports
        .iter()
        .filter(|report| report.satisfied && report.desired_generation == told.state.generation)
        .count();
    let sum = |of: fn(&crate::api::report::Coverage) -> u64| {
        reports
            .iter()
            .filter_map(|report| report.coverage.as_ref())
            .map(of)
            .sum()
    };
    let (bytes, encrypted_bytes): (u64, u64) = (sum(|c| c.bytes), sum(|c| c.encrypted_bytes));
    let share = super::volumes::share(encrypted_bytes, bytes);
    EncryptionStatus {
        method: told.state.method,
        data_key_not_before: told.state.data_key_not_before,
        stores: format!("{good}/{total}"),
        stores_total: total as u64,
        stores_as_desired: good as u64,
        stores_unknown: total.saturating_sub(reports.len()) as u64,
        bytes,
        encrypted_bytes,
        plaintext_bytes: sum(|c| c.plaintext_bytes),
        old_key_table_bytes: sum(|c| c.old_keys.as_ref().map_or(0, |old| old.tables.bytes)),
        old_key_bytes_until_restart: sum(|c| c.old_keys.as_ref().map_or(0, |old| old.left().bytes)),
        encrypted: share,
    }
}

fn phase(facts: &Facts<'_>, ready: bool, blocked: bool) -> Phase {
    let rollout = facts.rolling.status.phase;
    if ready {
        return Phase::Ready;
    }
    if rollout == RolloutPhase::SwitchingToTls || matches!(facts.tls, TlsStep::PeerUrls(_)) {
        return Phase::SwitchingToTls;
    }
    let at_work = !matches!(rollout, RolloutPhase::Idle | RolloutPhase::Held);
    match () {
        () if facts.blocker.is_some() => Phase::Blocked,
        () if facts.rolling.failed.is_some() => Phase::Degraded,
        () if facts.configuration == Configuration::Pending => Phase::Preparing,
        () if at_work => Phase::RollingOut,
        () if blocked => Phase::Blocked,
        () if facts.observed.resource.spec.rollout.paused => Phase::Paused,
        () if facts.rolling.trouble.is_some() || facts.key_refused() => Phase::Degraded,
        () if facts.rolling.complete => Phase::Proving,
        () => Phase::RollingOut,
    }
}

/// One more condition, for what is decided after the others.
pub fn put(status: &mut TikvSecurityStatus, observed: &Observed, verdict: Verdict, now: Timestamp) {
    let before = observed.resource.status.clone().unwrap_or_default();
    let generation = observed.resource.metadata.generation;
    status.conditions.retain(|one| one.type_ != verdict.0);
    status
        .conditions
        .push(stamp(&before, verdict, generation, now));
}

fn stamp(
    before: &TikvSecurityStatus,
    verdict: Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let (kind, good, why, message) = verdict;
    let state = if good { "True" } else { "False" };
    let old = before
        .conditions
        .iter()
        .find(|one| one.type_ == kind && one.status == state);
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: state.to_owned(),
        reason: why.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: old.map_or(Time(seconds), |old| old.last_transition_time.clone()),
    }
}
