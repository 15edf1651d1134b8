//! What is under data keys that are to be given up, and whether a compaction can reach it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::class::{Class, Kind};
use super::coverage::{counts, state_of};
use super::dictionaries::State;
use super::inventory::{Inventory, StoreFile};
use super::plan::{Target, Work};
use crate::api::compaction::{Amount, KindAmount, OldKeys};
use crate::format::pb;

/// Sums the encrypted files under data keys that were made before `made_before`. A key whose age nobody knows is old.
pub fn old_keys(inventory: &Inventory, state: &State, made_before: Timestamp) -> OldKeys {
    let limit = u64::try_from(made_before.as_second()).unwrap_or(0);
    let old = |file: &StoreFile| {
        let (State::Has(dictionaries), Some(entry)) = (state, &file.entry) else {
            return false;
        };
        let key = dictionaries.keys.keys.get(&entry.key_id);
        state_of(file) == "encrypted" && key.is_none_or(|key| key.creation_time < limit)
    };
    let mut tables = Amount::default();
    let mut others: BTreeMap<&'static str, Amount> = BTreeMap::new();
    for file in inventory.iter().filter(|file| counts(file) && old(file)) {
        match unreached(file) {
            None => tables.add(1, file.meta.size),
            Some(kind) => others.entry(kind).or_default().add(1, file.meta.size),
        }
    }
    let others = others.into_iter().map(|(kind, sum)| KindAmount {
        kind: kind.to_owned(),
        files: sum.files,
        bytes: sum.bytes,
    });
    OldKeys {
        made_before,
        tables,
        until_restart: others.collect(),
    }
}

/// Whether everything that is left to do is what a compaction does not reach: such files of the right method under old
/// data keys.
pub fn only_restart_left(work: &Work, target: &Target) -> bool {
    let mut files = work.groups.iter().flat_map(|group| &group.names);
    !work.drop_dictionaries
        && files.all(|file| {
            let entry = file.entry.as_ref();
            let method = entry.and_then(|entry| pb::method::from_wire(entry.method));
            method == Some(target.method) && unreached(file).is_some()
        })
}

/// The kind of a file that a compaction of the database leaves as it is (facts, encryption at rest §9.5); `None` for a
/// table that it rewrites.
fn unreached(file: &StoreFile) -> Option<&'static str> {
    let path = file.relative();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let top = path.split('/').next().unwrap_or_default();
    match (top, file.class) {
        ("snap" | "snap_v2" | "tablet_snap", _) => Some("snapshot"),
        ("import", _) => Some("import"),
        ("raft" | "raft-engine" | "raft-wal", _) => Some("raft-log"),
        (_, Class::Data(Kind::Table)) => None,
        (_, Class::Data(Kind::Log)) if name.starts_with("MANIFEST") => Some("manifest"),
        (_, Class::Data(Kind::Log)) => Some("write-ahead-log"),
        (_, Class::Data(Kind::Options)) => Some("options"),
        (_, Class::Data(Kind::Identity)) => Some("identity"),
        (_, Class::Data(Kind::Blob)) => Some("blob"),
        (_, Class::Data(Kind::RaftLog | Kind::Spare)) => Some("raft-log"),
        _ => Some("other"),
    }
}
