//! One store: what its agent measured of the data directory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FRESH;
use crate::api::key_dict::KeyDictReport;
use crate::api::method::Method;
use crate::api::report::{KeyCheck, VerificationReport};
use crate::api::v1alpha1::{TikvVolume, VolumePhase};

/// A store and its data keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// The pod.
    pub pod: String,
    /// Its number in PD.
    pub store_id: Option<u64>,
    /// Where the volume stands.
    pub phase: Option<VolumePhase>,
    /// Every file is as desired, by a measurement that answers the present desired state and is fresh.
    pub proven: bool,
    /// Why not.
    pub unproven_because: Option<String>,
    /// When the files were measured.
    pub measured_at: Option<Timestamp>,
    /// Version of the agent that measured.
    pub agent: Option<String>,
    /// Files that count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes proven encrypted.
    pub encrypted_bytes: u64,
    /// Bytes in the clear.
    pub plaintext_bytes: u64,
    /// Data keys that protect files.
    pub keys: Vec<DataKey>,
    /// Which master key seals its data keys, as its agent read it from the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_dict: Option<KeyDictReport>,
    /// The last full verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<VerificationReport>,
    /// Since when one is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_overdue_since: Option<Timestamp>,
    /// Whether the master key opens this store from where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<KeyCheck>,
}

/// A data key: its identifier and age, never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    /// Identifier, decimal.
    pub id: String,
    /// Its method.
    pub method: Method,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Age at the moment of the report, in hours.
    pub age_hours: Option<i64>,
    /// Whether it is the one for new files.
    pub current: bool,
    /// Files under it.
    pub files: u64,
    /// Bytes under it.
    pub bytes: u64,
}

/// What is known of one volume.
pub fn store(volume: &TikvVolume, at: Timestamp) -> Store {
    let status = volume.status.clone().unwrap_or_default();
    let why = unproven(volume, at);
    let report = status.report;
    let (verification, overdue) = (status.last_verification, status.verification_overdue_since);
    let coverage = report
        .as_ref()
        .and_then(|report| report.coverage.clone())
        .unwrap_or_default();
    let keys = coverage.by_key.iter().map(|key| DataKey {
        id: key.key_id.clone(),
        method: key.method,
        created_at: key.created_at,
        age_hours: key
            .created_at
            .map(|made| at.duration_since(made).as_hours()),
        current: coverage.current_data_key.as_ref() == Some(&key.key_id),
        files: key.files,
        bytes: key.bytes,
    });
    Store {
        pod: volume.spec.pod.clone(),
        store_id: status.store_id,
        phase: status.phase,
        proven: why.is_none(),
        unproven_because: why,
        measured_at: report.as_ref().and_then(|report| report.measured_at),
        agent: report.as_ref().map(|report| report.version.clone()),
        keys: keys.collect(),
        key_dict: report.as_ref().and_then(|report| report.key_dict.clone()),
        last_verification: verification,
        verification_overdue_since: overdue,
        master_key: report.as_ref().and_then(|report| report.master_key.clone()),
        files: coverage.files,
        bytes: coverage.bytes,
        encrypted_bytes: coverage.encrypted_bytes,
        plaintext_bytes: coverage.plaintext_bytes,
    }
}

/// Data keys that protect files, with the store that they are in.
pub fn keys_in_use(stores: &[Store]) -> impl Iterator<Item = (&Store, &DataKey)> {
    stores
        .iter()
        .flat_map(|store| store.keys.iter().map(move |key| (store, key)))
        .filter(|(_, key)| key.files > 0)
}

/// Age of the oldest data key that protects a file.
pub fn oldest_key_hours(stores: &[Store]) -> Option<i64> {
    keys_in_use(stores)
        .filter_map(|(_, key)| key.age_hours)
        .max()
}

/// Why it can not be said that the volume is as desired.
fn unproven(volume: &TikvVolume, at: Timestamp) -> Option<String> {
    let status = volume.status.as_ref();
    if let Some(why) = status.and_then(|status| status.unreachable.as_ref()) {
        return Some(format!("its agent does not answer: {why}"));
    }
    let Some(report) = status.and_then(|status| status.report.as_ref()) else {
        return Some("its agent has not reported anything yet".to_owned());
    };
    if let Some(error) = &report.error {
        return Some(error.message.clone());
    }
    if report.desired_generation != volume.spec.generation {
        return Some(format!(
            "the measurement answers generation {} of the desired state, which is at {}",
            report.desired_generation, volume.spec.generation
        ));
    }
    if report.journal_open {
        return Some("a run is open: the data directory is between two states".to_owned());
    }
    let (Some(coverage), Some(measured)) = (&report.coverage, report.measured_at) else {
        return Some("its files were not measured yet".to_owned());
    };
    if at.duration_since(measured) > FRESH {
        return Some(format!(
            "it was last measured at {measured}, more than {} minutes before this report",
            FRESH.as_mins()
        ));
    }
    if volume.spec.method.encrypts() && coverage.plaintext_bytes > 0 {
        return Some(format!(
            "{} bytes are in the clear",
            coverage.plaintext_bytes
        ));
    }
    if volume.spec.method.encrypts() && coverage.encrypted_bytes < coverage.bytes {
        return Some(format!(
            "{} of {} bytes are proven encrypted",
            coverage.encrypted_bytes, coverage.bytes
        ));
    }
    (!report.satisfied).then(|| {
        "some files are under another method or an older data key than asked for".to_owned()
    })
}
