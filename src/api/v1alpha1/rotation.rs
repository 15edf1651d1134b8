//! Rotation of master keys: which keys are configured, what is under way, what was done.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encryption::MasterKey;
use super::status::{RotationKind, RotationRecord};
use crate::api::key_dict::EnvelopeWish;

/// The master keys that the pods are configured with, and the rotation between them. The operator's memory: it is kept in
/// the agents' ConfigMap, written before anything follows from it, and copied into the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRing {
    /// TiKV's `master-key`: what every `key.dict` is to be sealed under.
    pub in_force: RingKey,
    /// TiKV's `previous-master-key`: what a `key.dict` may still be sealed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RingKey>,
    /// The rotation that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationRecord>,
    /// The request `rotate.masterKey` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// What the agents are told of keys of the KMS's making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeWish>,
    /// Pods that need no restart for the end of the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<Spared>,
}

/// A master key and where its files are in the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingKey {
    /// The key.
    pub key: MasterKey,
    /// Which of two sets of paths and volumes its files have: the previous key has the other one. 0 or 1.
    pub slot: u8,
    /// Since when it is configured.
    pub since: Timestamp,
}

/// The pods of these revisions have the template but for the previous master key, which no store is under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spared {
    /// Digest of the template: for any other one this says nothing.
    pub template: String,
    /// Values of the pods' label `controller-revision-hash`.
    pub revisions: Vec<String>,
}

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPhase {
    /// Asked for; nothing was changed.
    Asked,
    /// Stores are restarted one by one; each seals its `key.dict` anew before TiKV starts.
    Running,
    /// Under way, and nothing goes on because of `rollout.paused`.
    Paused,
    /// Turned around: the stores that were sealed anew go back.
    Abandoning,
}

/// The rotation that is asked for or under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// What is rotated.
    pub what: RotationKind,
    /// Where it stands.
    pub phase: RotationPhase,
    /// The master key before.
    pub from: String,
    /// The master key that is asked for.
    pub to: String,
    /// When it began; absent when it did not.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Who asked, as the API server recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// Stores that have proven to be as asked, of all, as `2/3`.
    pub stores: String,
    /// What is awaited.
    pub reason: String,
    /// From when on there is no way back but another rotation.
    pub point_of_no_return: String,
}
