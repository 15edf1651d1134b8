//! What a store tells PD, and hears from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::net::client::Client;
use crate::pd::state::{Appointments, Heartbeat};
use crate::replica::Replicas;
use crate::wire::pd::{GetMembersResponse, HeaderOnly};
use crate::{Result, log};

/// PD, as a store sees it.
pub struct Contact {
    endpoints: Vec<String>,
    client: Client,
    own: Heartbeat,
    stopping: AtomicBool,
}

impl Contact {
    pub fn new(endpoints: Vec<String>, client: Client, own: Heartbeat) -> Arc<Self> {
        Arc::new(Self {
            endpoints,
            client,
            own,
            stopping: AtomicBool::new(false),
        })
    }

    /// Until PD has answered: nothing of the data directory is looked at before (facts, TLS §2.1).
    pub async fn wait(&self) {
        loop {
            for endpoint in &self.endpoints {
                let asked: Result<GetMembersResponse> = self
                    .client
                    .grpc(endpoint, "/pdpb.PD/GetMembers", &HeaderOnly::default())
                    .await;
                match asked {
                    Ok(answer) if answer.leader.is_some() => return,
                    Ok(_) => log(&format!("[WARN] PD {endpoint} has no leader")),
                    Err(error) => log(&format!("[WARN] PD failed to respond: {error}")),
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Tells PD that this store lives, and does what it says; for ever.
    pub async fn keep(&self, store: &Arc<Replicas>) -> Result<()> {
        for round in 0_u64.. {
            match self.heartbeat(store).await {
                Ok(appointments) => store.obey(appointments)?,
                Err(problem) => log(&format!("[WARN] PD failed to respond: {problem}")),
            }
            let beating = Arc::clone(store);
            tokio::spawn(async move { beating.beat().await });
            if round.is_multiple_of(30) {
                store.purge()?;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    /// Asks PD to move the leaders away, and waits until none is left.
    pub async fn hand_over(&self, store: &Arc<Replicas>, patience: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        let gone = async {
            while store.led() > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(patience, gone).await.is_err() {
            log(&format!("[WARN] {} leaders are left", store.led()));
        }
    }

    async fn heartbeat(&self, store: &Replicas) -> Result<Appointments> {
        let mut heartbeat = self.own.clone();
        heartbeat.leaders = store.led();
        heartbeat.busy = !store.caught_up();
        heartbeat.stopping = self.stopping.load(Ordering::SeqCst);
        let mut problem = String::new();
        for endpoint in &self.endpoints {
            match self
                .client
                .json(endpoint, "/standin/heartbeat", &heartbeat)
                .await
            {
                Ok(appointments) => return Ok(appointments),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}
