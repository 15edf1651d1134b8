//! The evict-leader scheduler and the scheduling configuration (facts, TLS §4.1, §4.5, §9.1, §9.7).

use std::collections::{BTreeMap, BTreeSet};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{PdClient, PdError, succeed};

const SCHEDULERS: &str = "/pd/api/v1/schedulers";
const EVICTED: &str = "/pd/api/v1/scheduler-config/evict-leader-scheduler/list";
const SCHEDULE: &str = "/pd/api/v1/config/schedule";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Evicted {
    store_id_ranges: BTreeMap<String, Value>,
}

impl PdClient {
    /// Leaders leave the store and none come. PD keeps this for ever: whoever adds it must remember to remove it.
    /// Adding it twice is harmless.
    pub async fn add_evict_leader(&self, store: u64) -> Result<(), PdError> {
        let body = json!({"name": "evict-leader-scheduler", "store_id": store});
        self.write(Method::POST, SCHEDULERS, Some(body)).await
    }

    /// Stores whose leaders are being evicted; empty when there is no such scheduler (404).
    pub async fn evicted_stores(&self) -> Result<BTreeSet<u64>, PdError> {
        let evicted: Evicted = self.find(EVICTED).await?.unwrap_or_default();
        let ids = evicted.store_id_ranges.into_keys();
        Ok(ids.filter_map(|id| id.parse().ok()).collect())
    }

    /// Leaders may come back to the store. A 404 means that it was gone already. Only ever for one store:
    /// without the number PD would remove the scheduler for all.
    pub async fn remove_evict_leader(&self, store: u64) -> Result<(), PdError> {
        let path = format!("{SCHEDULERS}/evict-leader-scheduler-{store}");
        let answer = self.ask(Method::DELETE, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        succeed(&Method::DELETE, &path, &answer)
    }

    /// The scheduling configuration as PD shows it.
    pub async fn schedule_config(&self) -> Result<Map<String, Value>, PdError> {
        self.read(SCHEDULE).await
    }

    /// How long a store may be away before PD makes its replicas elsewhere, in PD's notation (`30m0s`).
    pub async fn max_store_down_time(&self) -> Result<Option<String>, PdError> {
        let config = self.schedule_config().await?;
        let value = config.get("max-store-down-time").and_then(Value::as_str);
        Ok(value.map(str::to_owned))
    }

    /// Sets it, for the whole cluster and until it is set again: save the old value first (facts, TLS §4.5).
    pub async fn set_max_store_down_time(&self, value: &str) -> Result<(), PdError> {
        let body = json!({"max-store-down-time": value});
        self.write(Method::POST, SCHEDULE, Some(body)).await
    }
}
