//! Transactions. Commits without a second phase and asynchronous ones are not offered; clients then do it the plain way.

use std::sync::Arc;

use super::context::{Fault, Held, led};
use crate::engine::{Family, Operation};
use crate::replica::Replicas;
use crate::rows::codec::{data_key, encode};
use crate::rows::commands::{self, Transaction, info};
use crate::rows::read::Seen;
use crate::rows::records::{Kind, Lock};
use crate::wire::kv::{
    BatchGetRequest, BatchGetResponse, BatchRollbackRequest, CheckTxnStatusRequest,
    CheckTxnStatusResponse, CleanupRequest, CleanupResponse, CommitRequest, CommitResponse, Done,
    GetRequest, GetResponse, KeyError, KvPair, PessimisticLockRequest, PessimisticLockResponse,
    PessimisticRollbackRequest, PessimisticRollbackResponse, PrewriteRequest, PrewriteResponse,
    ResolveLockRequest, ScanLockRequest, ScanLockResponse, ScanRequest, ScanResponse,
    TxnHeartBeatRequest, TxnHeartBeatResponse, TxnNotFound,
};

type Store = Arc<Replicas>;

// Rows of a scan for which there is memory.
const MOST: u32 = 1 << 24;
// What `KvCheckTxnStatus` did.
const NO_ACTION: i32 = 0;
const TTL_EXPIRE_ROLLBACK: i32 = 1;
const LOCK_NOT_EXIST_ROLLBACK: i32 = 2;
const MIN_COMMIT_PUSHED: i32 = 3;
const TTL_EXPIRE_PESSIMISTIC_ROLLBACK: i32 = 4;
const LOCK_NOT_EXIST_DO_NOTHING: i32 = 5;

pub async fn get(store: &Store, request: GetRequest) -> Result<GetResponse, Fault> {
    let led = led(store, request.context)?;
    led.holds([&encode(&request.key)[..]])?;
    let seen = led.view().await?.get(&request.key, request.version)?;
    Ok(match seen {
        Ok(value) => GetResponse {
            not_found: value.is_none(),
            value: value.unwrap_or_default(),
            ..GetResponse::default()
        },
        Err(locked) => GetResponse {
            error: Some(locked_error(&locked.0, &locked.1)),
            ..GetResponse::default()
        },
    })
}

pub async fn batch_get(store: &Store, request: BatchGetRequest) -> Result<BatchGetResponse, Fault> {
    let led = led(store, request.context)?;
    let encoded: Vec<_> = request.keys.iter().map(|key| encode(key)).collect();
    led.holds(encoded.iter().map(Vec::as_slice))?;
    let view = led.view().await?;
    let mut pairs = Vec::new();
    for key in request.keys {
        let seen = view.get(&key, request.version)?;
        pairs.extend(pair(key, seen, false));
    }
    Ok(BatchGetResponse {
        pairs,
        ..BatchGetResponse::default()
    })
}

pub async fn scan(store: &Store, request: ScanRequest) -> Result<ScanResponse, Fault> {
    if request.limit > MOST {
        // TiKV makes room for all of them at once, and ends when there is none.
        crate::log(&format!(
            "[FATAL] memory allocation for {} rows failed",
            request.limit
        ));
        std::process::abort();
    }
    let led = led(store, request.context)?;
    let (from, to) = if request.reverse {
        (&request.end_key, &request.start_key)
    } else {
        (&request.start_key, &request.end_key)
    };
    let bound = |key: &Vec<u8>| {
        if key.is_empty() {
            Vec::new()
        } else {
            encode(key)
        }
    };
    let (from, to) = (bound(from), bound(to));
    let (from, to) = led.clip(&from, &to);
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let view = led.view().await?;
    let mut rows = view.scan(
        from,
        to,
        if request.reverse { usize::MAX } else { limit },
        request.version,
    )?;
    if request.reverse {
        rows.reverse();
        rows.truncate(limit);
    }
    let pairs = rows
        .into_iter()
        .filter_map(|(key, seen)| pair(key, seen, request.key_only));
    Ok(ScanResponse {
        pairs: pairs.collect(),
        ..ScanResponse::default()
    })
}

