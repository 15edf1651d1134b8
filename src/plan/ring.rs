//! Which master keys the pods are configured with, and when that changes (facts, encryption at rest §2.5, §2.6).
//!
//! ```text
//! key A -> [spec says B] -> B with A as the previous one -> stores restart one by one -> every store proven under B -> key B
//!                             ^ spec says A again: A with B as the previous one, back the same way
//! ```
//! # Guarantees
//! A key is put in force only after it was proven; the previous key stays in the pods' configuration until every store has
//! proven that its `key.dict` is under the one in force. The agent seals `key.dict` anew before TiKV starts, and TiKV waits
//! for it, so what TiKV itself can not do (§2.6) is never asked of it, in no version.

mod envelope;
mod tally;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use super::action::Note;
use super::checks;
use super::desired::Blocker;
use super::detect::Layout;
use super::master_key::{ParsedKey, Slot};
use super::objects::annotation;
use super::observed::{MasterKeyProof, Observed};
use crate::api::ANNOTATION_MASTER_KEYS;
use crate::api::v1alpha1::{
    Encryption, KeyRing, MasterKey, RingKey, RotationKind, RotationPhase, RotationRecord,
    RotationStatus, TikvSecurity,
};
use crate::tikv::encryption_config;

pub use tally::Tally;

/// What follows for the master keys from what was seen.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The ring from now on.
    pub ring: KeyRing,
    /// True when it is another one than was recorded: it must be recorded before anything follows from it.
    pub moved: bool,
    /// True when the previous key goes with this turn.
    pub finished: bool,
    /// What forbids the rotation that is asked for.
    pub refused: Option<Blocker>,
    /// What is awaited; `None` when nothing is asked for or under way.
    pub waits: Option<String>,
    /// What the stores have proven.
    pub tally: Tally,
    /// Events.
    pub notes: Vec<Note>,
}

/// What was recorded; else the key that the spec names, if nothing speaks against it.
pub fn recorded(
    observed: &Observed,
    encryption: &Encryption,
    tikv: &Layout<'_>,
    now: Timestamp,
) -> Result<KeyRing, Blocker> {
    if let Some(ring) = observed.ring() {
        return Ok(ring);
    }
    let ring = KeyRing {
        in_force: RingKey {
            key: encryption.master_key.clone(),
            slot: Slot::First.number(),
            since: whole_seconds(now),
        },
        previous: None,
        rotation: None,
        answered: observed.resource.spec.rotate.master_key.clone(),
        envelope: None,
        spared: None,
    };
    let wanted = ParsedKey::of(observed.name(), &ring.in_force)?
        .config
        .name();
    let found =
        mounted(observed, tikv).map(|config| [config.master_key, config.previous_master_key]);
    let names = found.map(|keys| keys.map(|key| key.name()));
    match names {
        Some([present, previous]) if present != wanted || previous.kind != "plaintext" => {
            Err(Blocker::new(
                "MasterKeyUnknown",
                format!(
                    "it is not recorded which master keys the stores are under (annotation {ANNOTATION_MASTER_KEYS} of ConfigMap {}); the pods are configured with {present}{}, the spec names {}",
                    super::names::agent_config(observed.name()),
                    if previous.kind == "plaintext" {
                        String::new()
                    } else {
                        format!(" and before that {previous}")
                    },
                    encryption.master_key
                ),
                "Restore that annotation, or write the master key that the pods are configured with into encryption.masterKey; change it when that is Ready.",
            ))
        }
        _ => Ok(ring),
    }
}

/// The ring that was written down last: in the agents' ConfigMap, or the copy in the status where that one is lost.
pub fn remembered(resource: &TikvSecurity, agent_config: Option<&ConfigMap>) -> Option<KeyRing> {
    let text = agent_config.and_then(|map| annotation(&map.metadata, ANNOTATION_MASTER_KEYS));
    let ring = text.and_then(|text| serde_json::from_str(text).ok());
    ring.or_else(|| resource.status.as_ref()?.master_keys.clone())
}

