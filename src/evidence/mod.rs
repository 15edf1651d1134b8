//! Evidence for an auditor: what was measured of a cluster, what follows from it, and what does not.
//!
//! A report is computed from the objects of the API server and a moment. It holds identifiers and ages of keys, never a key.

mod controls;
mod diff;
mod document;
mod findings;
mod history;
mod html;
mod markdown;
mod stores;
#[cfg(test)]
mod tests;
mod verdict;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::api::method::Method;
use crate::api::report::Finding;
use crate::api::v1alpha1::{
    CertificateStatus, DriftRecord, Environment, MasterKey, RotationRecord, TikvSecurity,
    TikvSecurityStatus, TikvVolume, condition,
};

pub use controls::{Answer, Control};
pub use diff::{Difference, diff};
pub use html::html;
pub use markdown::markdown;
pub use stores::{DataKey, Store};
pub use verdict::{Fact, Verdict};

/// Form of a report, for those who parse it.
pub const SCHEMA: &str = "security.tikv.org/report/v1";

/// A measurement that is older than this says nothing of now. Agents measure each minute.
pub const FRESH: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);

/// Everything that a report says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was made.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// Data at rest, in one word and one sentence.
    pub at_rest: Fact,
    /// Connections, in one word and one sentence.
    pub in_transit: Fact,
    /// The master key and what was asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<MasterKeyEvidence>,
    /// Each store.
    pub stores: Vec<Store>,
    /// Each certificate.
    pub certificates: Vec<CertificateStatus>,
    /// What the operator says of the whole.
    pub conditions: Vec<Statement>,
    /// Who asked for what last, as the API server recorded it.
    pub changes: Vec<Change>,
    /// Rotations, the newest last.
    #[serde(default)]
    pub rotations: Vec<RotationRecord>,
    /// What others changed of that which the operator made, the newest last.
    #[serde(default)]
    pub drift: Vec<DriftRecord>,
    /// What a person should look at, most severe first.
    pub findings: Vec<Finding>,
    /// Questions that standards ask, and what this report answers.
    pub controls: Vec<Control>,
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Namespace of the `TikvSecurity`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity: another object of the same name has another.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Generation that the status answers.
    pub observed_generation: Option<i64>,
    /// Environment, as the spec says.
    pub environment: Environment,
    /// Method that is asked for; absent where encryption is not.
    pub method: Option<Method>,
    /// Longest life of a data key for new files, as the spec says.
    pub data_key_rotation_period: Option<String>,
}

/// The master key. Its identifier, never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MasterKeyEvidence {
    /// Where it is: `awsKms`, `gcpKms`, `azureKeyVault`, `vaultTransit`, `pkcs11`, `file`.
    pub provider: String,
    /// Which one it is there.
    pub id: String,
    /// Whether it was described and wrapped and unwrapped a key: the condition `MasterKeyReachable`.
    pub proof: Statement,
    /// When the operator last proved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// How long that took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<u64>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its type.
    pub about: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// In one sentence.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A change of the object, by whom and when: its managed fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Field manager, as `kubectl-client-side-apply`.
    pub manager: String,
    /// What it did: `Apply` or `Update`.
    pub operation: String,
    /// When it did so last.
    pub at: Option<Timestamp>,
}

/// Computes the report of one cluster. `volumes` may hold those of other clusters as well.
pub fn report(security: &TikvSecurity, volumes: &[TikvVolume], at: Timestamp) -> Report {
    let subject = subject(security);
    let mut own: Vec<&TikvVolume> = volumes
        .iter()
        .filter(|volume| {
            volume.metadata.namespace == security.metadata.namespace
                && volume.spec.security == subject.name
        })
        .collect();
    own.sort_by(|one, other| one.spec.pod.cmp(&other.spec.pod));
    let stores: Vec<Store> = own.iter().map(|volume| stores::store(volume, at)).collect();
    let conditions = conditions(security);
    let status = security.status.as_ref();
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        at,
        at_rest: verdict::at_rest(security, &stores, at),
        in_transit: verdict::in_transit(security, at),
        master_key: security
            .spec
            .encryption
            .as_ref()
            .map(|encryption| master_key(&encryption.master_key, &conditions, status)),
        certificates: security
            .status
            .as_ref()
            .map(|status| status.certificates.clone())
            .unwrap_or_default(),
        changes: changes(&security.metadata),
        rotations: status.map_or_else(Vec::new, |status| status.rotations.clone()),
        drift: status.map_or_else(Vec::new, |status| status.drift.clone()),
        findings: findings::findings(security, &own, &stores, at),
        controls: Vec::new(),
        subject,
        stores,
        conditions,
    };
    report.controls = controls::controls(&report);
    report
}

fn subject(security: &TikvSecurity) -> Subject {
    let (meta, encryption) = (&security.metadata, security.spec.encryption.as_ref());
    Subject {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        observed_generation: security
            .status
            .as_ref()
            .and_then(|status| status.observed_generation),
        environment: security.spec.environment,
        method: encryption.map(|encryption| encryption.method),
        data_key_rotation_period: encryption
            .map(|encryption| encryption.data_key_rotation_period.to_string()),
    }
}

fn conditions(security: &TikvSecurity) -> Vec<Statement> {
    let Some(status) = &security.status else {
        return Vec::new();
    };
    let known = status.conditions.iter().map(|one| Statement {
        about: one.type_.clone(),
        status: one.status.clone(),
        reason: one.reason.clone(),
        message: one.message.clone(),
        since: Some(one.last_transition_time.0),
    });
    known.collect()
}

fn master_key(
    key: &MasterKey,
    conditions: &[Statement],
    status: Option<&TikvSecurityStatus>,
) -> MasterKeyEvidence {
    let known = status.and_then(|status| status.master_key.as_ref());
    // The API server admits exactly one.
    let (provider, id) = key
        .choice()
        .map_or(("none".to_owned(), String::new()), |choice| {
            (choice.kind().to_string(), choice.id())
        });
    let proof = conditions
        .iter()
        .find(|one| one.about == condition::MASTER_KEY_REACHABLE)
        .cloned()
        .unwrap_or_else(|| Statement {
            about: condition::MASTER_KEY_REACHABLE.to_owned(),
            status: "Unknown".to_owned(),
            reason: "NotReported".to_owned(),
            message: "the operator has not said anything about the master key yet".to_owned(),
            since: None,
        });
    MasterKeyEvidence {
        provider,
        id,
        proof,
        last_success: known.and_then(|known| known.last_success),
        latency_milliseconds: known.and_then(|known| known.latency_milliseconds),
    }
}

/// Who wrote the object; what the operator itself writes is its status.
fn changes(meta: &ObjectMeta) -> Vec<Change> {
    let mut all: Vec<Change> = meta
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
        .map(|entry| Change {
            manager: entry.manager.clone().unwrap_or_default(),
            operation: entry.operation.clone().unwrap_or_default(),
            at: entry.time.as_ref().map(|time| time.0),
        })
        .collect();
    all.sort_by_key(|change| std::cmp::Reverse(change.at));
    all
}
