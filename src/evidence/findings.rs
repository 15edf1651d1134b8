//! What a person should look at: the agents' findings, and what only the whole shows.

use jiff::Timestamp;

use super::stores::{Store, keys_in_use};
use crate::api::report::{Finding, Severity};
use crate::api::v1alpha1::{CertificateStatus, DriftAnswer, TikvSecurity, TikvVolume, condition};

/// All findings, most severe first; those of an agent name its pod.
pub fn findings(
    security: &TikvSecurity,
    volumes: &[&TikvVolume],
    stores: &[Store],
    at: Timestamp,
) -> Vec<Finding> {
    let mut all = Vec::new();
    for volume in volumes {
        let Some(report) = volume
            .status
            .as_ref()
            .and_then(|status| status.report.as_ref())
        else {
            continue;
        };
        for finding in report.error.iter().chain(&report.findings) {
            let path = finding.path.as_deref().unwrap_or_default();
            all.push(Finding {
                path: Some(format!("{}:{path}", volume.spec.pod)),
                ..finding.clone()
            });
        }
    }
    all.extend(stores.iter().filter_map(not_proven));
    all.extend(stores.iter().filter_map(overdue));
    all.extend(stores.iter().filter_map(unsound));
    all.extend(stores.iter().filter_map(cut_off));
    all.extend(drifted(security));
    all.extend(old_keys(security, stores));
    all.extend(blocked(security));
    all.extend(key_in_the_cluster(security));
    if let Some(status) = &security.status {
        all.extend(status.certificates.iter().filter_map(|one| late(one, at)));
    }
    all.sort_by(|one, other| (one.severity, &one.code).cmp(&(other.severity, &other.code)));
    all
}

fn finding(code: &str, severity: Severity, message: String, remedy: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        message,
        remedy: remedy.to_owned(),
        path: None,
    }
}

fn not_proven(store: &Store) -> Option<Finding> {
    let why = store.unproven_because.as_ref()?;
    Some(finding(
        "StoreNotProven",
        Severity::Error,
        format!("store {}: {why}", store.pod),
        "look at the TikvVolume of that name, and at the log of its container tikv-security-agent",
    ))
}

fn overdue(store: &Store) -> Option<Finding> {
    let since = store.verification_overdue_since?;
    Some(finding(
        "VerificationOverdue",
        Severity::Warning,
        format!(
            "store {}: a full verification should have been done by {since}",
            store.pod
        ),
        "look at the log of its container tikv-security-agent, and whether verification.bytesPerSecond is enough for its size",
    ))
}

fn unsound(store: &Store) -> Option<Finding> {
    let last = store
        .last_verification
        .as_ref()
        .filter(|last| last.failed > 0)?;
    let first = last.findings.first();
    let first = first.map_or(String::new(), |first| format!("; first: {}", first.message));
    Some(finding(
        "VerificationFailed",
        Severity::Error,
        format!(
            "store {}: the full verification of {} found {} files unreadable or not what their entry says{first}",
            store.pod, last.started_at, last.failed
        ),
        "do not restart this store; look at its device, and replace it by scaling it in and out",
    ))
}

fn cut_off(store: &Store) -> Option<Finding> {
    let error = store.master_key.as_ref()?.error.as_ref()?;
    Some(finding(
        "StoreCutOff",
        Severity::Warning,
        format!(
            "store {} could not start again now: {}",
            store.pod, error.message
        ),
        "do not restart its pod; check its way to the KMS and its identity",
    ))
}

/// What was left as somebody else made it.
fn drifted(security: &TikvSecurity) -> Vec<Finding> {
    let records = security.status.iter().flat_map(|status| &status.drift);
    let left = records.filter(|one| one.ended_at.is_none() && one.answer == DriftAnswer::Left);
    left.map(|one| {
        finding(
            "DriftLeft",
            Severity::Warning,
            format!("{} {} {}: {}", one.kind, one.name, one.path, one.found),
            "undo the change, or write spec.drift: Correct",
        )
    })
    .collect()
}

/// Data keys that are older than two periods: data that was not re-encrypted since.
fn old_keys(security: &TikvSecurity, stores: &[Store]) -> Option<Finding> {
    let period = security.spec.encryption.as_ref()?.data_key_rotation_period;
    let most = period.get().as_hours().saturating_mul(2);
    let mut old: Vec<String> = keys_in_use(stores)
        .filter(|(_, key)| key.age_hours.is_some_and(|age| age > most))
        .map(|(store, key)| format!("{} of {}", key.id, store.pod))
        .collect();
    old.sort();
    (!old.is_empty()).then(|| {
        finding(
            "DataUnderOldKeys",
            Severity::Warning,
            format!(
                "files are under data keys older than two rotation periods ({most} hours): {}",
                old.join(", ")
            ),
            "write spec.rotate.dataKey with a moment to have them re-encrypted, store after store",
        )
    })
}

fn blocked(security: &TikvSecurity) -> Option<Finding> {
    let conditions = &security.status.as_ref()?.conditions;
    let one = conditions
        .iter()
        .find(|one| one.type_ == condition::BLOCKED && one.status == "True")?;
    Some(finding(
        &one.reason,
        Severity::Error,
        one.message.clone(),
        "docs/troubleshooting.md has the remedy for each reason",
    ))
}

fn key_in_the_cluster(security: &TikvSecurity) -> Option<Finding> {
    let file = security
        .spec
        .encryption
        .as_ref()?
        .master_key
        .file
        .as_ref()?;
    Some(finding(
        "MasterKeyInCluster",
        Severity::Warning,
        format!(
            "the master key is in the Secret {}: who reads Secrets of this namespace can decrypt the volumes",
            file.secret.name
        ),
        "use a KMS for data that matters: awsKms, gcpKms, azureKeyVault, vaultTransit or pkcs11",
    ))
}

/// A certificate whose renewal is overdue.
fn late(certificate: &CertificateStatus, at: Timestamp) -> Option<Finding> {
    let ended = certificate.not_after <= at;
    let overdue = certificate.renew_at.is_some_and(|due| due < at);
    let (code, severity, what) = if ended {
        ("CertificateEnded", Severity::Error, "ended")
    } else if overdue {
        (
            "RenewalOverdue",
            Severity::Warning,
            "should have been renewed and ends",
        )
    } else {
        return None;
    };
    Some(finding(
        code,
        severity,
        format!(
            "the certificate {} {what} at {}",
            certificate.name, certificate.not_after
        ),
        "look at the condition CertificatesReady and at the operator's log",
    ))
}
