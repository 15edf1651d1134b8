//! What a person should look at: the agents' findings, and what only the whole shows.

use jiff::Timestamp;

use super::stores::{Store, keys_in_use};
use crate::api::report::{Finding, Severity};
use crate::api::v1alpha1::{CertificateStatus, TikvSecurity, TikvVolume, condition};

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
        "use a KMS for data that matters: awsKms, gcpKms, azureKeyVault or vaultTransit",
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
