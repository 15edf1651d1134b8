//! What must be true before anything is touched.

use super::desired::Blocker;
use super::observed::{MasterKeyClass, MasterKeyProof, Observed};
use super::ring::{Turn, is_under_way};
use crate::api::v1alpha1::{KeyRing, MasterKey, TikvSecurity};

/// Other claims on the same workloads.
pub fn claims(observed: &Observed) -> Result<(), Blocker> {
    let mine = targets(&observed.resource);
    let age = |one: &TikvSecurity| {
        (
            one.metadata.creation_timestamp.clone().map(|time| time.0),
            one.metadata.uid.clone(),
        )
    };
    for other in &observed.others {
        if other.metadata.uid == observed.resource.metadata.uid
            || age(other) > age(&observed.resource)
        {
            continue;
        }
        if let Some(target) = targets(other).iter().find(|target| mine.contains(target)) {
            return Err(Blocker::new(
                "TargetClaimed",
                format!(
                    "StatefulSet {target} belongs to the older TikvSecurity {}",
                    other.metadata.name.as_deref().unwrap_or_default()
                ),
                "Delete one of the two.",
            ));
        }
    }
    Ok(())
}

fn targets(resource: &TikvSecurity) -> Vec<&str> {
    let cluster = &resource.spec.cluster;
    let mut all: Vec<&str> = vec![
        &cluster.tikv.stateful_set.name,
        &cluster.pd.stateful_set.name,
    ];
    let tidb = cluster.tidb.as_ref();
    all.extend(tidb.map(|tidb| tidb.stateful_set.name.as_str()));
    all
}

/// The master key must be proven before the first change. Once its configuration is rolled out, an outage of it is
/// reported and nothing new is begun, but what runs is left alone.
pub fn master_key(observed: &Observed, turn: &Turn) -> Result<(), Blocker> {
    let Some(encryption) = &observed.resource.spec.encryption else {
        return Ok(());
    };
    let wanted = &encryption.master_key;
    let later = is_under_way(&turn.ring) && !is_of(&turn.ring, wanted);
    if !later {
        usable(observed, wanted)?;
    }
    usable(observed, &turn.ring.in_force.key)
}

/// No store is restarted while the key that its `key.dict` may still be under can not be used.
pub fn previous_key(observed: &Observed, turn: &Turn) -> Result<(), Blocker> {
    match &turn.ring.previous {
        Some(previous) if turn.tally.needs_previous => usable(observed, &previous.key),
        _ => Ok(()),
    }
}

fn is_of(ring: &KeyRing, key: &MasterKey) -> bool {
    let mut keys = ring.previous.iter().chain([&ring.in_force]);
    keys.any(|one| one.key.same_key(key))
}

/// What is known of a master key.
pub fn proof<'a>(observed: &'a Observed, key: &MasterKey) -> &'a MasterKeyProof {
    let spec = observed.resource.spec.encryption.as_ref();
    if spec.is_some_and(|encryption| encryption.master_key == *key) {
        return &observed.master_key;
    }
    let other = observed.other_keys.iter().find(|(other, _)| other == key);
    other.map_or(&MasterKeyProof::NotAsked, |(_, proof)| proof)
}

/// Whether a master key was proven.
pub fn usable(observed: &Observed, key: &MasterKey) -> Result<(), Blocker> {
    match proof(observed, key) {
        MasterKeyProof::Usable => Ok(()),
        MasterKeyProof::NotAsked => Err(Blocker::new(
            "MasterKeyUnproven",
            format!("the master key {key} was not proven yet"),
            "This passes by itself.",
        )),
        MasterKeyProof::Refused {
            class,
            message,
            remedy,
        } => Err(Blocker::new(
            master_key_reason(*class),
            message.clone(),
            remedy.clone(),
        )),
    }
}

/// Reason of a master key that can not be used.
pub const fn master_key_reason(class: MasterKeyClass) -> &'static str {
    match class {
        MasterKeyClass::Unavailable => "MasterKeyUnavailable",
        MasterKeyClass::Denied => "MasterKeyDenied",
        MasterKeyClass::WrongKey => "MasterKeyWrong",
        MasterKeyClass::NotFound => "MasterKeyNotFound",
        MasterKeyClass::Disabled => "MasterKeyDisabled",
        MasterKeyClass::PendingDeletion => "MasterKeyPendingDeletion",
        MasterKeyClass::Malformed => "MasterKeyMalformed",
        MasterKeyClass::NeedsHsmImage => "HsmImageNeeded",
    }
}

/// A TiFlash store among those to be encrypted (facts, encryption at rest §6.7).
pub fn no_tiflash(observed: &Observed) -> Result<(), Blocker> {
    let views = super::pods::views(observed, &observed.tikv);
    let flash = views.iter().find(|pod| {
        pod.store.is_some_and(|store| {
            store
                .labels
                .get("engine")
                .is_some_and(|engine| engine.starts_with("tiflash"))
        })
    });
    flash.map_or(Ok(()), |pod| {
        Err(Blocker::new(
            "NotTikv",
            format!(
                "pod {} is a TiFlash store, whose files this program does not know",
                pod.name
            ),
            "Name the StatefulSet of TiKV.",
        ))
    })
}
