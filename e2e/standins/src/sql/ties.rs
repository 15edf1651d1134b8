//! What TiDB asks PD and the stores for.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::net::client::Client;
use crate::wire::debug::GetStoreInfoResponse;
use crate::wire::pd::HeaderOnly;
use crate::{Result, log};

/// What came of the calls.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Calls of stores.
    pub made: u64,
    /// Those that failed because one side did not like the other's certificate or name.
    pub refused: u64,
    /// What the last of these said.
    pub problem: String,
}

/// PD and the stores, as TiDB sees them.
pub struct Ties {
    endpoints: Vec<String>,
    pd: Client,
    stores: Client,
    calls: Mutex<Calls>,
}

impl Ties {
    /// `pd` and `stores` read their files as TiDB does for each.
    pub fn new(endpoints: Vec<String>, pd: Client, stores: Client) -> Self {
        Self {
            endpoints,
            pd,
            stores,
            calls: Mutex::default(),
        }
    }

    /// Until a store has answered: TiDB opens no port before.
    pub async fn wait(&self) {
        while let Err(error) = self.round().await {
            log(&format!("[WARN] no store yet: {error}"));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Calls every store again and again.
    pub async fn keep(&self) {
        loop {
            if let Err(error) = self.round().await {
                log(&format!("[WARN] {error}"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What came of the calls until now.
    pub fn calls(&self) -> Calls {
        self.calls.lock().expect("no holder panics").clone()
    }

    async fn round(&self) -> Result<()> {
        let mut problem = Ok(());
        for store in self.addresses().await? {
            let path = "/debugpb.Debug/GetStoreInfo";
            let asked: Result<GetStoreInfoResponse> =
                self.stores.grpc(&store, path, &HeaderOnly::default()).await;
            let mut calls = self.calls.lock().expect("no holder panics");
            calls.made += 1;
            if let Err(error) = asked {
                if ["certificate", "common name", "alert"]
                    .iter()
                    .any(|sign| error.contains(sign))
                {
                    calls.refused += 1;
                    calls.problem.clone_from(&error);
                }
                problem = Err(error);
            }
        }
        problem
    }

    async fn addresses(&self) -> Result<Vec<String>> {
        let mut problem = "no PD is named in --path".to_owned();
        for endpoint in &self.endpoints {
            let asked = self
                .pd
                .http(endpoint, "GET", "/pd/api/v1/stores", Vec::new());
            match asked.await {
                Ok((200, body)) => return addresses(&body),
                Ok((status, _)) => problem = format!("{endpoint} answered {status}"),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

fn addresses(body: &[u8]) -> Result<Vec<String>> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let stores = body["stores"].as_array().into_iter().flatten();
    let addresses = stores.filter_map(|store| store["store"]["address"].as_str());
    let addresses: Vec<String> = addresses.map(str::to_owned).collect();
    if addresses.is_empty() {
        return Err("PD knows no store".to_owned());
    }
    Ok(addresses)
}
