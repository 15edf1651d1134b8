//! One member: finds the others, follows or leads, and replicates the state to a majority. The leader is the first by
//! name of those that see a majority; that is enough for a test and no substitute for Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Pace;
use super::state::{Appointments, Heartbeat, Member, State};
use crate::net::client::Client;
use crate::{Result, log, now, now_ms};

/// Milliseconds of timestamps that the members agree about in advance.
const TIMESTAMPS: u64 = 6000;
/// Seconds for which a member that resigned does not lead.
const RESIGNED: u64 = 10;

/// What members tell one another.
#[derive(Clone, Serialize, Deserialize)]
pub struct Hello {
    pub name: String,
    pub client_url: String,
    pub version: u64,
    pub eligible: bool,
}

#[derive(Default)]
struct View {
    alive: BTreeSet<String>,
    leader: Option<String>,
    resigned: u64,
    /// In milliseconds since 1970.
    heard: BTreeMap<u64, u64>,
    pace: Pace,
    /// The last timestamp that was given away.
    timestamp: (u64, u64),
    /// The address by which a member answered last: a connection outlives a change of its URL, as in etcd.
    working: BTreeMap<String, String>,
}

/// This member.
pub struct MemberNode {
    pub name: String,
    client_url: String,
    index: u64,
    file: PathBuf,
    plain: Client,
    secure: Option<Client>,
    state: Mutex<State>,
    view: Mutex<View>,
}

