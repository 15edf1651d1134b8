//! Old data keys without a restart: what the agents are told, what they did and what they measured.

use std::num::NonZeroU8;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::Finding;

/// Tables under old data keys are compacted by the running TiKV; no store is restarted for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompactionOrder {
    /// Threads that TiKV may use for one compaction.
    pub threads: NonZeroU8,
    /// The pod whose turn it is. It does not count for the generation: the other pods have nothing new to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
}

/// What an agent does about old data keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompactionReport {
    /// What is being done.
    pub state: CompactionState,
    /// Column family that TiKV was asked to compact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_family: Option<String>,
    /// Bytes of tables under old data keys when it began.
    pub bytes_total: u64,
    /// Passes over all column families that were finished since the agent started.
    pub passes: u32,
    /// When the last pass began.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the last pass ended.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Why it does not get further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Finding>,
}

/// What an agent is doing about old data keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompactionState {
    /// Nothing.
    #[default]
    Idle,
    /// Waits until TiKV has ended what its debug service was asked for before.
    Queued,
    /// TiKV compacts a column family.
    Running,
    /// It was tried as often as makes sense, and tables are left.
    GivenUp,
}

/// Files under data keys that are to be given up, by what gets rid of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OldKeys {
    /// Data keys made before this moment are old.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made_before: Timestamp,
    /// Tables of the database: a compaction rewrites them.
    pub tables: Amount,
    /// Everything else, by kind: it stays until the store restarts, or until TiKV replaces it some day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until_restart: Vec<KindAmount>,
}

impl OldKeys {
    /// The sum of what a compaction does not reach.
    pub fn left(&self) -> Amount {
        let mut sum = Amount::default();
        for kind in &self.until_restart {
            sum.add(kind.files, kind.bytes);
        }
        sum
    }
}

/// A number of files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Adds files and their bytes.
    pub fn add(&mut self, files: u64, bytes: u64) {
        self.files = self.files.saturating_add(files);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Files of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindAmount {
    /// `manifest`, `options`, `identity`, `write-ahead-log`, `blob`, `raft-log`, `snapshot`, `import` or `other`.
    pub kind: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}