/// The encryption that our configuration in the pod template asks TiKV for.
fn mounted(observed: &Observed, tikv: &Layout<'_>) -> Option<encryption_config::TikvEncryption> {
    let template = &tikv.stateful_set.spec.as_ref()?.template;
    let volumes = template.spec.as_ref()?.volumes.as_ref()?;
    let volume = volumes.iter().find(|volume| volume.name == tikv.volume)?;
    let name = &volume.config_map.as_ref()?.name;
    let map = observed.tikv.config_maps.get(name)?;
    if !super::objects::is_ours(observed, &map.metadata) {
        return None;
    }
    let config = encryption_config::parse(map.data.as_ref()?.get(&tikv.key)?).ok()?;
    let encrypts = !matches!(
        config.master_key,
        encryption_config::MasterKeyConfig::Plaintext
    );
    encrypts.then_some(config)
}

/// Decides. `settled`: the pod template carries what the ring says.
pub fn turn(
    observed: &Observed,
    encryption: &Encryption,
    ring: &KeyRing,
    settled: bool,
    now: Timestamp,
) -> Turn {
    let now = whole_seconds(now);
    let mut turn = Turn {
        ring: ring.clone(),
        moved: false,
        finished: false,
        refused: None,
        waits: None,
        tally: Tally::of(observed, ring),
        notes: Vec::new(),
    };
    let wanted = &encryption.master_key;
    let paused = observed.resource.spec.rollout.paused;
    if wanted.same_key(&ring.in_force.key) {
        turn.reach(observed, wanted);
    } else if let Some(previous) = ring
        .previous
        .as_ref()
        .filter(|one| wanted.same_key(&one.key))
    {
        // Until it is turned around it does not end either: nobody wants what it leads to.
        turn.turn_around(observed, wanted, previous, paused, now);
        return turn;
    } else if is_under_way(ring) {
        turn.waits = Some(format!(
            "the rotation that is under way to end; the one to {wanted} begins then"
        ));
    } else {
        turn.begin(observed, wanted, paused, now);
    }
    if !turn.moved && ring.previous.is_some() {
        turn.end(settled, paused, now);
    } else if is_under_way(ring) || !turn.moved && turn.refused.is_none() && turn.waits.is_none() {
        // One that is under way goes on, whatever waits for its end.
        envelope::turn(&mut turn, observed, encryption, paused, now);
    }
    turn.moved |= turn.ring != *ring;
    turn
}

/// True while a rotation has begun and not ended.
pub fn is_under_way(ring: &KeyRing) -> bool {
    let open = |rotation: &RotationRecord| rotation.finished_at.is_none();
    ring.previous.is_some() || ring.rotation.as_ref().is_some_and(open)
}

impl Turn {
    /// The same key, perhaps with other credentials.
    fn reach(&mut self, observed: &Observed, wanted: &MasterKey) {
        if self.ring.in_force.key == *wanted {
            return;
        }
        let mut key = self.ring.in_force.clone();
        key.key = wanted.clone();
        self.refused = beside(observed.name(), &key, self.ring.previous.as_ref()).err();
        if self.refused.is_none() && checks::proof(observed, wanted) == &MasterKeyProof::Usable {
            self.ring.in_force = key;
        }
    }

