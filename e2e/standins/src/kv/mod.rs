//! The `tikvpb.Tikv` and `debugpb.Debug` services, and what stores say to one another.

mod batch;
mod context;
mod debug;
mod raw;
mod transactions;

use std::sync::Arc;

use prost::Message;

use self::context::Fault;
use crate::net::server::{Call, Reply};
use crate::net::stream::{UNAVAILABLE, UNIMPLEMENTED, UNKNOWN};
use crate::replica::Replicas;
use crate::wire::errors::Error;

/// Answers a call on the gRPC port.
pub async fn handle(store: Arc<Replicas>, call: Call) -> Reply {
    if !call.grpc {
        return Reply::Http(404, Vec::new());
    }
    match call.path.as_str() {
        "/tikvpb.Tikv/BatchCommands" => batch::handle(&store, &call.body).await,
        // `grpc.health.v1`: it serves.
        "/grpc.health.v1.Health/Check" => Reply::Message(vec![8, 1]),
        path => match debug::handle(&store, path, &call.body).await {
            Some(reply) => reply,
            None => one(&store, path, &call.body).await,
        },
    }
}

async fn one(store: &Arc<Replicas>, path: &str, body: &[u8]) -> Reply {
    match path {
        "/tikvpb.Tikv/KvGet" => unary(body, |request| transactions::get(store, request)).await,
        "/tikvpb.Tikv/KvBatchGet" => {
            unary(body, |request| transactions::batch_get(store, request)).await
        }
        "/tikvpb.Tikv/KvScan" => unary(body, |request| transactions::scan(store, request)).await,
        "/tikvpb.Tikv/KvPrewrite" => {
            unary(body, |request| transactions::prewrite(store, request)).await
        }
        "/tikvpb.Tikv/KvPessimisticLock" => {
            unary(body, |request| transactions::lock(store, request)).await
        }
        "/tikvpb.Tikv/KVPessimisticRollback" | "/tikvpb.Tikv/KvPessimisticRollback" => {
            unary(body, |request| transactions::unlock(store, request)).await
        }
        "/tikvpb.Tikv/KvCommit" => {
            unary(body, |request| transactions::commit(store, request)).await
        }
        "/tikvpb.Tikv/KvBatchRollback" => {
            unary(body, |request| transactions::batch_rollback(store, request)).await
        }
        "/tikvpb.Tikv/KvCleanup" => {
            unary(body, |request| transactions::cleanup(store, request)).await
        }
        "/tikvpb.Tikv/KvResolveLock" => {
            unary(body, |request| transactions::resolve(store, request)).await
        }
        "/tikvpb.Tikv/KvCheckTxnStatus" => {
            unary(body, |request| transactions::check_status(store, request)).await
        }
        "/tikvpb.Tikv/KvTxnHeartBeat" => {
            unary(body, |request| transactions::heart_beat(store, request)).await
        }
        "/tikvpb.Tikv/KvScanLock" => {
            unary(body, |request| transactions::scan_lock(store, request)).await
        }
        "/tikvpb.Tikv/RawGet" => unary(body, |request| raw::get(store, request)).await,
        "/tikvpb.Tikv/RawBatchGet" => unary(body, |request| raw::batch_get(store, request)).await,
        "/tikvpb.Tikv/RawPut" => unary(body, |request| raw::put(store, request)).await,
        "/tikvpb.Tikv/RawBatchPut" => unary(body, |request| raw::batch_put(store, request)).await,
        "/tikvpb.Tikv/RawDelete" => unary(body, |request| raw::delete(store, request)).await,
        "/tikvpb.Tikv/RawBatchDelete" => {
            unary(body, |request| raw::batch_delete(store, request)).await
        }
        "/tikvpb.Tikv/RawDeleteRange" => {
            unary(body, |request| raw::delete_range(store, request)).await
        }
        "/tikvpb.Tikv/RawScan" => unary(body, |request| raw::scan(store, request)).await,
        "/standin.Raft/Append" => inner(body, |message| {
            tokio::task::block_in_place(|| store.appended(message))
        }),
        "/standin.Raft/Promise" => inner(body, |message| {
            tokio::task::block_in_place(|| store.promised(&message))
        }),
        "/standin.Raft/Fetch" => inner(body, |message| store.fetched(&message)),
        other => Reply::Failure(
            UNIMPLEMENTED,
            format!("{other} is not part of this stand-in"),
        ),
    }
}

/// Every response has it in this place.
#[derive(Clone, PartialEq, Message)]
struct RegionFault {
    #[prost(message, optional, tag = "1")]
    region_error: Option<Error>,
}

async fn unary<Q: Message + Default, A: Message>(
    body: &[u8],
    work: impl AsyncFnOnce(Q) -> Result<A, Fault>,
) -> Reply {
    let request = match Q::decode(body) {
        Ok(request) => request,
        Err(error) => return Reply::Failure(UNKNOWN, error.to_string()),
    };
    match work(request).await {
        Ok(answer) => Reply::Message(answer.encode_to_vec()),
        Err(Fault::Region(error)) => Reply::Message(
            RegionFault {
                region_error: Some(*error),
            }
            .encode_to_vec(),
        ),
        Err(Fault::Store(error)) => Reply::Failure(UNKNOWN, error),
    }
}

fn inner<Q: Message + Default, A: Message>(
    body: &[u8],
    work: impl FnOnce(Q) -> crate::Result<A>,
) -> Reply {
    match Q::decode(body)
        .map_err(|error| error.to_string())
        .and_then(work)
    {
        Ok(answer) => Reply::Message(answer.encode_to_vec()),
        Err(error) => Reply::Failure(UNAVAILABLE, error),
    }
}
