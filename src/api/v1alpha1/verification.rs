//! Full verifications of every store, by the clock.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When every store reads all of its files and proves what they are. Nothing is changed and nothing restarts for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verification {
    /// When, as five fields of cron: minute, hour, day of the month, month, day of the week, as in `0 3 * * 0`.
    pub schedule: Cron,
    /// Time zone of the schedule, by its IANA name, as in `Europe/Berlin`. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_+/-]*$")
    )]
    pub time_zone: Option<String>,
    /// How fast a store reads: bytes a second.
    #[serde(default = "rate")]
    #[x_kube(validation = Rule::new("self >= 1048576").message("verification.bytesPerSecond must be at least 1048576, because 1 TiB would take weeks with less; 33554432 (32 MiB) is gentle on most disks"))]
    pub bytes_per_second: i64,
}

/// Five fields of cron, as they were written. What they mean is parsed where it is decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cron(
    #[schemars(
        length(min = 9, max = 128),
        regex(pattern = r"^[0-9A-Za-z*,/#?-]+( [0-9A-Za-z*,/#?-]+){4}$")
    )]
    pub String,
);

fn rate() -> i64 {
    crate::api::desired::VERIFICATION_RATE
}
