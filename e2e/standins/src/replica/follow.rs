//! A follower's side.

use std::sync::atomic::Ordering;

use super::{Replica, Replicas};
use crate::Result;
use crate::wire::raft::{Append, Fetch, Promise, Standing};

impl Replicas {
    /// A leader sends entries, or asks whether it still is one.
    pub fn appended(&self, message: Append) -> Result<Standing> {
        let replica = self.known(message.region)?;
        let mut progress = replica.progress();
        if message.term < progress.term {
            return Ok(Standing {
                good: false,
                term: progress.term,
                ..Standing::default()
            });
        }
        if message.term > progress.term {
            progress.term = message.term;
            progress.led = 0;
            progress.append(&self.raft, &[])?;
        }
        let refused = |last_index| Standing {
            good: false,
            last_index,
            term: message.term,
            ..Standing::default()
        };
        let previous = message.previous_index;
        if previous > 0 && previous > progress.truncated.index {
            match progress.term_of(&self.raft, previous)? {
                Some(term) if term == message.previous_term => {}
                Some(_) => return Ok(refused(previous - 1)),
                None => return Ok(refused(progress.last_index)),
            }
        }
        let mut new = Vec::new();
        for entry in message.entries {
            if entry.index <= progress.truncated.index {
                continue;
            }
            if new.is_empty() && progress.term_of(&self.raft, entry.index)? == Some(entry.term) {
                continue;
            }
            new.push(entry);
        }
        if !new.is_empty() {
            progress.append(&self.raft, &new)?;
        }
        if message.commit > progress.commit {
            progress.commit = message.commit.min(progress.last_index);
            progress.apply(&self.raft, &self.engine)?;
        }
        progress.compact(&self.raft, &self.engine, message.everywhere)?;
        // A mere question whether the sender leads says nothing about the log.
        if previous > 0 {
            replica.caught_up.store(true, Ordering::SeqCst);
        }
        Ok(Standing {
            good: true,
            last_index: progress.last_index,
            term: message.term,
            ..Standing::default()
        })
    }

    /// A store that PD appointed wants to know how far this log goes, and that nobody older is obeyed.
    pub fn promised(&self, message: &Promise) -> Result<Standing> {
        let replica = self.known(message.region)?;
        let mut progress = replica.progress();
        // The same term again is the same store: it tries once more.
        let good = message.term >= progress.term;
        if good {
            progress.term = message.term;
            progress.led = 0;
            progress.append(&self.raft, &[])?;
        }
        let (last_index, last_term, term) =
            (progress.last_index, progress.last_term, progress.term);
        Ok(Standing {
            good,
            last_index,
            last_term,
            entries: Vec::new(),
            term,
        })
    }

    /// A new leader's log is shorter than this one.
    pub fn fetched(&self, message: &Fetch) -> Result<Standing> {
        let replica = self.known(message.region)?;
        let progress = replica.progress();
        if message.after < progress.truncated.index {
            return Ok(Standing::default());
        }
        let entries =
            self.raft
                .entries(message.region, message.after + 1, progress.last_index + 1)?;
        let (last_index, last_term, term) =
            (progress.last_index, progress.last_term, progress.term);
        Ok(Standing {
            good: true,
            last_index,
            last_term,
            entries,
            term,
        })
    }

    fn known(&self, region: u64) -> Result<std::sync::Arc<Replica>> {
        self.region(region)
            .ok_or_else(|| format!("region {region} is not found"))
    }
}
