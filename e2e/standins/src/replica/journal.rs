//! How far a region's log goes, and how its entries become rows.

use prost::Message;

use crate::Result;
use crate::engine::{Engine, Family, Operation};
use crate::rows::codec::data_key;
use crate::store::raftlog::RaftLog;
use crate::wire::raft::{
    DELETE, DeleteRequest, Entry, HardState, PUT, PutRequest, RaftApplyState, RaftCmdRequest,
    RaftLocalState, RaftTruncatedState, Request,
};

/// How far a region's log goes.
#[derive(Default)]
pub struct Progress {
    pub region: u64,
    /// The greatest term heard of.
    pub term: u64,
    /// The term in which this store leads, or 0.
    pub led: u64,
    /// Whether it is about to lead.
    pub taking: bool,
    pub last_index: u64,
    pub last_term: u64,
    pub commit: u64,
    pub applied: u64,
    pub truncated: RaftTruncatedState,
}

impl Progress {
    /// From the engines; entries that are committed and not yet applied are applied.
    pub fn load(raft: &RaftLog, engine: &Engine, region: u64) -> Result<Self> {
        let state = raft.state(region)?;
        let apply = apply_state(engine, region)?;
        let hard = state.hard_state.unwrap_or_default();
        let truncated = apply.truncated_state.unwrap_or_default();
        let (_, last) = raft.span(region);
        let last_index = last.max(truncated.index);
        let mut progress = Self {
            region,
            term: hard.term,
            last_index,
            last_term: truncated.term,
            commit: hard.commit.max(apply.applied_index),
            applied: apply.applied_index,
            truncated,
            ..Self::default()
        };
        if let Some(entry) = raft.entry(region, last_index)? {
            progress.last_term = entry.term;
        }
        progress.apply(raft, engine)?;
        Ok(progress)
    }

    /// The term of an entry; `None` when there is no such entry.
    pub fn term_of(&self, raft: &RaftLog, index: u64) -> Result<Option<u64>> {
        if index == self.truncated.index {
            return Ok(Some(self.truncated.term));
        }
        if index > self.last_index {
            return Ok(None);
        }
        Ok(raft.entry(self.region, index)?.map(|entry| entry.term))
    }

    /// Adds entries, which replace all from the first one's number on.
    pub fn append(&mut self, raft: &RaftLog, entries: &[Entry]) -> Result<()> {
        if let Some(last) = entries.last() {
            (self.last_index, self.last_term) = (last.index, last.term);
        }
        let hard = HardState {
            term: self.term,
            vote: 0,
            commit: self.commit,
        };
        raft.append(
            self.region,
            entries,
            &RaftLocalState {
                hard_state: Some(hard),
                last_index: self.last_index,
            },
        )
    }

    /// Applies what is committed.
    pub fn apply(&mut self, raft: &RaftLog, engine: &Engine) -> Result<()> {
        while self.applied < self.commit.min(self.last_index) {
            let to = self.commit.min(self.last_index);
            let entries = raft.entries(self.region, self.applied + 1, to + 1)?;
            let Some(last) = entries.last() else {
                return Err(format!("entries after {} are missing", self.applied));
            };
            self.applied = last.index;
            apply_entries(engine, self.region, &entries, self.commit, self.truncated)?;
        }
        Ok(())
    }

    /// Forgets entries that all stores have, when there are many.
    pub fn compact(&mut self, raft: &RaftLog, engine: &Engine, everywhere: u64) -> Result<()> {
        const MANY: u64 = 1000;
        let to = everywhere.min(self.applied);
        if to < self.truncated.index + MANY {
            return Ok(());
        }
        let Some(term) = self.term_of(raft, to)? else {
            return Ok(());
        };
        self.truncated = RaftTruncatedState { index: to, term };
        apply_entries(engine, self.region, &[], self.commit, self.truncated)?;
        raft.compact(self.region, to + 1);
        Ok(())
    }
}

