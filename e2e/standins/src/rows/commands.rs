//! What transactions do to keys. Each command looks at the rows and answers what is to be written; the caller keeps
//! others from writing meanwhile.

use super::codec::{data_key, encode, versioned};
use super::read::View;
use super::records::{Kind, Lock, SHORT, Write};
use crate::Result;
use crate::engine::{Family, Operation};
use crate::wire::kv::{CommitTsExpired, KeyError, LockInfo, Mutation, TxnNotFound, WriteConflict};

/// What a command writes, or why it does not.
pub type Plan = std::result::Result<Vec<Operation>, Box<KeyError>>;

/// What is known of the transaction that writes.
pub struct Transaction<'a> {
    pub primary: &'a [u8],
    pub start: u64,
    pub ttl: u64,
    pub size: u64,
    /// Not 0 in a pessimistic transaction.
    pub for_update: u64,
    pub min_commit: u64,
}

const OP_PUT: i32 = 0;
const OP_DELETE: i32 = 1;
const OP_INSERT: i32 = 4;
const OP_CHECK_NOT_EXISTS: i32 = 6;

/// First phase for one key.
pub fn prewrite(
    view: &View<'_>,
    transaction: &Transaction<'_>,
    mutation: &Mutation,
    locked: bool,
) -> Result<Plan> {
    let key = &mutation.key;
    if let Some(lock) = view.lock(key)? {
        if lock.start != transaction.start {
            return Ok(Err(Box::new(KeyError {
                locked: Some(info(key, &lock)),
                ..KeyError::default()
            })));
        }
        if lock.kind != Kind::Pessimistic {
            return Ok(Ok(Vec::new()));
        }
    } else if locked {
        return Ok(Err(Box::new(KeyError {
            abort: "PessimisticLockNotFound".into(),
            ..KeyError::default()
        })));
    }
    if !locked && let Some(error) = conflict(view, transaction, key)? {
        return Ok(Err(Box::new(error)));
    }
    if matches!(mutation.op, OP_INSERT | OP_CHECK_NOT_EXISTS) && newest_value_exists(view, key)? {
        let already_exist = Some(crate::wire::kv::AlreadyExist { key: key.clone() });
        return Ok(Err(Box::new(KeyError {
            already_exist,
            ..KeyError::default()
        })));
    }
    let (kind, value) = match mutation.op {
        OP_PUT | OP_INSERT => (Kind::Put, Some(&mutation.value)),
        OP_DELETE => (Kind::Delete, None),
        OP_CHECK_NOT_EXISTS => return Ok(Ok(Vec::new())),
        _ => (Kind::Lock, None),
    };
    let short = value.filter(|value| value.len() <= SHORT).cloned();
    let long = value.filter(|value| value.len() > SHORT);
    let lock = Lock {
        kind,
        primary: transaction.primary.to_vec(),
        start: transaction.start,
        ttl: transaction.ttl,
        short,
        for_update: transaction.for_update,
        size: transaction.size,
        min_commit: transaction.min_commit,
    };
    let encoded = data_key(&encode(key));
    let mut operations = vec![Operation::put(Family::Lock, encoded.clone(), lock.encode())];
    operations.extend(long.map(|value| {
        Operation::put(
            Family::Default,
            versioned(&encoded, transaction.start),
            value.clone(),
        )
    }));
    Ok(Ok(operations))
}

/// A lock before it is known what will be written.
pub fn lock_pessimistic(
    view: &View<'_>,
    transaction: &Transaction<'_>,
    key: &[u8],
) -> Result<Plan> {
    if let Some(lock) = view
        .lock(key)?
        .filter(|lock| lock.start != transaction.start)
    {
        return Ok(Err(Box::new(KeyError {
            locked: Some(info(key, &lock)),
            ..KeyError::default()
        })));
    }
    let asked = Transaction {
        start: transaction.for_update,
        ..*transaction
    };
    if let Some(error) = conflict(view, &asked, key)? {
        return Ok(Err(Box::new(error)));
    }
    let lock = Lock {
        kind: Kind::Pessimistic,
        primary: transaction.primary.to_vec(),
        start: transaction.start,
        ttl: transaction.ttl,
        short: None,
        for_update: transaction.for_update,
        size: 0,
        min_commit: 0,
    };
    Ok(Ok(vec![Operation::put(
        Family::Lock,
        data_key(&encode(key)),
        lock.encode(),
    )]))
}