pub async fn prewrite(store: &Store, request: PrewriteRequest) -> Result<PrewriteResponse, Fault> {
    let led = led(store, request.context)?;
    let encoded: Vec<_> = request
        .mutations
        .iter()
        .map(|mutation| encode(&mutation.key))
        .collect();
    led.holds(encoded.iter().map(Vec::as_slice))?;
    let transaction = Transaction {
        primary: &request.primary_lock,
        start: request.start_version,
        ttl: request.lock_ttl,
        size: request.txn_size,
        for_update: request.for_update_ts,
        min_commit: request.min_commit_ts,
    };
    let held = led.hold().await;
    let (mut operations, mut errors) = (Vec::new(), Vec::new());
    for (index, mutation) in request.mutations.iter().enumerate() {
        let locked = request.pessimistic_actions.get(index) == Some(&1);
        match commands::prewrite(&held.view(), &transaction, mutation, locked)? {
            Ok(plan) => operations.extend(plan),
            Err(error) => errors.push(*error),
        }
    }
    if errors.is_empty() {
        held.write(&operations).await?;
    }
    Ok(PrewriteResponse {
        errors,
        ..PrewriteResponse::default()
    })
}

pub async fn lock(
    store: &Store,
    request: PessimisticLockRequest,
) -> Result<PessimisticLockResponse, Fault> {
    let led = led(store, request.context)?;
    let transaction = Transaction {
        primary: &request.primary_lock,
        start: request.start_version,
        ttl: request.lock_ttl,
        size: 0,
        for_update: request.for_update_ts,
        min_commit: 0,
    };
    let held = led.hold().await;
    let mut answer = PessimisticLockResponse::default();
    let mut operations = Vec::new();
    for mutation in &request.mutations {
        match commands::lock_pessimistic(&held.view(), &transaction, &mutation.key)? {
            Ok(plan) => operations.extend(plan),
            Err(error) => answer.errors.push(*error),
        }
        if request.return_values || request.check_existence {
            let value = held
                .view()
                .get(&mutation.key, request.for_update_ts)?
                .unwrap_or_default();
            answer.not_founds.push(value.is_none());
            answer
                .values
                .push(value.filter(|_| request.return_values).unwrap_or_default());
        }
    }
    if answer.errors.is_empty() {
        held.write(&operations).await?;
    }
    Ok(answer)
}

pub async fn unlock(
    store: &Store,
    request: PessimisticRollbackRequest,
) -> Result<PessimisticRollbackResponse, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let mut operations = Vec::new();
    for key in &request.keys {
        let lock = held
            .view()
            .lock(key)?
            .filter(|lock| lock.start == request.start_version);
        if lock.is_some_and(|lock| {
            lock.kind == Kind::Pessimistic && lock.for_update <= request.for_update_ts
        }) {
            operations.push(Operation::delete(Family::Lock, data_key(&encode(key))));
        }
    }
    held.write(&operations).await?;
    Ok(PessimisticRollbackResponse::default())
}

pub async fn commit(store: &Store, request: CommitRequest) -> Result<CommitResponse, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let error = commit_keys(
        &held,
        &request.keys,
        request.start_version,
        request.commit_version,
    )
    .await?;
    let commit_version = if error.is_none() {
        request.commit_version
    } else {
        0
    };
    Ok(CommitResponse {
        error,
        commit_version,
        ..CommitResponse::default()
    })
}

pub async fn batch_rollback(store: &Store, request: BatchRollbackRequest) -> Result<Done, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let error = roll_back_keys(&held, &request.keys, request.start_version).await?;
    Ok(Done {
        error,
        ..Done::default()
    })
}

