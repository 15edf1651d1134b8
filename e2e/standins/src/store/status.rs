//! The status port: what operators and probes read.

use std::sync::Arc;

use super::service::Store;
use crate::REGIONS;
use crate::net::server::{Call, Reply};

/// Answers a request.
pub async fn handle(store: Arc<Store>, config: Arc<String>, call: Call) -> Reply {
    match call.path.as_str() {
        "/status" => (200, b"{\"version\":\"8.5.7\"}".to_vec()),
        "/ready" if store.connected() => (200, b"{}".to_vec()),
        "/ready" => (500, b"{\"connected_to_pd\":false}".to_vec()),
        "/config" => (200, config.as_bytes().to_vec()),
        "/metrics" => {
            let leaders = store.leaders();
            let text = format!(
                "# TYPE tikv_raftstore_region_count gauge\n\
                 tikv_raftstore_region_count{{type=\"leader\"}} {leaders}\n\
                 tikv_raftstore_region_count{{type=\"region\"}} {REGIONS}\n"
            );
            (200, text.into_bytes())
        }
        _ => (404, b"path not found\n".to_vec()),
    }
}