/// Second phase for one key.
pub fn commit(view: &View<'_>, key: &[u8], start: u64, commit: u64) -> Result<Plan> {
    let Some(lock) = view.lock(key)?.filter(|lock| lock.start == start) else {
        return match view.outcome(key, start)? {
            Some((_, write)) if write.kind != Kind::Rollback => Ok(Ok(Vec::new())),
            _ => {
                let txn_not_found = Some(TxnNotFound {
                    start_ts: start,
                    primary_key: key.to_vec(),
                });
                Ok(Err(Box::new(KeyError {
                    retryable: "TxnLockNotFound".into(),
                    txn_not_found,
                    ..KeyError::default()
                })))
            }
        };
    };
    if commit < lock.min_commit {
        let expired = CommitTsExpired {
            start_ts: start,
            attempted_commit_ts: commit,
            key: key.to_vec(),
            min_commit_ts: lock.min_commit,
        };
        return Ok(Err(Box::new(KeyError {
            commit_ts_expired: Some(expired),
            ..KeyError::default()
        })));
    }
    let encoded = data_key(&encode(key));
    let kind = if lock.kind == Kind::Pessimistic {
        Kind::Lock
    } else {
        lock.kind
    };
    let record = Write {
        kind,
        start,
        short: lock.short,
        overlapped: false,
    };
    Ok(Ok(vec![
        Operation::put(Family::Write, versioned(&encoded, commit), record.encode()),
        Operation::delete(Family::Lock, encoded),
    ]))
}

/// Undoes one key; a committed one is told by the version of its commit.
pub fn rollback(
    view: &View<'_>,
    key: &[u8],
    start: u64,
) -> Result<std::result::Result<Vec<Operation>, u64>> {
    let encoded = data_key(&encode(key));
    let mut operations = Vec::new();
    match view.lock(key)?.filter(|lock| lock.start == start) {
        Some(lock) => {
            if lock.kind == Kind::Put && lock.short.is_none() {
                operations.push(Operation::delete(
                    Family::Default,
                    versioned(&encoded, start),
                ));
            }
            operations.push(Operation::delete(Family::Lock, encoded.clone()));
        }
        None => match view.outcome(key, start)? {
            Some((_, write)) if write.kind == Kind::Rollback || write.start != start => {
                return Ok(Ok(Vec::new()));
            }
            Some((commit, _)) => return Ok(Err(commit)),
            None => {}
        },
    }
    // Another transaction may have committed at just that version: its record tells of both.
    let record = match view.newest(key, start)? {
        Some((commit, write)) if commit == start => Write {
            overlapped: true,
            ..write
        },
        _ => Write {
            kind: Kind::Rollback,
            start,
            short: None,
            overlapped: false,
        },
    };
    operations.push(Operation::put(
        Family::Write,
        versioned(&encoded, start),
        record.encode(),
    ));
    Ok(Ok(operations))
}

/// A lock as clients see it.
pub fn info(key: &[u8], lock: &Lock) -> LockInfo {
    LockInfo {
        primary_lock: lock.primary.clone(),
        lock_version: lock.start,
        key: key.to_vec(),
        lock_ttl: lock.ttl,
        txn_size: lock.size,
        lock_type: match lock.kind {
            Kind::Put => OP_PUT,
            Kind::Delete => OP_DELETE,
            Kind::Lock | Kind::Rollback => 2,
            Kind::Pessimistic => 5,
        },
        lock_for_update_ts: lock.for_update,
        min_commit_ts: lock.min_commit,
    }
}

// Somebody committed after the transaction began, or it was rolled back already.
fn conflict(
    view: &View<'_>,
    transaction: &Transaction<'_>,
    key: &[u8],
) -> Result<Option<KeyError>> {
    let told = |conflict_commit_ts, write: &Write, reason| {
        let conflict = WriteConflict {
            start_ts: transaction.start,
            conflict_ts: write.start,
            key: key.to_vec(),
            primary: transaction.primary.to_vec(),
            conflict_commit_ts,
            reason,
        };
        KeyError {
            conflict: Some(conflict),
            ..KeyError::default()
        }
    };
    if let Some((commit, write)) = view.newest(key, u64::MAX)?
        && (commit > transaction.start && write.kind != Kind::Rollback)
    {
        return Ok(Some(told(commit, &write, 1)));
    }
    match view.outcome(key, transaction.start)? {
        Some((commit, write)) if write.kind == Kind::Rollback || write.overlapped => {
            Ok(Some(told(commit, &write, 3)))
        }
        _ => Ok(None),
    }
}

fn newest_value_exists(view: &View<'_>, key: &[u8]) -> Result<bool> {
    let mut version = u64::MAX;
    while let Some((commit, write)) = view.newest(key, version)? {
        match write.kind {
            Kind::Put => return Ok(true),
            Kind::Delete => return Ok(false),
            _ if commit == 0 => break,
            _ => version = commit - 1,
        }
    }
    Ok(false)
}
