//! The `debugpb.Debug` service: one thread works on its calls, one after the other, and goes on when a caller is gone.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use crate::engine::Family;
use crate::log;
use crate::net::server::Reply;
use crate::net::stream::{INVALID_ARGUMENT, UNKNOWN};
use crate::replica::Replicas;
use crate::wire::debug::{CompactRequest, FORCE, GetStoreInfoResponse, KV, RAFT};

/// A compaction takes so many seconds longer: small stores are done in no time, large ones take hours. Also says that a
/// compaction fails, when it is no number, which TiKV tells nobody but its log.
const SLOWNESS: &str = "STANDIN_COMPACTION_SECONDS";

/// Answers a call; `None` for one that this stand-in does not have.
pub async fn handle(store: &Arc<Replicas>, path: &str, body: &[u8]) -> Option<Reply> {
    let reply = match path {
        "/debugpb.Debug/Compact" => match CompactRequest::decode(body) {
            Ok(request) => queued(store, move |store| compact(&store, &request)).await,
            Err(error) => Reply::Failure(UNKNOWN, error.to_string()),
        },
        "/debugpb.Debug/GetStoreInfo" => {
            queued(store, |store| {
                let answer = GetStoreInfoResponse {
                    store_id: store.id(),
                    api_version: 0,
                };
                Reply::Message(answer.encode_to_vec())
            })
            .await
        }
        _ => return None,
    };
    Some(reply)
}

// The task is its own: it ends when its work has, whoever waits.
async fn queued(
    store: &Arc<Replicas>,
    work: impl FnOnce(Arc<Replicas>) -> Reply + Send + 'static,
) -> Reply {
    let store = Arc::clone(store);
    let task = tokio::spawn(async move {
        let _turn = Arc::clone(&store.debugger).lock_owned().await;
        tokio::task::spawn_blocking(move || work(store)).await
    });
    match task.await {
        Ok(Ok(reply)) => reply,
        _ => Reply::Failure(UNKNOWN, "the debugger's thread died".to_owned()),
    }
}

fn compact(store: &Replicas, request: &CompactRequest) -> Reply {
    let family = match (request.db, request.cf.as_str()) {
        (KV, "default") => Family::Default,
        (KV, "write") => Family::Write,
        (KV, "lock") => Family::Lock,
        (KV, "raft") => Family::Raft,
        // The raft engine has no tables.
        (RAFT, "default") => {
            return Reply::Failure(UNKNOWN, "Get raft db is not allowed".to_owned());
        }
        (db, cf) => {
            return Reply::Failure(
                INVALID_ARGUMENT,
                format!("Invalid Argument \"invalid cf {cf:?} for db {db}\""),
            );
        }
    };
    log(&format!("Debugger starts manual compact cf={}", request.cf));
    let slowness = std::env::var(SLOWNESS).unwrap_or_default();
    if let Ok(seconds) = slowness.parse() {
        std::thread::sleep(Duration::from_secs(seconds));
    }
    let done = if slowness == "fail" {
        Err("IO error: No space left on device".to_owned())
    } else {
        let force = request.bottommost_level_compaction == FORCE;
        store.engine.compact_by(family, request.threads, force)
    };
    if let Err(error) = done {
        log(&format!(
            "[WARN] detected rocksdb background error: {error}"
        ));
    }
    log(&format!(
        "Debugger finishes manual compact cf={}",
        request.cf
    ));
    Reply::Message(Vec::new())
}
