//! What an agent measured and did: the body of `GET /v1/status`, and the measured half of a `TikvVolume`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compaction::{CompactionReport, OldKeys};
use super::key_dict::KeyDictReport;
use super::method::Method;

/// The answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// Version of this program.
    pub version: String,
    /// Data directory as TiKV sees it.
    pub data_dir: String,
    /// Generation of the desired state that this report answers.
    pub desired_generation: i64,
    /// What the agent is doing.
    pub phase: AgentPhase,
    /// Whether TiKV may start.
    pub gate_open: bool,
    /// True while a journal is open: the data directory is between two states and TiKV is held back.
    pub journal_open: bool,
    /// True when every file is as desired (method, age of its data key). In mode Compaction files that only a restart
    /// rewrites do not count: `coverage.oldKeys` has them.
    pub satisfied: bool,
    /// Why the agent could not do what is desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Finding>,
    /// Progress of the current or last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What is done about old data keys while TiKV runs; mode Compaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<CompactionReport>,
    /// The measured state of the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// What `key.dict` is sealed under; absent while that could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_dict: Option<KeyDictReport>,
    /// Anomalies, most severe first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// When the coverage was measured.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<Timestamp>,
    /// Whether the master key opens this store's key dictionary from here, asked regularly; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<KeyCheck>,
    /// The last full verification of this process's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<VerificationReport>,
}

/// What an agent knows of the master key: TiKV asks for it at each start, so without it the pod could not start again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyCheck {
    /// When it was asked last.
    #[schemars(with = "String")]
    pub checked_at: Timestamp,
    /// When it last opened `key.dict`.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// How long that took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<u64>,
    /// Why it did not when it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Finding>,
}

/// A full verification: every byte of every file read, and each file proven by its structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationReport {
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it ended; absent while it lasts.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Files that were read whole and are sound.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that could not be read or are not what their entry says.
    pub failed: u64,
    /// Files that TiKV removed before they were read: nothing is said of them.
    pub gone: u64,
    /// What was proven.
    pub level: VerificationLevel,
    /// What was wrong, most severe first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What a verification proves of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationLevel {
    /// Its entry has its data key, its head and tail decrypt to what its kind must look like, and every byte of it can be
    /// read from the device.
    Structure,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AgentPhase {
    /// Started; nothing looked at yet.
    Starting,
    /// An interrupted run is being finished.
    Recovering,
    /// Master key, space, layout and dictionaries are being checked.
    Preflight,
    /// Files are being rewritten.
    Reencrypting,
    /// Written files are being compared, old keys dropped.
    Verifying,
    /// TiKV may run; the agent measures.
    Watching,
    /// TiKV is held back because the data directory is between two states, or the master key can not be had, and the agent
    /// can not go on.
    Held,
}

/// Progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Files to rewrite.
    pub files_total: u64,
    /// Files rewritten.
    pub files_done: u64,
    /// Bytes to rewrite.
    pub bytes_total: u64,
    /// Bytes rewritten.
    pub bytes_done: u64,
    /// Bytes a second, averaged over the run.
    pub bytes_per_second: u64,
    /// When the run began.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the run ended; absent while it lasts.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Files and bytes by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Files that TiKV encrypts when encryption is on; files that it never encrypts do not count anywhere here.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes whose entry names a cipher and whose head decrypts to what the file's kind must look like.
    pub encrypted_bytes: u64,
    /// Bytes that are in the clear.
    pub plaintext_bytes: u64,
    /// Files and bytes by data key.
    #[serde(default)]
    pub by_key: Vec<KeyUse>,
    /// The data key for new files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_data_key: Option<String>,
    /// When it was made.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_data_key_made_at: Option<Timestamp>,
    /// What is under data keys that are to be given up. Absent where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_keys: Option<OldKeys>,
}

/// What one data key protects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyUse {
    /// Identifier of the data key, decimal. Never the key.
    pub key_id: String,
    /// Its method.
    pub method: Method,
    /// When it was made.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Files under it.
    pub files: u64,
    /// Bytes under it.
    pub bytes: u64,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable word for machines, `CamelCase`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// What to do next.
    pub remedy: String,
    /// The file, relative to the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Severity of a finding.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Severity {
    /// Data is at stake or not protected as it is said to be.
    Error,
    /// Should be looked at.
    Warning,
    /// Good to know.
    Info,
}