impl MemberNode {
    /// From what is on disk, else from `--initial-cluster`.
    pub fn new(
        name: String,
        client_url: String,
        data: PathBuf,
        initial: &BTreeMap<String, String>,
        replicas: usize,
        secure: Option<Client>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        let file = data.join("state.json");
        let state = match std::fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", file.display()))?
            }
            Err(_) => State::new(
                initial
                    .iter()
                    .map(|(name, url)| {
                        (
                            name.clone(),
                            Member {
                                peer_url: url.clone(),
                                client_url: String::new(),
                            },
                        )
                    })
                    .collect(),
                replicas,
            ),
        };
        let index = state.members.keys().position(|member| *member == name);
        let index = index.ok_or_else(|| format!("{name} is not in the initial cluster"))? as u64;
        let (state, view) = (Mutex::new(state), Mutex::default());
        Ok(Self {
            name,
            client_url,
            index,
            file,
            plain: Client::fresh(None),
            secure,
            state,
            view,
        })
    }

    /// Talks to the others for ever.
    pub async fn run(&self) {
        loop {
            self.look_around().await;
            if self.leads() {
                self.work().await;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// What this member says of itself.
    pub fn hello(&self) -> Hello {
        let eligible = now().saturating_sub(self.view().resigned) > RESIGNED;
        Hello {
            name: self.name.clone(),
            client_url: self.client_url.clone(),
            version: self.state().version,
            eligible,
        }
    }

    /// A copy of the state.
    pub fn snapshot(&self) -> State {
        self.state().clone()
    }

    /// Takes a newer state of the leader.
    pub fn accept(&self, state: State) -> bool {
        let mut own = self.state();
        if state.version < own.version {
            return false;
        }
        *own = state;
        self.save(&own);
        true
    }

    /// Whether this member leads, and sees a majority.
    pub fn leads(&self) -> bool {
        self.view().leader.as_deref() == Some(&self.name)
    }

    /// The leader's name.
    pub fn leader(&self) -> Option<String> {
        self.view().leader.clone()
    }

    /// Members that answer.
    pub fn alive(&self) -> BTreeSet<String> {
        self.view().alive.clone()
    }

    /// When each store was heard of.
    pub fn heard(&self) -> BTreeMap<u64, u64> {
        self.view().heard.clone()
    }

    /// Does not lead for a while.
    pub fn resign(&self) {
        let mut view = self.view();
        view.resigned = now();
        view.leader = None;
    }

    /// A store lives.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Appointments> {
        let heard = self.heard();
        let (id, changed, appointments) = {
            let mut state = self.state();
            let (id, changed) = state.hear(heartbeat, &heard);
            (id, changed, state.appointments(id))
        };
        self.view().heard.insert(id, now_ms());
        if changed {
            self.change(|_| {}).await?;
        }
        Ok(appointments)
    }

    /// Changes the state; it holds when a majority has it.
    pub async fn change(&self, work: impl FnOnce(&mut State)) -> Result<()> {
        let state = {
            let mut state = self.state();
            work(&mut state);
            state.version += 1;
            self.save(&state);
            state.clone()
        };
        let mut count = 1;
        for name in state.members.keys().filter(|name| **name != self.name) {
            if self
                .to_peer::<bool>(name, "/standin/state", &state)
                .await
                .unwrap_or(false)
            {
                count += 1;
            }
        }
        if 2 * count > state.members.len() {
            Ok(())
        } else {
            Err("no majority of PD members".into())
        }
    }

    /// Timestamps that nobody had before: the last of `count`, as milliseconds and a number among them.
    pub fn timestamp(&self, count: u32) -> Result<(u64, u64)> {
        if !self.leads() {
            return Err("not leader".into());
        }
        let below = self.state().timestamps_below;
        let mut view = self.view();
        let (physical, logical) = view.timestamp;
        let count = u64::from(count);
        let next = if now_ms() > physical {
            (now_ms(), count)
        } else {
            (physical, logical + count)
        };
        if next.0 >= below || next.1 >= 1 << 18 {
            return Err("no timestamp yet".into());
        }
        view.timestamp = next;
        Ok(next)
    }

    /// Sends a client's request on to the leader.
    pub async fn forward(&self, method: &str, path: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>)> {
        let leader = self
            .leader()
            .filter(|leader| *leader != self.name)
            .ok_or("no leader")?;
        let url = self
            .state()
            .members
            .get(&leader)
            .map(|member| member.client_url.clone())
            .unwrap_or_default();
        self.client(&url).http(bare(&url), method, path, body).await
    }

    async fn look_around(&self) {
        let names: Vec<String> = self.state().members.keys().cloned().collect();
        let hello = self.hello();
        let mut alive = BTreeSet::from([self.name.clone()]);
        let mut eligible = BTreeSet::new();
        if hello.eligible {
            eligible.insert(self.name.clone());
        }
        let others = names.iter().filter(|name| **name != self.name);
        let asked = others.map(|name| async {
            (
                name.clone(),
                self.to_peer::<Hello>(name, "/standin/hello", &hello).await,
            )
        });
        let mut newest: Option<(u64, String)> = None;
        for (name, answer) in futures_util::future::join_all(asked).await {
            let Ok(answer) = answer else { continue };
            alive.insert(name.clone());
            if answer.eligible {
                eligible.insert(name.clone());
            }
            if answer.version > hello.version
                && newest
                    .as_ref()
                    .is_none_or(|(version, _)| answer.version > *version)
            {
                newest = Some((answer.version, name.clone()));
            }
            self.remember_client_url(&answer);
        }
        if let Some((_, name)) = newest
            && let Ok(state) = self.to_peer::<State>(&name, "/standin/read", &()).await
        {
            self.accept(state);
        }
        let majority = 2 * alive.len() > names.len();
        let leader = eligible.first().cloned().filter(|_| majority);
        let mut view = self.view();
        if view.leader != leader {
            log(&format!("leader is {leader:?}; alive: {alive:?}"));
            // Whoever takes over gives the stores time to report.
            let stores: Vec<u64> = self.state().stores.keys().copied().collect();
            view.heard
                .extend(stores.into_iter().map(|id| (id, now_ms())));
            // Another one may have given away all up to here.
            view.timestamp = (self.state().timestamps_below, 0);
        }
        (view.alive, view.leader) = (alive, leader);
    }

    async fn work(&self) {
        self.remember_client_url(&self.hello());
        let heard = self.heard();
        let mut pace = std::mem::take(&mut self.view().pace);
        let mut changed = self.state().appoint(&heard, self.index, &mut pace);
        self.view().pace = pace;
        {
            let mut state = self.state();
            if state.timestamps_below < now_ms() + TIMESTAMPS / 2 {
                state.timestamps_below = now_ms() + TIMESTAMPS;
                changed = true;
            }
        }
        if changed && let Err(error) = self.change(|_| {}).await {
            log(&error);
        }
    }

    // Not a change of version: each member finds out by itself.
    fn remember_client_url(&self, hello: &Hello) {
        if let Some(member) = self.state().members.get_mut(&hello.name) {
            member.client_url.clone_from(&hello.client_url);
        }
    }

    async fn to_peer<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let stored = self
            .state()
            .members
            .get(name)
            .map(|member| member.peer_url.clone())
            .unwrap_or_default();
        let working = self.view().working.get(name).cloned();
        let mut problem = "no address".to_owned();
        for url in working.into_iter().chain([stored]) {
            match self.client(&url).json(bare(&url), path, body).await {
                Ok(answer) => {
                    self.view().working.insert(name.to_owned(), url);
                    return Ok(answer);
                }
                Err(error) => problem = error,
            }
        }
        self.view().working.remove(name);
        Err(problem)
    }

    fn client(&self, url: &str) -> &Client {
        if url.starts_with("https://") {
            self.secure.as_ref().unwrap_or(&self.plain)
        } else {
            &self.plain
        }
    }

    fn save(&self, state: &State) {
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        if let Err(error) = crate::store::dictionary::replace(&self.file, &bytes) {
            log(&error);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("no holder panics")
    }
}

/// A URL without its scheme.
pub fn bare(url: &str) -> &str {
    url.trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/')
}
