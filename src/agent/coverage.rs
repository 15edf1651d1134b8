//! What is encrypted with which key: figures and findings, from an inventory.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::class::Class;
use super::content::Look;
use super::dictionaries::State;
use super::inventory::{Inventory, StoreFile};
use crate::api::method::Method;
use crate::api::report::{Coverage, Finding, KeyUse, Severity};
use crate::format::pb::{self, KeyDictionary};

/// The state of one file, a word for people and for JSON.
pub fn state_of(file: &StoreFile) -> &'static str {
    match (file.class, &file.bad_entry, file.look) {
        (_, Some(_), _) => "key-missing",
        (Class::Data(_) | Class::Current, None, Look::Differs) => "mismatch",
        (Class::Data(_), ..) if file.pending => "pending",
        (Class::Plain | Class::Current, ..) => "always-plaintext",
        (Class::Leftover, ..) => "leftover",
        (Class::Ours, ..) => "temporary",
        (Class::Unknown, ..) if file.entry.is_none() => "unknown",
        _ if file.in_the_clear() => "plaintext",
        _ => "encrypted",
    }
}

/// Sums the files that TiKV encrypts when encryption is on.
pub fn measure(inventory: &Inventory, state: &State) -> Coverage {
    let no_keys = KeyDictionary::default();
    let keys = match state {
        State::Never => &no_keys,
        State::Has(dictionaries) => &dictionaries.keys,
    };
    let mut coverage = Coverage {
        current_data_key: (keys.current_key_id != 0).then(|| keys.current_key_id.to_string()),
        current_data_key_made_at: keys
            .keys
            .get(&keys.current_key_id)
            .and_then(|key| created_at(key.creation_time)),
        ..Coverage::default()
    };
    let mut by_key: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for file in inventory.iter().filter(|file| counts(file)) {
        let size = file.meta.size;
        coverage.files += 1;
        coverage.bytes += size;
        match (&file.entry, state_of(file)) {
            (Some(entry), "encrypted") => {
                coverage.encrypted_bytes += size;
                let used = by_key.entry(entry.key_id).or_default();
                *used = (used.0 + 1, used.1 + size);
            }
            (_, "plaintext") => coverage.plaintext_bytes += size,
            _ => {}
        }
    }
    coverage.by_key = by_key
        .into_iter()
        .filter_map(|(id, (files, bytes))| {
            let key = keys.keys.get(&id)?;
            Some(KeyUse {
                key_id: id.to_string(),
                method: pb::method::from_wire(key.method).unwrap_or(Method::Plaintext),
                created_at: created_at(key.creation_time),
                files,
                bytes,
            })
        })
        .collect();
    coverage
}

/// When a data key was made.
pub fn created_at(seconds: u64) -> Option<Timestamp> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
}

/// Files that have to be encrypted when encryption is on.
pub fn counts(file: &StoreFile) -> bool {
    match file.class {
        Class::Data(_) => true,
        Class::Unknown => file.entry.is_some(),
        _ => false,
    }
}

/// What a person should know, most severe first.
pub fn findings(inventory: &Inventory, state: &State) -> Vec<Finding> {
    let mut findings: Vec<Finding> = inventory.iter().filter_map(finding).collect();
    findings.extend(inventory.obstacles.iter().map(|obstacle| Finding {
        code: obstacle.code().to_owned(),
        severity: Severity::Error,
        message: obstacle.to_string(),
        remedy: obstacle.remedy(),
        path: None,
    }));
    findings.extend(linked_outside(inventory));
    if !inventory.stale.is_empty() {
        findings.push(Finding {
            code: "StaleEntries".to_owned(),
            severity: Severity::Info,
            message: format!(
                "{} entries of file.dict have no file",
                inventory.stale.len()
            ),
            remedy: "nothing: they are normal, and the next re-encryption drops them".to_owned(),
            path: None,
        });
    }
    if let State::Has(dictionaries) = state {
        if dictionaries.files.torn_bytes > 0 {
            findings.push(Finding {
                code: "TornDictionaryTail".to_owned(),
                severity: Severity::Info,
                message: format!(
                    "the last {} bytes of file.dict are a record that was never finished",
                    dictionaries.files.torn_bytes
                ),
                remedy: "nothing: TiKV drops it at its next start".to_owned(),
                path: Some("file.dict".to_owned()),
            });
        }
        for (id, _) in dictionaries
            .keys
            .keys
            .iter()
            .filter(|(_, key)| key.was_exposed)
        {
            findings.push(Finding {
                code: "ExposedDataKey".to_owned(),
                severity: Severity::Warning,
                message: format!("data key {id} was once stored without a secure master key"),
                remedy: "re-encrypt under a new data key".to_owned(),
                path: None,
            });
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Rewriting a file leaves its names outside of the store with the old bytes under the old key.
fn linked_outside(inventory: &Inventory) -> Option<Finding> {
    let mut names: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for file in &inventory.files {
        *names.entry(file.meta.inode).or_default() += 1;
    }
    let outside = |file: &&StoreFile| counts(file) && file.meta.links > names[&file.meta.inode];
    let first = inventory.iter().find(outside)?;
    let count = inventory.iter().filter(outside).count();
    Some(Finding {
        code: "LinkedElsewhere".to_owned(),
        severity: Severity::Warning,
        message: format!(
            "{count} files, {} among them, have further names outside of the store, which keep the bytes that a re-encryption replaces",
            first.relative()
        ),
        remedy: "look for hard-linked copies (find / -xdev -samefile), and remove them when they are not needed".to_owned(),
        path: Some(first.relative()),
    })
}

fn finding(file: &StoreFile) -> Option<Finding> {
    let (code, severity, message, remedy) = match (state_of(file), file.class) {
        ("key-missing", _) => (
            "DataKeyMissing",
            Severity::Error,
            "its entry can not be used: the data key is missing or does not fit",
            "do not restart this store; restore key.dict from a volume snapshot, or replace the store by scaling it in and out",
        ),
        ("mismatch", _) => (
            "ContentMismatch",
            Severity::Error,
            "does not look like such a file under its entry",
            "do not restart this store (TiKV may cut its logs); find out who changed the file or the dictionary",
        ),
        ("unknown", _) => (
            "UnknownFile",
            Severity::Warning,
            "is not a file of TiKV that this program knows; it is left alone and may hold plaintext",
            "look whose it is; remove it if it is nobody's",
        ),
        ("temporary", _) => (
            "TemporaryFile",
            Severity::Warning,
            "was left by an interrupted re-encryption",
            "run 'tikv-security reencrypt' on the stopped store, or restart the pod: it goes on and cleans up",
        ),
        ("always-plaintext", Class::Current) if file.entry.is_some() => (
            "CurrentHasEntry",
            Severity::Info,
            "has an entry, which TiKV since v4.0.15 does not write",
            "nothing: the next re-encryption drops it",
        ),
        _ => return None,
    };
    Some(Finding {
        code: code.to_owned(),
        severity,
        message: format!("{}: {message}", file.relative()),
        remedy: remedy.to_owned(),
        path: Some(file.relative()),
    })
}
