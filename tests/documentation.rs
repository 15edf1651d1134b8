//! Every word that a person can meet in a condition, an event or a finding is explained in docs/troubleshooting.md.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Words in the same form that are no reasons: of Kubernetes, of TiKV, names of actions, states and conditions.
const NO_REASONS: &[&str] = &[
    // kinds and values of Kubernetes
    "CamelCase",
    "CertificateRequest",
    "InvalidRequest",
    "EcdsaP256",
    "ConfigMap",
    "ConfigMaps",
    "DynamicObject",
    "OnDelete",
    "RuntimeDefault",
    "StatefulSet",
    "TikvSecurity",
    "TikvVolume",
    // actions of a plan; names of types in Debug
    "AddFinalizer",
    "ApplyConfigMap",
    "DeleteConfigMap",
    "DeletePod",
    "EvictLeaders",
    "IssueCa",
    "IssueLeaf",
    "PatchStatefulSet",
    "PublishCrl",
    "PublishTrust",
    "PromoteCa",
    "RecordCaRotation",
    "ReleaseMaintenance",
    "RemoveFinalizer",
    "SetMaxStoreDownTime",
    "StopEvicting",
    "TakeMaintenance",
    "TransferPdLeader",
    "UpdatePdPeerUrls",
    "WithdrawTrust",
    "RefreshCa",
    "TrustBeside",
    "VacateCa",
    "WrapMasterKey",
    "AwsKms",
    "DataKey",
    "FileKey",
    "MasterKey",
    "SecretBytes",
    "StaticCredentials",
];

#[test]
fn every_reason_has_an_entry_with_cause_and_next_step() {
    let mut reasons = BTreeSet::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        // The words of the KMS itself are not ours.
        let said = code
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| is_reason(text));
        reasons.extend(said.map(str::to_owned));
    }
    assert!(
        reasons.contains("DowntimeNotAllowed") && reasons.contains("FileDictionaryDamaged"),
        "{reasons:?}"
    );
    let page = fs::read_to_string("docs/troubleshooting.md").unwrap();
    let entries: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").collect())
        .collect();
    let explained = |word: &String| {
        let marked = format!("`{word}`");
        entries.iter().any(|cells| {
            cells.len() >= 3
                && cells[0].contains(&marked)
                && cells[1..].iter().all(|cell| cell.trim().len() > 3)
        })
    };
    let missing: Vec<_> = reasons.iter().filter(|word| !explained(word)).collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md lacks cause and next step of {missing:?}"
    );
}

#[test]
fn every_entry_is_about_something_that_exists() {
    let code: String = sources()
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let page = fs::read_to_string("docs/troubleshooting.md").unwrap();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let first = line.trim_matches('|').split(" | ").next().unwrap();
        for word in first
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| is_reason(word))
        {
            assert!(
                code.contains(&format!("\"{word}\"")),
                "{word} is explained, and nothing says it"
            );
        }
    }
}

/// `CamelCase` of at least two words.
fn is_reason(text: &str) -> bool {
    let capitals = text.chars().filter(char::is_ascii_uppercase).count();
    text.len() > 3
        && capitals >= 2
        && text.chars().all(|letter| letter.is_ascii_alphabetic())
        && text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.chars().any(|letter| letter.is_ascii_lowercase())
        && !NO_REASONS.contains(&text)
}

/// Where reasons, events and findings are made.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut next: Vec<PathBuf> = [
        "src/plan",
        "src/operator",
        "src/agent",
        "src/api/v1alpha1/status.rs",
        "src/export/mod.rs",
        "src/kms/error.rs",
    ]
    .map(PathBuf::from)
    .into();
    while let Some(path) = next.pop() {
        if path.is_dir() {
            next.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if is_code(&path) {
            files.push(path);
        }
    }
    files
}

fn is_code(path: &Path) -> bool {
    let test =
        path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    path.extension().is_some_and(|ending| ending == "rs") && !test
}
