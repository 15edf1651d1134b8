//! Where a client finds regions: PD says it, in `pdpb`.

use std::collections::BTreeMap;

use crate::Result;
use crate::net::client::Client;
use crate::wire::kv::Context;
use crate::wire::pd::{
    GetAllStoresResponse, GetMembersResponse, HeaderOnly, LedRegion, RequestHeader, ResponseHeader,
    ScanRegionsRequest, ScanRegionsResponse,
};
use crate::wire::region::Region;

/// All regions with their leaders, and where the stores are.
pub struct Route {
    regions: Vec<LedRegion>,
    stores: BTreeMap<u64, String>,
}

/// Whom to ask about a key, and how.
pub struct Place {
    pub address: String,
    pub context: Context,
    /// The first key after the region; empty when there is none.
    pub end: Vec<u8>,
}

impl Place {
    /// How many of the keys, which are in order and begin in this region, lie in it.
    pub fn share<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> usize {
        keys.take_while(|key| self.end.is_empty() || *key < self.end.as_slice())
            .count()
    }
}

impl Route {
    /// Asks the members of PD in turn until one knows the leader and the leader answers.
    pub async fn find(client: &Client, endpoints: &[String]) -> Result<Self> {
        let mut problem = String::new();
        for endpoint in endpoints {
            match ask(client, endpoint).await {
                Ok(route) => return Ok(route),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// The leader for a key as regions know it.
    pub fn place(&self, key: &[u8]) -> Result<Place> {
        let mut known = self
            .regions
            .iter()
            .filter_map(|one| Some((one.region.as_ref()?, one.leader?)));
        let (region, leader) = known
            .find(|(region, _)| holds(region, key))
            .ok_or("the region has no leader")?;
        let address = self
            .stores
            .get(&leader.store_id)
            .cloned()
            .ok_or("the leader's store is unknown")?;
        Ok(Place {
            address,
            context: Context {
                region_id: region.id,
                region_epoch: region.region_epoch,
                peer: Some(leader),
                term: 0,
            },
            end: region.end_key.clone(),
        })
    }
}

async fn ask(client: &Client, endpoint: &str) -> Result<Route> {
    let anybody = HeaderOnly::default();
    let members: GetMembersResponse = client
        .grpc(endpoint, "/pdpb.PD/GetMembers", &anybody)
        .await?;
    let leader = members
        .leader
        .and_then(|leader| leader.client_urls.first().cloned())
        .ok_or("PD has no leader")?;
    let leader = leader.rsplit('/').next().unwrap_or_default();
    // PD answers everything else only to those who name its cluster.
    let cluster_id = members.header.map_or(0, |header| header.cluster_id);
    let header = Some(RequestHeader { cluster_id });
    let request = ScanRegionsRequest {
        header,
        ..ScanRegionsRequest::default()
    };
    let regions: ScanRegionsResponse = client
        .grpc(leader, "/pdpb.PD/ScanRegions", &request)
        .await?;
    accepted(regions.header.as_ref())?;
    let request = HeaderOnly { header };
    let stores: GetAllStoresResponse = client
        .grpc(leader, "/pdpb.PD/GetAllStores", &request)
        .await?;
    accepted(stores.header.as_ref())?;
    let stores = stores.stores.into_iter();
    Ok(Route {
        regions: regions.regions,
        stores: stores.map(|store| (store.id, store.address)).collect(),
    })
}

fn accepted(header: Option<&ResponseHeader>) -> Result<()> {
    match header.and_then(|header| header.error.as_ref()) {
        Some(error) => Err(format!("PD refuses: {}", error.message)),
        None => Ok(()),
    }
}

fn holds(region: &Region, key: &[u8]) -> bool {
    key >= region.start_key.as_slice()
        && (region.end_key.is_empty() || key < region.end_key.as_slice())
}
