//! The `pdpb.PD` service.

use prost::Message;

use super::member::MemberNode;
use super::state::{RegionInfo, State, VERSION};
use crate::net::server::{Call, Reply};
use crate::net::stream::{FAILED_PRECONDITION, UNAVAILABLE, UNIMPLEMENTED, UNKNOWN};
use crate::wire::pd::{
    Cluster, GetAllStoresResponse, GetClusterConfigResponse, GetMembersResponse,
    GetRegionByIdRequest, GetRegionRequest, GetRegionResponse, GetStoreRequest, GetStoreResponse,
    HeaderOnly, IsBootstrappedResponse, LedRegion, Member, PdError, ResponseHeader, SafePoint,
    ScanRegionsRequest, ScanRegionsResponse, Timestamp, TsoRequest, TsoResponse,
};
use crate::wire::region::{Peer, Store, peer};

/// Answers a call. Any member tells the members; all else only the leader answers.
pub async fn handle(node: &MemberNode, call: &Call) -> Reply {
    let method = call.path.strip_prefix("/pdpb.PD/").unwrap_or_default();
    if method == "GetMembers" {
        return message(&members(node));
    }
    if !node.leads() {
        return Reply::Failure(UNAVAILABLE, "not leader".into());
    }
    let state = node.snapshot();
    let asked = HeaderOnly::decode(&call.body[..])
        .ok()
        .and_then(|request| request.header)
        .unwrap_or_default();
    // Clients ask for this one before they know the cluster.
    if method != "GetClusterInfo" && asked.cluster_id != state.cluster {
        let error = format!(
            "mismatch cluster id, need {} but got {}",
            state.cluster, asked.cluster_id
        );
        return Reply::Failure(FAILED_PRECONDITION, error);
    }
    let header = Some(header(&state));
    let done = match method {
        "Tso" => decoded(call).and_then(|request: TsoRequest| tso(node, &request, header)),
        "GetRegion" => decoded(call).map(|request: GetRegionRequest| {
            region(
                &state,
                state
                    .regions
                    .iter()
                    .find(|region| region.holds(&request.region_key)),
            )
        }),
        "GetPrevRegion" => decoded(call).map(|request: GetRegionRequest| {
            let index = state
                .regions
                .iter()
                .position(|region| region.holds(&request.region_key));
            region(
                &state,
                index
                    .and_then(|index| index.checked_sub(1))
                    .map(|index| &state.regions[index]),
            )
        }),
        "GetRegionByID" => decoded(call).map(|request: GetRegionByIdRequest| {
            region(
                &state,
                state
                    .regions
                    .iter()
                    .find(|region| region.id == request.region_id),
            )
        }),
        "ScanRegions" => decoded(call).map(|request: ScanRegionsRequest| scan(&state, &request)),
        "GetStore" => {
            decoded(call).map(|request: GetStoreRequest| store(node, &state, request.store_id))
        }
        "GetAllStores" => {
            let stores = state
                .stores
                .keys()
                .filter_map(|id| shown(node, &state, *id))
                .collect();
            Ok(message(&GetAllStoresResponse { header, stores }))
        }
        "GetClusterConfig" => {
            let max_peer_count = u32::try_from(state.replicas).unwrap_or(0);
            Ok(message(&GetClusterConfigResponse {
                header,
                cluster: Some(Cluster {
                    id: state.cluster,
                    max_peer_count,
                }),
            }))
        }
        "IsBootstrapped" => Ok(message(&IsBootstrappedResponse {
            header,
            bootstrapped: !state.stores.is_empty(),
        })),
        "GetGCSafePoint" => Ok(message(&SafePoint {
            header,
            safe_point: state.safe_point,
        })),
        "UpdateGCSafePoint" => match decoded::<SafePoint>(call) {
            Ok(request) => {
                let safe_point = state.safe_point.max(request.safe_point);
                let changed = node.change(|state| state.safe_point = safe_point).await;
                changed
                    .map(|()| message(&SafePoint { header, safe_point }))
                    .map_err(|error| (UNAVAILABLE, error))
            }
            Err(error) => Err(error),
        },
        _ => Err((
            UNIMPLEMENTED,
            format!("{} is not part of this stand-in", call.path),
        )),
    };
    done.unwrap_or_else(|(code, error)| Reply::Failure(code, error))
}

