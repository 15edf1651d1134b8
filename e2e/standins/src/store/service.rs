//! Rows with three copies: the leader of a region writes to itself and to at least one other store; a new leader first
//! takes over what another store has. So an acknowledged row is never lost, with one store away. No Raft: PD appoints.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::directory::{Directory, Version};
use crate::net::client::{Client, Outcome};
use crate::net::server::{Call, Reply};
use crate::pd::state::{Appointments, Heartbeat};
use crate::{REGIONS, Result, log, now, region_of};

/// A row on its way.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    pub key: String,
    pub version: Version,
    pub value: String,
}

/// What stores and clients say to a store.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// Client: the value of a key.
    Get { key: String },
    /// Client: write.
    Put { key: String, value: String },
    /// Leader: keep these.
    Replicate { region: usize, term: u64, rows: Vec<Row> },
    /// New leader: give me all of a region, and obey nobody older.
    Sync { region: usize, term: u64 },
    /// Leader: am I still the one?
    Confirm { region: usize, term: u64 },
}

/// A store's answer.
#[derive(Default, Serialize, Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub value: Option<String>,
    #[serde(default)]
    pub rows: Vec<Row>,
}

#[derive(Default)]
struct Terms {
    seen: [u64; REGIONS],
    led: [u64; REGIONS],
    taking: [u64; REGIONS],
    counter: u64,
}

/// The store.
pub struct Store {
    directory: Mutex<Directory>,
    terms: Mutex<Terms>,
    peers: Mutex<HashMap<u64, String>>,
    id: Mutex<u64>,
    client: Client,
    /// What PD is told.
    pub heartbeat: Heartbeat,
}

impl Store {
    /// Over an opened directory.
    pub fn new(directory: Directory, client: Client, heartbeat: Heartbeat) -> Arc<Self> {
        Arc::new(Self {
            directory: Mutex::new(directory),
            terms: Mutex::default(),
            peers: Mutex::default(),
            id: Mutex::default(),
            client,
            heartbeat,
        })
    }