    fn begin(&mut self, observed: &Observed, wanted: &MasterKey, paused: bool, now: Timestamp) {
        let present = self.ring.in_force.clone();
        self.waits = Some(format!("{wanted} to be proven"));
        let key = RingKey {
            key: wanted.clone(),
            slot: Slot::of(present.slot).other().number(),
            since: now,
        };
        self.refused = beside(observed.name(), &key, Some(&present)).err();
        if self.refused.is_some() {
            return;
        }
        if checks::proof(observed, wanted) != &MasterKeyProof::Usable {
            return;
        }
        if let Err(blocker) = checks::usable(observed, &present.key) {
            let message = format!(
                "the present master key must still be usable when it is rotated away: {}",
                blocker.message
            );
            self.refused = Some(Blocker { message, ..blocker });
            return;
        }
        if paused {
            self.waits = Some("rollout.paused to become false".to_owned());
            return;
        }
        let by = requester(observed, &["spec", "encryption", "masterKey"]);
        self.note(
            "MasterKeyRotationStarted",
            format!(
                "The master key is rotated from {} to {wanted}{}; both must stay usable until the end",
                present.key,
                asked_by(by.as_deref())
            ),
        );
        self.ring.rotation = Some(RotationRecord {
            kind: RotationKind::MasterKey,
            request: None,
            by,
            from: Some(present.key.to_string()),
            to: Some(wanted.to_string()),
            started_at: now,
            abandoned_at: None,
            finished_at: None,
        });
        self.ring.in_force = key;
        self.ring.previous = Some(present);
        self.ring.spared = None;
        self.moved = true;
    }

    /// The spec names the previous key again: the stores that are under the other one go back.
    fn turn_around(
        &mut self,
        observed: &Observed,
        wanted: &MasterKey,
        previous: &RingKey,
        paused: bool,
        now: Timestamp,
    ) {
        self.waits = Some(format!("{wanted} to be proven"));
        if checks::proof(observed, wanted) != &MasterKeyProof::Usable {
            return;
        }
        if paused {
            self.waits = Some("rollout.paused to become false".to_owned());
            return;
        }
        let mut back = previous.clone();
        back.key = wanted.clone();
        back.since = now;
        let rotation = self.ring.rotation.get_or_insert(RotationRecord {
            kind: RotationKind::MasterKey,
            request: None,
            by: None,
            from: None,
            to: None,
            started_at: now,
            abandoned_at: None,
            finished_at: None,
        });
        // Turned around twice it goes on.
        let abandoned = rotation.abandoned_at.is_none();
        rotation.abandoned_at = abandoned.then_some(now);
        let away = std::mem::replace(&mut self.ring.in_force, back);
        let (reason, what) = if abandoned {
            ("MasterKeyRotationAbandoned", "is abandoned")
        } else {
            ("MasterKeyRotationResumed", "goes on after all")
        };
        self.note(
            reason,
            format!(
                "The rotation of the master key {what}: the stores that are under {} are sealed under {wanted} again",
                away.key
            ),
        );
        self.ring.previous = Some(away);
        self.moved = true;
    }

    /// The previous key goes when every store has proven that it does not need it.
    fn end(&mut self, settled: bool, paused: bool, now: Timestamp) {
        let waits = if paused {
            Some("rollout.paused to become false".to_owned())
        } else if settled {
            self.tally.waits.clone()
        } else {
            Some("the pod template to name both keys".to_owned())
        };
        if let Some(waits) = waits {
            self.waits = Some(waits);
            return;
        }
        let Some(previous) = self.ring.previous.take() else {
            return;
        };
        if let Some(rotation) = &mut self.ring.rotation {
            rotation.finished_at = Some(now);
        }
        self.note(
            "MasterKeyRotationFinished",
            format!(
                "key.dict of all {} stores is under {}; {} is not needed any more but for older copies of the volumes",
                self.tally.total, self.ring.in_force.key, previous.key
            ),
        );
        self.finished = true;
        self.moved = true;
    }

    fn note(&mut self, reason: &str, message: String) {
        self.notes.push(Note {
            warning: false,
            reason: reason.to_owned(),
            message,
        });
    }

