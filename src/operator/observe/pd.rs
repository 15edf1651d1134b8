//! PD: where it is and what it says.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rustls::ClientConfig;

use super::pods::{address, server_name};
use crate::plan::observed::{PdFacts, PdState};
use crate::plan::pods::mounts_secret;
use crate::tikv::http::Endpoint;
use crate::tikv::pd::types::RegionCheck;
use crate::tikv::pd::{PdClient, PdError};

/// PD's client port.
pub(super) const PORT: u16 = 2379;
/// Time for one request to one member.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client of the members in `pods`: TLS for those whose pod mounts our certificate.
pub(super) fn client(pods: &[Pod], secret: &str, tls: Option<Arc<ClientConfig>>) -> PdClient {
    let members = pods.iter().filter_map(|pod| {
        let endpoint = Endpoint::new(address(pod)?.to_string(), PORT).named(server_name(pod));
        Some((endpoint, mounts_secret(pod, secret)))
    });
    PdClient::mixed(members.collect(), tls, PATIENCE)
}

/// Everything of PD that a plan looks at; one question unanswered makes PD unreachable.
pub(super) async fn state(client: &PdClient, pods_exist: bool) -> PdState {
    if !pods_exist {
        return PdState::NotAsked;
    }
    match ask(client).await {
        Ok(facts) => PdState::Reachable(Box::new(facts)),
        Err(error) => PdState::Unreachable(error.to_string()),
    }
}

async fn ask(client: &PdClient) -> Result<PdFacts, PdError> {
    let members = client.members().await?;
    let (health, initialized) = (client.health().await?, client.initialized().await?);
    let healthy = health.into_iter().filter(|member| member.health);
    let mut facts = PdFacts {
        members: members.all,
        healthy: healthy.map(|member| member.name).collect(),
        leader: members.leader,
        initialized,
        ..PdFacts::default()
    };
    // Before the first TiKV came, PD refuses what follows.
    if initialized {
        facts.stores = client.stores().await?;
        facts.evicting = client.evicted_stores().await?;
        facts.down_peers = client.regions(RegionCheck::DownPeer).await?;
        facts.pending_peers = client.regions(RegionCheck::PendingPeer).await?;
        facts.max_store_down_time = client.max_store_down_time().await?;
        facts.maintenance = client.maintenance().await?;
    }
    Ok(facts)
}
