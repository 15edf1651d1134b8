//! A leader's side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Replica, Replicas, guard, journal};
use crate::Result;
use crate::engine::Operation;
use crate::wire::raft::{Append, Entry, Fetch, Promise, Standing};

const PATIENCE: Duration = Duration::from_secs(3);

/// What a leader knows of a follower.
#[derive(Default)]
pub struct Follower {
    term: u64,
    next: u64,
    matched: u64,
}

impl Replicas {
    /// Writes: into the own log, to a majority, and then into the tables. The caller holds `writing`.
    pub async fn propose(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        term: u64,
        operations: &[Operation],
    ) -> Result<()> {
        let index = {
            let mut progress = replica.progress();
            if progress.led != term || progress.term != term {
                return Err("not leader".into());
            }
            let entry = Entry {
                entry_type: 0,
                term,
                index: progress.last_index + 1,
                data: journal::command(operations),
            };
            tokio::task::block_in_place(|| progress.append(&self.raft, &[entry]))?;
            progress.last_index
        };
        self.replicate(replica, term, index).await?;
        self.committed(replica, term, index)
    }

    /// Whether this store still leads: a majority says so.
    pub async fn confirm(&self, replica: &Replica, term: u64) -> Result<()> {
        let peers = self.peers();
        let (commit, last) = {
            let progress = replica.progress();
            (progress.commit, progress.last_index)
        };
        let asked = peers.iter().map(|(id, address)| {
            let matched = replica.matched(*id, term);
            let message = Append {
                region: replica.info.id,
                term,
                commit: commit.min(matched).min(last),
                ..Append::default()
            };
            async move {
                self.client
                    .grpc::<Standing>(address, "/standin.Raft/Append", &message)
                    .await
            }
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut good, mut problem) = (0, "no other store is known".to_owned());
        while good < self.needed() {
            match asked.next().await {
                Some(Ok(standing)) if standing.term <= term => good += 1,
                Some(Ok(_)) => problem = "another store leads".into(),
                Some(Err(error)) => problem = error,
                None => return Err(format!("no majority: {problem}")),
            }
        }
        Ok(())
    }

    /// Becomes the leader of a region in a term.
    pub async fn take_over(self: &Arc<Self>, replica: &Arc<Replica>, term: u64) -> Result<()> {
        let _writing = replica.writing.lock().await;
        let (own, commit) = {
            let mut progress = replica.progress();
            if progress.term > term {
                return Err(format!("term {term} is over"));
            }
            (progress.term, progress.led) = (term, 0);
            progress.append(&self.raft, &[])?;
            ((progress.last_term, progress.last_index), progress.commit)
        };
        let message = Promise {
            region: replica.info.id,
            term,
        };
        let mut best: Option<((u64, u64), String)> = None;
        let (mut good, mut problem) = (0, "no other store is known".to_owned());
        let peers = self.peers();
        let asked = peers.values().map(|address| {
            let message = message.clone();
            async move {
                (
                    address,
                    self.client
                        .grpc::<Standing>(address, "/standin.Raft/Promise", &message)
                        .await,
                )
            }
        });
        for (address, answer) in futures_util::future::join_all(asked).await {
            match answer {
                Ok(standing) if standing.good => {
                    good += 1;
                    let reach = (standing.last_term, standing.last_index);
                    if best.as_ref().is_none_or(|(known, _)| reach > *known) {
                        best = Some((reach, address.clone()));
                    }
                }
                Ok(standing) => problem = format!("{address} has promised term {}", standing.term),
                Err(error) => problem = error,
            }
        }
        if good < self.needed() {
            return Err(format!("no majority: {problem}"));
        }
        if let Some((reach, address)) = best.filter(|(reach, _)| *reach > own) {
            self.adopt(replica, term, commit, reach, &address).await?;
        }
        let index = {
            let mut progress = replica.progress();
            if progress.term != term {
                return Err(format!("term {term} is over"));
            }
            // What earlier terms left is committed together with an entry of this one.
            let entry = Entry {
                entry_type: 0,
                term,
                index: progress.last_index + 1,
                data: Vec::new(),
            };
            progress.append(&self.raft, &[entry])?;
            progress.last_index
        };
        self.replicate(replica, term, index).await?;
        self.committed(replica, term, index)?;
        let mut progress = replica.progress();
        if progress.term == term {
            progress.led = term;
            replica.caught_up.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn adopt(
        &self,
        replica: &Replica,
        term: u64,
        commit: u64,
        reach: (u64, u64),
        address: &str,
    ) -> Result<()> {
        let mut after = commit;
        while after < reach.1 {
            let message = Fetch {
                region: replica.info.id,
                after,
            };
            let standing: Standing = self
                .client
                .grpc(address, "/standin.Raft/Fetch", &message)
                .await?;
            let Some(last) = standing.entries.last().filter(|_| standing.good) else {
                return Err(format!(
                    "{address} has no entries after {after}: a snapshot would be needed"
                ));
            };
            after = last.index;
            let mut progress = replica.progress();
            if progress.term != term {
                return Err(format!("term {term} is over"));
            }
            progress.append(&self.raft, &standing.entries)?;
        }
        Ok(())
    }

    fn committed(&self, replica: &Replica, term: u64, index: u64) -> Result<()> {
        let everywhere = replica.everywhere(&self.peers(), term);
        let mut progress = replica.progress();
        if progress.commit < index && progress.term == term {
            progress.commit = index;
        }
        tokio::task::block_in_place(|| {
            progress.apply(&self.raft, &self.engine)?;
            progress.compact(&self.raft, &self.engine, everywhere)
        })
    }

    // Until a majority has the entry. The rest goes on by itself.
    async fn replicate(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        term: u64,
        index: u64,
    ) -> Result<()> {
        let peers = self.peers();
        let (sender, mut receiver) = mpsc::channel(peers.len().max(1));
        for (id, address) in peers {
            let (store, replica, sender) = (Arc::clone(self), Arc::clone(replica), sender.clone());
            tokio::spawn(async move {
                let done =
                    timeout(PATIENCE, store.bring(&replica, term, index, id, &address)).await;
                let done =
                    done.unwrap_or_else(|_| Err(format!("{address} did not answer in time")));
                _ = sender.send(done).await;
            });
        }
        drop(sender);
        let (mut good, mut problem) = (0, "no other store is known".to_owned());
        while good < self.needed() {
            match receiver.recv().await {
                Some(Ok(())) => good += 1,
                Some(Err(error)) => problem = error,
                None => return Err(format!("no majority: {problem}")),
            }
        }
        Ok(())
    }

    /// Tells the followers of all regions that their leader lives, and brings them what they lack.
    pub async fn beat(self: &Arc<Self>) {
        let mut beats = Vec::new();
        for replica in self.all() {
            let Some(term) = replica.led_term() else {
                continue;
            };
            for (id, address) in self.peers() {
                let (store, replica) = (Arc::clone(self), Arc::clone(&replica));
                beats.push(async move {
                    timeout(PATIENCE, store.beat_one(&replica, term, id, &address)).await
                });
            }
        }
        futures_util::future::join_all(beats).await;
    }

    async fn beat_one(&self, replica: &Replica, term: u64, id: u64, address: &str) -> Result<()> {
        let (last, last_term, commit) = {
            let progress = replica.progress();
            (progress.last_index, progress.last_term, progress.commit)
        };
        self.bring(replica, term, last, id, address).await?;
        let message = Append {
            region: replica.info.id,
            term,
            previous_index: last,
            previous_term: last_term,
            commit: commit.min(last),
            ..Append::default()
        };
        let standing: Standing = self
            .client
            .grpc(address, "/standin.Raft/Append", &message)
            .await?;
        if standing.good {
            return Ok(());
        }
        // It lost something, or was never there: look for where its log ends.
        let follower = Arc::clone(guard(&replica.followers).entry(id).or_default());
        *follower.lock().await = Follower {
            term,
            next: standing.last_index + 1,
            matched: 0,
        };
        Ok(())
    }

    // Brings a follower's log up to an entry.
    async fn bring(
        &self,
        replica: &Replica,
        term: u64,
        index: u64,
        id: u64,
        address: &str,
    ) -> Result<()> {
        let follower = Arc::clone(guard(&replica.followers).entry(id).or_default());
        let mut follower = follower.lock().await;
        loop {
            let message = {
                let progress = replica.progress();
                if progress.term != term {
                    return Err(format!("term {term} is over"));
                }
                if follower.term != term {
                    *follower = Follower {
                        term,
                        next: progress.last_index,
                        matched: 0,
                    };
                }
                if follower.matched >= index {
                    return Ok(());
                }
                let next = follower.next.max(1);
                let previous = next - 1;
                let Some(previous_term) = progress
                    .term_of(&self.raft, previous)?
                    .or((previous == 0).then_some(0))
                else {
                    return Err(format!("{address} needs a snapshot from {previous}"));
                };
                if next <= progress.truncated.index {
                    return Err(format!("{address} needs a snapshot from {next}"));
                }
                let entries = self
                    .raft
                    .entries(replica.info.id, next, progress.last_index + 1)?;
                let reach = previous + entries.len() as u64;
                Append {
                    region: replica.info.id,
                    term,
                    previous_index: previous,
                    previous_term,
                    entries,
                    commit: progress.commit.min(reach),
                    everywhere: 0,
                }
            };
            let reach = message.previous_index + message.entries.len() as u64;
            let message = Append {
                everywhere: replica.everywhere(&self.peers(), term),
                ..message
            };
            let standing: Standing = self
                .client
                .grpc(address, "/standin.Raft/Append", &message)
                .await?;
            if standing.term > term {
                return Err("another store leads".into());
            }
            if standing.good {
                (follower.matched, follower.next) = (reach, reach + 1);
                replica.note_matched(id, term, reach);
            } else {
                follower.next = (standing.last_index + 1).min(message.previous_index.max(1));
            }
        }
    }
}

impl Replica {
    fn note_matched(&self, id: u64, term: u64, index: u64) {
        guard(&self.matched_of).insert(id, (term, index));
    }

    // How far a follower's log is known to be the leader's.
    fn matched(&self, id: u64, term: u64) -> u64 {
        guard(&self.matched_of)
            .get(&id)
            .filter(|(known, _)| *known == term)
            .map_or(0, |(_, index)| *index)
    }

    // How far all logs go; 0 while not all three stores are known.
    fn everywhere(&self, peers: &std::collections::HashMap<u64, String>, term: u64) -> u64 {
        if peers.len() < 2 {
            return 0;
        }
        peers
            .keys()
            .map(|id| self.matched(*id, term))
            .min()
            .unwrap_or(0)
    }
}
