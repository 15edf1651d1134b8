//! Three copies of each region: a log per region in the raft engine, and its entries applied to RocksDB. PD appoints
//! leaders and gives terms; apart from that a leader works as in Raft: it adopts the longest log of a majority, an
//! entry counts when a majority has it, and followers accept what continues their log. There are no elections and no
//! snapshots.

mod follow;
pub mod journal;
mod lead;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::journal::Progress;
use crate::engine::Engine;
use crate::net::client::Client;
use crate::pd::state::{Appointments, RegionInfo};
use crate::store::directory::Directory;
use crate::store::keys::KeyManager;
use crate::store::raftlog::RaftLog;
use crate::{Result, log};

/// One region on this store.
pub struct Replica {
    pub info: RegionInfo,
    progress: Mutex<Progress>,
    /// Held while rows are looked at and then written.
    pub writing: tokio::sync::Mutex<()>,
    followers: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<lead::Follower>>>>,
    // Term and number up to which a follower's log is known to be the same.
    matched_of: Mutex<HashMap<u64, (u64, u64)>>,
    leader: AtomicU64,
    // Whether it heard of its leader, or led, since the store started.
    caught_up: std::sync::atomic::AtomicBool,
}

/// All regions on this store.
pub struct Replicas {
    pub engine: Engine,
    pub keys: Arc<KeyManager>,
    raft: RaftLog,
    client: Client,
    id: AtomicU64,
    peers: Mutex<HashMap<u64, String>>,
    regions: Mutex<Vec<Arc<Replica>>>,
    // How many other stores must have an entry.
    needed: AtomicU64,
    /// Held by the call of the debug service that is worked on.
    pub debugger: Arc<tokio::sync::Mutex<()>>,
    _directory_lock: std::fs::File,
}

impl Replicas {
    /// Over an opened store.
    pub fn new(directory: Directory, client: Client) -> Arc<Self> {
        let Directory {
            keys,
            raft,
            engine,
            lock,
        } = directory;
        Arc::new(Self {
            engine,
            keys,
            raft,
            client,
            id: AtomicU64::new(0),
            peers: Mutex::default(),
            regions: Mutex::default(),
            needed: AtomicU64::new(u64::MAX),
            debugger: Arc::default(),
            _directory_lock: lock,
        })
    }

    /// This store's number; 0 until PD has answered.
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::SeqCst)
    }

    /// All stores.
    pub fn stores(&self) -> Vec<u64> {
        let mut all: Vec<u64> = guard(&self.peers)
            .keys()
            .copied()
            .chain([self.id()])
            .collect();
        all.sort_unstable();
        all
    }

    /// Regions that this store leads now.
    pub fn led(&self) -> usize {
        self.all()
            .iter()
            .filter(|replica| replica.progress().led != 0)
            .count()
    }

    /// Number of regions on this store.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Whether every region heard of its leader since the store started.
    pub fn caught_up(&self) -> bool {
        let all = self.all();
        !all.is_empty()
            && all
                .iter()
                .all(|replica| replica.caught_up.load(Ordering::SeqCst))
    }

    /// All regions.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        guard(&self.regions).clone()
    }

    /// A region by its number.
    pub fn region(&self, id: u64) -> Option<Arc<Replica>> {
        guard(&self.regions)
            .iter()
            .find(|replica| replica.info.id == id)
            .cloned()
    }

    /// Does what PD says: knows the stores and regions, and takes over what it is to lead.
    pub fn obey(self: &Arc<Self>, appointments: Appointments) -> Result<()> {
        let me = appointments.id;
        self.id.store(me, Ordering::SeqCst);
        self.needed
            .store(appointments.replicas as u64 / 2, Ordering::SeqCst);
        *guard(&self.peers) = appointments
            .stores
            .into_iter()
            .filter(|(id, _)| *id != me)
            .collect();
        for info in appointments.regions {
            let replica = match self.region(info.id) {
                Some(replica) => replica,
                None => self.add(&info)?,
            };
            replica.leader.store(info.leader, Ordering::SeqCst);
            let mut progress = replica.progress();
            if info.leader != me {
                if info.term >= progress.led {
                    progress.led = 0;
                }
                continue;
            }
            if progress.led == info.term || progress.taking || progress.term > info.term {
                continue;
            }
            progress.taking = true;
            drop(progress);
            let store = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = store.take_over(&replica, info.term).await {
                    log(&format!(
                        "region {} is not taken over yet: {error}",
                        info.id
                    ));
                }
                replica.progress().taking = false;
            });
        }
        Ok(())
    }

    /// Once in a while: removes files of the raft engine that nothing needs.
    pub fn purge(&self) -> Result<()> {
        self.raft.purge()
    }

    fn add(&self, info: &RegionInfo) -> Result<Arc<Replica>> {
        let progress = Progress::load(&self.raft, &self.engine, info.id)?;
        let replica = Arc::new(Replica {
            info: info.clone(),
            progress: Mutex::new(progress),
            writing: tokio::sync::Mutex::default(),
            followers: Mutex::default(),
            matched_of: Mutex::default(),
            leader: AtomicU64::new(info.leader),
            caught_up: std::sync::atomic::AtomicBool::new(false),
        });
        guard(&self.regions).push(Arc::clone(&replica));
        Ok(replica)
    }

    fn needed(&self) -> u64 {
        self.needed.load(Ordering::SeqCst)
    }

    fn peers(&self) -> HashMap<u64, String> {
        guard(&self.peers).clone()
    }
}

impl Replica {
    /// The store that PD appointed.
    pub fn leader(&self) -> u64 {
        self.leader.load(Ordering::SeqCst)
    }

    /// The term in which this store leads the region now.
    pub fn led_term(&self) -> Option<u64> {
        let progress = self.progress();
        (progress.led != 0 && progress.led == progress.term).then_some(progress.led)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        guard(&self.progress)
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