pub async fn cleanup(store: &Store, request: CleanupRequest) -> Result<CleanupResponse, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let lock = held
        .view()
        .lock(&request.key)?
        .filter(|lock| lock.start == request.start_version);
    if let Some(lock) =
        lock.filter(|lock| request.current_ts != 0 && !expired(lock, request.current_ts))
    {
        let error = Some(locked_error(&request.key, &lock));
        return Ok(CleanupResponse {
            error,
            ..CleanupResponse::default()
        });
    }
    match commands::rollback(&held.view(), &request.key, request.start_version)? {
        Ok(operations) => held
            .write(&operations)
            .await
            .map(|()| CleanupResponse::default()),
        Err(commit_version) => Ok(CleanupResponse {
            commit_version,
            ..CleanupResponse::default()
        }),
    }
}

pub async fn resolve(store: &Store, request: ResolveLockRequest) -> Result<Done, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let mut wanted: Vec<(u64, u64)> = request
        .txn_infos
        .iter()
        .map(|one| (one.txn, one.status))
        .collect();
    if wanted.is_empty() {
        wanted.push((request.start_version, request.commit_version));
    }
    for (start, commit_version) in wanted {
        let keys = if request.keys.is_empty() {
            let (from, to) = led.clip(&[], &[]);
            let locks = held
                .view()
                .locks(from, to)?
                .into_iter()
                .filter(|(_, lock)| lock.start == start);
            locks.map(|(key, _)| key).collect()
        } else {
            request.keys.clone()
        };
        let error = if commit_version == 0 {
            roll_back_keys(&held, &keys, start).await?
        } else {
            commit_keys(&held, &keys, start, commit_version).await?
        };
        if error.is_some() {
            return Ok(Done {
                error,
                ..Done::default()
            });
        }
    }
    Ok(Done::default())
}

pub async fn check_status(
    store: &Store,
    request: CheckTxnStatusRequest,
) -> Result<CheckTxnStatusResponse, Fault> {
    let led = led(store, request.context)?;
    led.holds([&encode(&request.primary_key)[..]])?;
    let held = led.hold().await;
    let (key, start) = (&request.primary_key, request.lock_ts);
    let answer = |action| CheckTxnStatusResponse {
        action,
        ..CheckTxnStatusResponse::default()
    };
    let lock = held.view().lock(key)?.filter(|lock| lock.start == start);
    if let Some(mut lock) = lock {
        if expired(&lock, request.current_ts) {
            if lock.kind == Kind::Pessimistic && request.resolving_pessimistic_lock {
                held.write(&[Operation::delete(Family::Lock, data_key(&encode(key)))])
                    .await?;
                return Ok(answer(TTL_EXPIRE_PESSIMISTIC_ROLLBACK));
            }
            roll_back_keys(&held, std::slice::from_ref(key), start).await?;
            return Ok(answer(TTL_EXPIRE_ROLLBACK));
        }
        let mut action = NO_ACTION;
        if lock.min_commit > 0
            && request.caller_start_ts >= lock.min_commit
            && request.caller_start_ts < u64::MAX
        {
            lock.min_commit = request.caller_start_ts + 1;
            held.write(&[Operation::put(
                Family::Lock,
                data_key(&encode(key)),
                lock.encode(),
            )])
            .await?;
            action = MIN_COMMIT_PUSHED;
        }
        return Ok(CheckTxnStatusResponse {
            lock_ttl: lock.ttl,
            lock_info: Some(info(key, &lock)),
            ..answer(action)
        });
    }
    match held.view().outcome(key, start)? {
        Some((_, write)) if write.kind == Kind::Rollback || write.start != start => {
            Ok(answer(NO_ACTION))
        }
        Some((commit_version, _)) => Ok(CheckTxnStatusResponse {
            commit_version,
            ..answer(NO_ACTION)
        }),
        None if request.resolving_pessimistic_lock => Ok(answer(LOCK_NOT_EXIST_DO_NOTHING)),
        None if request.rollback_if_not_exist => {
            roll_back_keys(&held, std::slice::from_ref(key), start).await?;
            Ok(answer(LOCK_NOT_EXIST_ROLLBACK))
        }
        None => {
            let error = Some(not_found(start, key));
            Ok(CheckTxnStatusResponse {
                error,
                ..CheckTxnStatusResponse::default()
            })
        }
    }
}

