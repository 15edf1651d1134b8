//! What the agents report: `GET /v1/status` by mutual TLS on the pod's address.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::api::AGENT_PORT;
use crate::api::report::AgentReport;
use crate::tikv::http::{Endpoint, Transport};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the agent of one pod; the reason in words when it does not answer.
/// `name` is one that the agents' certificate carries: addresses of pods are in none.
pub async fn report(
    address: &str,
    name: &str,
    tls: Arc<ClientConfig>,
) -> Result<AgentReport, String> {
    let endpoint = Endpoint::new(address, AGENT_PORT).named(name);
    let transport = Transport {
        tls: Some(tls),
        patience: PATIENCE,
    };
    let answer = transport
        .get(&endpoint, "/v1/status")
        .await
        .map_err(|error| format!("the agent did not answer: {error}"))?;
    if !answer.status.is_success() {
        return Err(format!(
            "the agent at {endpoint} answered {}: {}",
            answer.status,
            answer.excerpt()
        ));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the agent's report can not be read: {error}"))
}
