//! How restarts are rolled, and requests for rotations.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

/// How pods are restarted: always one store at a time, and only when PD says that the cluster can bear it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// Permits stopping the whole cluster once, for about half a minute, when a live plaintext cluster gets TLS.
    #[serde(default)]
    pub allow_downtime: bool,
    /// Quiet time between two restarts. PD learns of regions once a minute.
    #[serde(default = "settle")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("settle must be at most 24h; 60s is usual"))]
    pub settle: GoDuration,
    /// How long leaders may take to leave a store before it is restarted all the same.
    #[serde(default = "drain_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("drainTimeout must be between 1s and 24h; 10m is usual"))]
    pub drain_timeout: GoDuration,
    /// Starts nothing that disturbs a pod. What is begun is finished; certificates are still renewed.
    #[serde(default)]
    pub paused: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            allow_downtime: false,
            settle: settle(),
            drain_timeout: drain_timeout(),
            paused: false,
        }
    }
}

/// Requests. Each is a word of your choice; changing it asks once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotate {
    /// Rewrites every file under a new data key, store by store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub data_key: Option<String>,
    /// Seals `key.dict` of each store under another key of the KMS's making, store by store; the master key stays. After
    /// the KMS rotated what is behind it. To use another master key change `encryption.masterKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub master_key: Option<String>,
    /// Issues every leaf certificate anew. Nothing restarts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub certificates: Option<String>,
    /// Makes a new CA and replaces the present one by it: both are trusted, then all certificates are issued anew, then the old one is
    /// dropped. Each PD member restarts twice and each store once, one at a time. The word from before, or none, turns it around
    /// until the old CA is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub ca: Option<String>,
    /// As `ca`, for a CA whose key fell into the wrong hands: `tls.ca.overlap` is not waited for, and stores restart after the old CA
    /// was dropped. It costs: clients that have not read the Secret of the client certificate anew are refused within
    /// minutes. A rotation that is under way is hurried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub ca_emergency: Option<String>,
    /// Verifies every store once, as `spec.verification` does by the clock. Nothing restarts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$")
    )]
    pub verification: Option<String>,
}

fn settle() -> GoDuration {
    GoDuration::seconds(60)
}

fn drain_timeout() -> GoDuration {
    GoDuration::minutes(10)
}