fn tso(
    node: &MemberNode,
    request: &TsoRequest,
    header: Option<ResponseHeader>,
) -> Result<Reply, (u32, String)> {
    let (physical, logical) = node
        .timestamp(request.count)
        .map_err(|error| (UNAVAILABLE, error))?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let timestamp = Some(Timestamp {
        physical: number(physical),
        logical: number(logical),
    });
    Ok(message(&TsoResponse {
        header,
        count: request.count,
        timestamp,
    }))
}

fn members(node: &MemberNode) -> GetMembersResponse {
    let state = node.snapshot();
    let members: Vec<Member> = state
        .members
        .iter()
        .zip(1..)
        .map(|((name, member), member_id)| Member {
            name: name.clone(),
            member_id,
            peer_urls: vec![member.peer_url.clone()],
            client_urls: member.client_url.split(',').map(str::to_owned).collect(),
            binary_version: VERSION.to_owned(),
        })
        .collect();
    let leader = node
        .leader()
        .and_then(|leader| members.iter().find(|member| member.name == leader).cloned());
    GetMembersResponse {
        header: Some(header(&state)),
        members,
        etcd_leader: leader.clone(),
        leader,
    }
}

fn region(state: &State, found: Option<&RegionInfo>) -> Reply {
    let stores = state.store_ids();
    message(&GetRegionResponse {
        header: Some(header(state)),
        region: found.map(|region| region.region(&stores)),
        leader: found.and_then(leader),
    })
}

fn scan(state: &State, request: &ScanRegionsRequest) -> Reply {
    let stores = state.store_ids();
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let within = state.regions.iter().filter(|region| {
        let begins = request.end_key.is_empty() || region.start < request.end_key;
        begins && (region.end.is_empty() || region.end > request.start_key)
    });
    let mut answer = ScanRegionsResponse {
        header: Some(header(state)),
        ..ScanRegionsResponse::default()
    };
    for info in within.take(limit) {
        let region = info.region(&stores);
        answer.region_metas.push(region.clone());
        answer.leaders.push(leader(info).unwrap_or_default());
        answer.regions.push(LedRegion {
            region: Some(region),
            leader: leader(info),
        });
    }
    message(&answer)
}

fn store(node: &MemberNode, state: &State, id: u64) -> Reply {
    let mut header = header(state);
    let found = shown(node, state, id);
    if found.is_none() {
        header.error = Some(PdError {
            kind: 1,
            message: format!("invalid store ID {id}, not found"),
        });
    }
    message(&GetStoreResponse {
        header: Some(header),
        store: found,
    })
}

fn shown(node: &MemberNode, state: &State, id: u64) -> Option<Store> {
    let store = state.stores.get(&id)?;
    let heard = node.heard().get(&id).copied().unwrap_or(0);
    Some(Store {
        id,
        address: store.address.clone(),
        state: 0,
        version: VERSION.to_owned(),
        peer_address: store.address.clone(),
        status_address: store.status_address.clone(),
        start_timestamp: i64::try_from(store.started).unwrap_or(0),
        last_heartbeat: i64::try_from(heard * 1_000_000).unwrap_or(0),
        node_state: 1,
    })
}

fn leader(region: &RegionInfo) -> Option<Peer> {
    (region.leader != 0).then(|| peer(region.id, region.leader))
}

fn header(state: &State) -> ResponseHeader {
    ResponseHeader {
        cluster_id: state.cluster,
        error: None,
    }
}

fn decoded<T: Message + Default>(call: &Call) -> Result<T, (u32, String)> {
    T::decode(&call.body[..]).map_err(|error| (UNKNOWN, error.to_string()))
}

fn message(answer: &impl Message) -> Reply {
    Reply::Message(answer.encode_to_vec())
}
