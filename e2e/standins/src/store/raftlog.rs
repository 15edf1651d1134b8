//! The raft logs of all regions, in a raft engine.

use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use protobuf::Message as _;
use protobuf::well_known_types::Empty;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::keys::KeyManager;
use super::raftfs::RaftFiles;
use crate::Result;
use crate::options::Options;
use crate::wire::raft::{Entry, RaftLocalState};

// Where TiKV keeps the state of a region's log.
const STATE: &[u8] = b"\x02";
const MANY: usize = 1 << 20;

/// Entries as the engine sees them. It speaks another protobuf library; an empty message keeps all fields as unknown
/// ones, and the index is one of them.
struct Opaque;

impl MessageExt for Opaque {
    type Entry = Empty;

    fn index(entry: &Empty) -> u64 {
        let index = entry
            .unknown_fields
            .get(3)
            .and_then(|values| values.varint.first().copied());
        index.unwrap_or(0)
    }
}

/// The raft logs.
pub struct RaftLog {
    engine: Engine<RaftFiles>,
}

impl RaftLog {
    /// Opens `raft-engine/` of a data directory. As in TiKV, what does not parse at the end is cut off.
    pub fn open(path: &Path, keys: Arc<KeyManager>, options: &Options) -> Result<Self> {
        let size = |name: &str, default: u64| {
            ReadableSize(
                options
                    .size(&format!("raft-engine.{name}"))
                    .unwrap_or(default),
            )
        };
        let config = Config {
            dir: path.to_string_lossy().into_owned(),
            target_file_size: size("target-file-size", 128 << 20),
            purge_threshold: size("purge-threshold", 10 << 30),
            ..Config::default()
        };
        let engine = Engine::open_with_file_system(config, Arc::new(RaftFiles::new(keys)));
        Ok(Self {
            engine: engine.map_err(|error| format!("failed to open raft engine: {error}"))?,
        })
    }

    /// Adds entries, which replace those with their and greater numbers, and the state; durable when this returns.
    pub fn append(&self, region: u64, entries: &[Entry], state: &RaftLocalState) -> Result<()> {
        let parsed: std::result::Result<Vec<_>, _> = entries
            .iter()
            .map(|entry| Empty::parse_from_bytes(&entry.encode_to_vec()))
            .collect();
        let parsed = parsed.map_err(text)?;
        let mut batch = LogBatch::default();
        batch.add_entries::<Opaque>(region, &parsed).map_err(text)?;
        batch
            .put(region, STATE.to_vec(), state.encode_to_vec())
            .map_err(text)?;
        self.engine.write(&mut batch, true).map_err(text)?;
        Ok(())
    }

    /// The state of a region's log.
    pub fn state(&self, region: u64) -> Result<RaftLocalState> {
        let bytes = self.engine.get(region, STATE).unwrap_or_default();
        RaftLocalState::decode(bytes.as_slice()).map_err(text)
    }

    /// The number of the first entry, and of the last; zeros when there is none.
    pub fn span(&self, region: u64) -> (u64, u64) {
        let first = self.engine.first_index(region).unwrap_or(0);
        (first, self.engine.last_index(region).unwrap_or(0))
    }

    /// One entry.
    pub fn entry(&self, region: u64, index: u64) -> Result<Option<Entry>> {
        let found = self
            .engine
            .get_entry::<Opaque>(region, index)
            .map_err(text)?;
        found.map(|entry| decoded(&entry)).transpose()
    }

    /// Entries from one number up to and without another, as many as fit into a message.
    pub fn entries(&self, region: u64, from: u64, to: u64) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        if from < to {
            self.engine
                .fetch_entries_to::<Opaque>(region, from, to, Some(MANY), &mut found)
                .map_err(text)?;
        }
        found.iter().map(decoded).collect()
    }

    /// Forgets entries before a number.
    pub fn compact(&self, region: u64, before: u64) {
        self.engine.compact_to(region, before);
    }

    /// Removes files without entries that are in use.
    pub fn purge(&self) -> Result<()> {
        self.engine.purge_expired_files().map(|_| ()).map_err(text)
    }

    /// The regions that have a log.
    pub fn ids(&self) -> Vec<u64> {
        // 0 is the store's own record.
        self.engine
            .raft_groups()
            .into_iter()
            .filter(|region| *region != 0)
            .collect()
    }
}

fn decoded(entry: &Empty) -> Result<Entry> {
    let bytes = entry.write_to_bytes().map_err(text)?;
    Entry::decode(bytes.as_slice()).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