    /// Tells PD that this store lives, and learns what it leads; for ever.
    pub async fn keep_in_touch(self: Arc<Self>, endpoints: Vec<String>) {
        loop {
            let mut problem = String::new();
            for endpoint in &endpoints {
                let mut heartbeat = self.heartbeat.clone();
                heartbeat.leaders = self.leaders();
                match self.client.json::<Appointments>(endpoint, "/standin/heartbeat", &heartbeat).await {
                    Ok(appointments) => {
                        self.obey(appointments);
                        problem.clear();
                        break;
                    }
                    Err(error) => problem = error,
                }
            }
            if !problem.is_empty() {
                log(&format!("no PD answers: {problem}"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Regions that this store leads now.
    pub fn leaders(&self) -> usize {
        self.terms().led.iter().filter(|term| **term != 0).count()
    }

    /// Whether PD has answered.
    pub fn connected(&self) -> bool {
        *self.id.lock().expect("no holder panics") != 0
    }

    /// Answers a gRPC call.
    pub async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let outcome: Outcome<Answer> = match serde_json::from_slice(&call.body) {
            Ok(ask) => self.answer(ask).await.into(),
            Err(error) => Outcome::Error(format!("{}: not understood: {error}", call.path)),
        };
        (200, serde_json::to_vec(&outcome).unwrap_or_default())
    }

    async fn answer(&self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Get { key } => {
                let (region, term) = self.led_region(&key)?;
                self.majority(&Ask::Confirm { region, term }).await?;
                let value = self.rows().rows.get(&key).map(|(_, value)| value.clone());
                Ok(Answer { value, rows: Vec::new() })
            }
            Ask::Put { key, value } => {
                let (region, term) = self.led_region(&key)?;
                let version = self.next_version(term);
                let row = Row { key, version, value };
                self.rows().put(&row.key, row.version, &row.value)?;
                self.majority(&Ask::Replicate { region, term, rows: vec![row] }).await?;
                Ok(Answer::default())
            }
            Ask::Replicate { region, term, rows } => {
                self.bow(region, term)?;
                self.keep(rows)?;
                Ok(Answer::default())
            }
            Ask::Sync { region, term } => {
                self.bow(region, term)?;
                Ok(Answer { value: None, rows: self.region_rows(region) })
            }
            Ask::Confirm { region, term } => self.bow(region, term).map(|()| Answer::default()),
        }
    }

    fn obey(self: &Arc<Self>, appointments: Appointments) {
        let me = appointments.id;
        *self.id.lock().expect("no holder panics") = me;
        let others = appointments.stores.into_iter().filter(|(id, _)| *id != me);
        *self.peers.lock().expect("no holder panics") = others.collect();
        for (region, appointment) in appointments.regions.iter().enumerate().take(REGIONS) {
            let mut terms = self.terms();
            if appointment.leader != me {
                if appointment.term >= terms.led[region] {
                    terms.led[region] = 0;
                }
                continue;
            }
            let term = appointment.term;
            if terms.led[region] == term || terms.taking[region] == term || terms.seen[region] > term {
                continue;
            }
            terms.taking[region] = term;
            drop(terms);
            let store = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = store.take_over(region, term).await {
                    log(&format!("region {region} is not taken over yet: {error}"));
                }
                store.terms().taking[region] = 0;
            });
        }
    }

    async fn take_over(&self, region: usize, term: u64) -> Result<()> {
        let rows = self.majority(&Ask::Sync { region, term }).await?.rows;
        self.keep(rows)?;
        // What only this store has may be missing on the others; a follower that was away gets it now.
        let all = self.region_rows(region);
        self.majority(&Ask::Replicate { region, term, rows: all }).await?;
        let mut terms = self.terms();
        if terms.seen[region] <= term {
            terms.seen[region] = term;
            terms.led[region] = term;
        }
        Ok(())
    }

    // Asks all others; one of two suffices, with this store that is a majority. Rows of all answers.
    async fn majority(&self, ask: &Ask) -> Result<Answer> {
        let peers: Vec<String> = self.peers.lock().expect("no holder panics").values().cloned().collect();
        let calls = peers.iter().map(|peer| self.client.grpc::<Answer>(peer, "Ask", ask));
        let (mut good, mut answer, mut problem) = (0, Answer::default(), "no other store is known".to_owned());
        for outcome in futures_util::future::join_all(calls).await {
            match outcome {
                Ok(other) => {
                    good += 1;
                    answer.rows.extend(other.rows);
                }
                Err(error) => problem = error,
            }
        }
        if good == 0 { Err(format!("no majority: {problem}")) } else { Ok(answer) }
    }

    fn led_region(&self, key: &str) -> Result<(usize, u64)> {
        let region = region_of(key);
        let terms = self.terms();
        match terms.led[region] {
            term if term != 0 && term == terms.seen[region] => Ok((region, term)),
            _ => Err("not leader".into()),
        }
    }

    fn bow(&self, region: usize, term: u64) -> Result<()> {
        let mut terms = self.terms();
        if region >= REGIONS || term < terms.seen[region] {
            return Err("stale term".into());
        }
        if term > terms.seen[region] {
            terms.seen[region] = term;
            terms.led[region] = 0;
        }
        Ok(())
    }

    fn next_version(&self, term: u64) -> Version {
        let mut terms = self.terms();
        // Begins with the time, so that it also grows over a restart within a term.
        terms.counter = (terms.counter + 1).max((now() & 0xf_ffff) << 12);
        (term << 32) | (terms.counter & 0xffff_ffff)
    }

    fn keep(&self, rows: Vec<Row>) -> Result<()> {
        let mut directory = self.rows();
        rows.into_iter().try_for_each(|row| directory.put(&row.key, row.version, &row.value))
    }

    fn region_rows(&self, region: usize) -> Vec<Row> {
        let directory = self.rows();
        let rows: &BTreeMap<_, _> = &directory.rows;
        let rows = rows.iter().filter(|(key, _)| region_of(key) == region);
        rows.map(|(key, (version, value))| Row { key: key.clone(), version: *version, value: value.clone() }).collect()
    }

    fn rows(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().expect("no holder panics")
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().expect("no holder panics")
    }
}