/// What TiKV looks at before it serves: whether the log has what the tables and the log's own state speak of.
pub fn validate(raft: &RaftLog, engine: &Engine) -> Result<()> {
    let mut regions = applied_regions(engine)?;
    regions.extend(raft.ids());
    for region in regions {
        let (state, apply) = (raft.state(region)?, apply_state(engine, region)?);
        let hard = state.hard_state.unwrap_or_default();
        let truncated = apply.truncated_state.unwrap_or_default().index;
        let (first, last) = raft.span(region);
        let has = |index: u64| index == truncated || (first > 0 && (first..=last).contains(&index));
        let (term, index) = (apply.commit_term, hard.commit.max(apply.commit_index));
        if index > 0 && !has(index) {
            return Err(format!(
                "region {region} validate state fail: log at recorded commit index [{term}] {index} doesn't exist, may lose data"
            ));
        }
        if apply.applied_index > 0 && !has(apply.applied_index) {
            let index = apply.applied_index;
            return Err(format!(
                "region {region}: entry at apply index {index} doesn't exist, may lose data"
            ));
        }
    }
    Ok(())
}

/// Applies what a log has committed and the tables do not have yet, of every region.
pub fn replay(raft: &RaftLog, engine: &Engine) -> Result<()> {
    raft.ids()
        .into_iter()
        .try_for_each(|region| Progress::load(raft, engine, region).map(|_| ()))
}

/// An entry's content.
pub fn command(operations: &[Operation]) -> Vec<u8> {
    let requests = operations.iter().map(|one| {
        let (cf, key) = (one.family.name().to_owned(), one.key[1..].to_vec());
        match &one.value {
            Some(value) => Request {
                cmd_type: PUT,
                put: Some(PutRequest {
                    cf,
                    key,
                    value: value.clone(),
                }),
                delete: None,
            },
            None => Request {
                cmd_type: DELETE,
                put: None,
                delete: Some(DeleteRequest { cf, key }),
            },
        }
    });
    RaftCmdRequest {
        requests: requests.collect(),
    }
    .encode_to_vec()
}

fn apply_entries(
    engine: &Engine,
    region: u64,
    entries: &[Entry],
    commit: u64,
    truncated: RaftTruncatedState,
) -> Result<()> {
    let mut operations = Vec::new();
    // Changes of members and the like have no rows in them.
    for entry in entries
        .iter()
        .filter(|entry| entry.entry_type == 0 && !entry.data.is_empty())
    {
        let command = RaftCmdRequest::decode(entry.data.as_slice())
            .map_err(|e| format!("entry {}: {e}", entry.index))?;
        for request in command.requests {
            if let Some(put) = request.put {
                operations.push(Operation::put(
                    Family::named(&put.cf)?,
                    data_key(&put.key),
                    put.value,
                ));
            } else if let Some(delete) = request.delete {
                operations.push(Operation::delete(
                    Family::named(&delete.cf)?,
                    data_key(&delete.key),
                ));
            }
        }
    }
    let mut state = apply_state(engine, region)?;
    if let Some(last) = entries.last() {
        state.applied_index = last.index;
        (state.commit_index, state.commit_term) = (commit.min(last.index), last.term);
    }
    if truncated.index > 0 {
        state.truncated_state = Some(truncated);
    }
    // In one batch with the rows, so that none is applied twice.
    operations.push(Operation::put(
        Family::Raft,
        state_key(region),
        state.encode_to_vec(),
    ));
    engine.write(&operations, false)
}

// Regions that the tables know of.
fn applied_regions(engine: &Engine) -> Result<std::collections::BTreeSet<u64>> {
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = engine.iterate(Family::Raft);
    cursor.seek(&[1, 2]);
    while let Some(([1, 2, rest @ ..], _)) = cursor.entry()? {
        if let Some((region, [3])) = rest.split_first_chunk::<8>() {
            found.insert(u64::from_be_bytes(*region));
        }
        cursor.next();
    }
    Ok(found)
}

fn apply_state(engine: &Engine, region: u64) -> Result<RaftApplyState> {
    let bytes = engine
        .get(Family::Raft, &state_key(region))?
        .unwrap_or_default();
    RaftApplyState::decode(bytes.as_slice())
        .map_err(|error| format!("apply state of region {region}: {error}"))
}

// Where TiKV keeps it.
fn state_key(region: u64) -> Vec<u8> {
    [&[1, 2], &region.to_be_bytes()[..], &[3]].concat()
}
