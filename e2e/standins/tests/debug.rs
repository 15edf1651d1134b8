//! The debug service: a compaction rewrites every table under the present data key and nothing else, one at a time.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::Copy;
use prost::Message;
use tikv_security_standins::kv;
use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::server::{Call, Reply};
use tikv_security_standins::replica::Replicas;
use tikv_security_standins::store::dictionary;
use tikv_security_standins::wire::debug::{CompactRequest, FORCE, KV};

fn request(cf: &str) -> CompactRequest {
    CompactRequest {
        db: KV,
        cf: cf.to_owned(),
        threads: 1,
        bottommost_level_compaction: FORCE,
        ..CompactRequest::default()
    }
}

async fn ask(store: &Arc<Replicas>, call: &str, message: impl Message) -> Result<(), u32> {
    let call = Call {
        method: "POST".into(),
        path: format!("/debugpb.Debug/{call}"),
        body: message.encode_to_vec().into(),
        grpc: true,
        admitted: true,
    };
    match kv::handle(Arc::clone(store), call).await {
        Reply::Message(_) => Ok(()),
        Reply::Failure(code, _) => Err(code),
        Reply::Http(..) => unreachable!("gRPC is answered by gRPC"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_compaction_moves_tables_to_the_present_key_and_leaves_the_rest() {
    let copy = Copy::unpack("aes256");
    // Another method makes another data key at once.
    let directory = copy.open_as(|text| {
        let at = text.find("[security.encryption]").expect("encrypted");
        let tail = text.split_off(at).replace("aes256-ctr", "aes128-ctr");
        text.push_str(&tail);
    });
    let store = Replicas::new(directory, Client::channels(None));
    assert!(
        under_old_key(&copy)
            .iter()
            .any(|name| name.ends_with(".sst"))
    );
    for cf in ["default", "write", "lock", "raft"] {
        ask(&store, "Compact", request(cf)).await.expect(cf);
    }
    ask(&store, "GetStoreInfo", CompactRequest::default())
        .await
        .expect("answered");
    let left = tables_left(&copy).await;
    assert!(left.is_empty(), "{left:?}");
    assert!(
        under_old_key(&copy)
            .iter()
            .any(|name| name.ends_with("IDENTITY"))
    );
    assert_eq!(ask(&store, "Compact", request("values")).await, Err(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_one_another_and_outlive_their_callers() {
    let copy = Copy::unpack("plaintext");
    let store = Replicas::new(copy.open(), Client::channels(None));
    let busy = Arc::clone(&store.debugger).lock_owned().await;
    let caller = tokio::spawn({
        let store = Arc::clone(&store);
        async move { ask(&store, "Compact", request("default")).await }
    });
    // It has begun to wait when it holds the lock's third reference, after the store's and ours.
    while Arc::strong_count(&store.debugger) < 3 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    let waiting = ask(&store, "GetStoreInfo", CompactRequest::default());
    let early = tokio::time::timeout(Duration::from_millis(200), waiting).await;
    assert!(early.is_err(), "answered while another call was worked on");
    drop(busy);
    ask(&store, "GetStoreInfo", CompactRequest::default())
        .await
        .expect("answered");
}

// RocksDB deletes what it has replaced a moment later.
async fn tables_left(copy: &Copy) -> Vec<String> {
    let mut left = Vec::new();
    for _ in 0..100 {
        left = under_old_key(copy);
        left.retain(|name| name.ends_with(".sst"));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    left
}

fn under_old_key(copy: &Copy) -> Vec<String> {
    let bytes = std::fs::read(copy.path().join("file.dict")).expect("file.dict");
    let Ok(files) = dictionary::parse_files(&bytes) else {
        panic!("file.dict is damaged")
    };
    let methods: BTreeSet<i32> = files.files.values().map(|info| info.method).collect();
    assert!(methods.len() <= 2, "{methods:?}");
    let old = files.files.into_iter().filter(|(_, info)| info.method == 4);
    old.map(|(name, _)| name).collect()
}