    /// For the status.
    pub fn status(&self, observed: &Observed, encryption: &Encryption) -> Option<RotationStatus> {
        let wanted = &encryption.master_key;
        let paused = observed.resource.spec.rollout.paused;
        let reason = |waits: Option<&String>| {
            let refused = self.refused.as_ref().map(Blocker::text);
            refused.or(waits.cloned()).unwrap_or_default()
        };
        if !is_under_way(&self.ring) {
            let waits = self.waits.as_ref();
            if waits.is_none() && self.refused.is_none() {
                return None;
            }
            let another = !wanted.same_key(&self.ring.in_force.key);
            return Some(RotationStatus {
                what: if another {
                    RotationKind::MasterKey
                } else {
                    RotationKind::Envelope
                },
                phase: if paused {
                    RotationPhase::Paused
                } else {
                    RotationPhase::Asked
                },
                from: self.ring.in_force.key.to_string(),
                to: wanted.to_string(),
                started_at: None,
                requested_by: None,
                stores: format!("0/{}", self.tally.total),
                reason: reason(waits),
                point_of_no_return: "not reached: nothing was changed".to_owned(),
            });
        }
        let rotation = self.ring.rotation.as_ref();
        let kind = rotation.map_or(RotationKind::MasterKey, |one| one.kind);
        let abandoned = rotation.is_some_and(|one| one.abandoned_at.is_some());
        let in_force = self.ring.in_force.key.to_string();
        let previous = self.ring.previous.as_ref().map(|one| one.key.to_string());
        let from = rotation.and_then(|one| one.from.clone());
        let point_of_no_return = match &previous {
            Some(previous) => format!(
                "not reached: {previous} in encryption.masterKey turns it around; reached when all stores are proven under {in_force}, and {previous} leaves the configuration"
            ),
            None => "none: the master key stays".to_owned(),
        };
        Some(RotationStatus {
            what: kind,
            phase: match (paused, abandoned) {
                (true, _) => RotationPhase::Paused,
                (false, true) => RotationPhase::Abandoning,
                (false, false) => RotationPhase::Running,
            },
            from: from.or(previous).unwrap_or_else(|| in_force.clone()),
            to: rotation.and_then(|one| one.to.clone()).unwrap_or(in_force),
            started_at: rotation.map(|one| one.started_at),
            requested_by: rotation.and_then(|one| one.by.clone()),
            stores: format!("{}/{}", self.tally.proven, self.tally.total),
            reason: reason(self.waits.as_ref()),
            point_of_no_return,
        })
    }
}

/// Whether both keys can be had at once.
fn beside(resource: &str, key: &RingKey, other: Option<&RingKey>) -> Result<(), Blocker> {
    let Some(other) = other else { return Ok(()) };
    ParsedKey::of(resource, key)?.beside(&ParsedKey::of(resource, other)?)
}

/// Who wrote a field of the spec last, as the API server recorded it.
/// The field manager that wrote this field of the resource last.
pub(super) fn requester(observed: &Observed, path: &[&str]) -> Option<String> {
    let entries = observed.resource.metadata.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| {
        let mut fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        for part in path {
            fields = fields.and_then(|fields| fields.get(format!("f:{part}")));
        }
        fields.is_some() && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    let last = owners.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
}

fn asked_by(by: Option<&str>) -> String {
    by.map_or(String::new(), |by| format!(", as asked by {by}"))
}

fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What was done, with what is now over: the newest last.
pub fn history(before: &[RotationRecord], rings: &[Option<&KeyRing>]) -> Vec<RotationRecord> {
    let mut all = before.to_vec();
    let over = rings
        .iter()
        .flatten()
        .filter_map(|ring| ring.rotation.as_ref());
    for rotation in over.filter(|rotation| rotation.finished_at.is_some()) {
        let same = |one: &RotationRecord| {
            one.kind == rotation.kind && one.started_at == rotation.started_at
        };
        if !all.iter().any(same) {
            all.push(rotation.clone());
        }
    }
    let surplus = all.len().saturating_sub(RotationRecord::KEPT);
    all.split_off(surplus)
}