pub async fn heart_beat(
    store: &Store,
    request: TxnHeartBeatRequest,
) -> Result<TxnHeartBeatResponse, Fault> {
    let led = led(store, request.context)?;
    let held = led.hold().await;
    let key = &request.primary_lock;
    let Some(mut lock) = held
        .view()
        .lock(key)?
        .filter(|lock| lock.start == request.start_version)
    else {
        let error = Some(not_found(request.start_version, key));
        return Ok(TxnHeartBeatResponse {
            error,
            ..TxnHeartBeatResponse::default()
        });
    };
    if lock.ttl < request.advise_lock_ttl {
        lock.ttl = request.advise_lock_ttl;
        held.write(&[Operation::put(
            Family::Lock,
            data_key(&encode(key)),
            lock.encode(),
        )])
        .await?;
    }
    Ok(TxnHeartBeatResponse {
        lock_ttl: lock.ttl,
        ..TxnHeartBeatResponse::default()
    })
}

pub async fn scan_lock(store: &Store, request: ScanLockRequest) -> Result<ScanLockResponse, Fault> {
    let led = led(store, request.context)?;
    let bound = |key: &Vec<u8>| {
        if key.is_empty() {
            Vec::new()
        } else {
            encode(key)
        }
    };
    let (from, to) = (bound(&request.start_key), bound(&request.end_key));
    let (from, to) = led.clip(&from, &to);
    let limit = if request.limit == 0 {
        usize::MAX
    } else {
        usize::try_from(request.limit).unwrap_or(usize::MAX)
    };
    let locks = led.view().await?.locks(from, to)?;
    let locks = locks
        .iter()
        .filter(|(_, lock)| lock.start <= request.max_version)
        .take(limit);
    let locks = locks.map(|(key, lock)| info(key, lock)).collect();
    Ok(ScanLockResponse {
        locks,
        ..ScanLockResponse::default()
    })
}

async fn commit_keys(
    held: &Held<'_>,
    keys: &[Vec<u8>],
    start: u64,
    commit: u64,
) -> Result<Option<KeyError>, Fault> {
    let mut operations = Vec::new();
    for key in keys {
        match commands::commit(&held.view(), key, start, commit)? {
            Ok(plan) => operations.extend(plan),
            Err(error) => return Ok(Some(*error)),
        }
    }
    held.write(&operations).await.map(|()| None)
}

async fn roll_back_keys(
    held: &Held<'_>,
    keys: &[Vec<u8>],
    start: u64,
) -> Result<Option<KeyError>, Fault> {
    let mut operations = Vec::new();
    for key in keys {
        match commands::rollback(&held.view(), key, start)? {
            Ok(plan) => operations.extend(plan),
            Err(commit) => {
                let abort = format!("the transaction was committed at {commit}");
                return Ok(Some(KeyError {
                    abort,
                    ..KeyError::default()
                }));
            }
        }
    }
    held.write(&operations).await.map(|()| None)
}

fn pair(key: Vec<u8>, seen: Seen, key_only: bool) -> Option<KvPair> {
    match seen {
        Ok(value) => value.map(|value| KvPair {
            key,
            value: if key_only { Vec::new() } else { value },
            error: None,
        }),
        Err(locked) => Some(KvPair {
            error: Some(locked_error(&locked.0, &locked.1)),
            key,
            value: Vec::new(),
        }),
    }
}

fn locked_error(key: &[u8], lock: &Lock) -> KeyError {
    KeyError {
        locked: Some(info(key, lock)),
        ..KeyError::default()
    }
}

fn not_found(start: u64, key: &[u8]) -> KeyError {
    let txn_not_found = Some(TxnNotFound {
        start_ts: start,
        primary_key: key.to_vec(),
    });
    KeyError {
        txn_not_found,
        ..KeyError::default()
    }
}

// Timestamps are milliseconds in their upper 46 bits.
fn expired(lock: &Lock, now: u64) -> bool {
    (lock.start >> 18) + lock.ttl <= now >> 18
}
