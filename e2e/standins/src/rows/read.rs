//! Reads rows: those of transactions at a version, and raw ones.

use super::codec::{data_key, decode, encode, split_version, versioned};
use super::records::{Kind, Lock, Write};
use crate::Result;
use crate::engine::{Engine, Family};

/// Why a key cannot be read yet: somebody writes it.
pub type Locked = (Vec<u8>, Lock);

/// A value, its absence, or a lock in the way.
pub type Seen = std::result::Result<Option<Vec<u8>>, Box<Locked>>;

/// Looks into an engine.
pub struct View<'a>(pub &'a Engine);

impl View<'_> {
    /// The value of a user's key at a version.
    pub fn get(&self, key: &[u8], version: u64) -> Result<Seen> {
        if let Some(lock) = self.lock(key)?.filter(|lock| blocks(lock, version)) {
            return Ok(Err(Box::new((key.to_vec(), lock))));
        }
        let mut cursor = self.0.iterate(Family::Write);
        let prefix = data_key(&encode(key));
        cursor.seek(&versioned(&prefix, version));
        while let Some((found, record)) = cursor.entry()? {
            if split_version(found)?.0 != prefix.as_slice() {
                break;
            }
            let write = Write::parse(record)?;
            match write.kind {
                Kind::Put => return self.value(&prefix, write).map(|value| Ok(Some(value))),
                Kind::Delete => break,
                _ => cursor.next(),
            }
        }
        Ok(Ok(None))
    }

    /// Rows of a range of encoded keys in their order, at a version.
    pub fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        version: u64,
    ) -> Result<Vec<(Vec<u8>, Seen)>> {
        let mut found = Vec::new();
        let mut locks = self.locks(from, to)?;
        locks.retain(|(_, lock)| blocks(lock, version));
        let mut locks = locks.into_iter().peekable();
        let mut cursor = self.0.iterate(Family::Write);
        cursor.seek(&data_key(from));
        let end = end_key(to);
        while found.len() < limit {
            let next = match cursor.entry()? {
                Some((key, _))
                    if key < end.as_slice() && key.first() == Some(&super::codec::DATA) =>
                {
                    Some(decode(&split_version(key)?.0[1..])?.0)
                }
                _ => None,
            };
            // A lock without a version of its own yet.
            if let Some((key, _)) = locks.peek()
                && next.as_ref().is_none_or(|next| key <= next)
            {
                let (key, lock) = (key.clone(), locks.next().map(|(_, lock)| lock));
                if next.as_ref() == Some(&key) {
                    cursor.seek(&versioned(&data_key(&encode(&key)), 0));
                    skip(&mut cursor, &key)?;
                }
                if let Some(lock) = lock {
                    found.push((key.clone(), Err(Box::new((key, lock)))));
                }
                continue;
            }
            let Some(key) = next else { break };
            if let Ok(Some(value)) = self.get(&key, version)? {
                found.push((key.clone(), Ok(Some(value))));
            }
            cursor.seek(&versioned(&data_key(&encode(&key)), 0));
            skip(&mut cursor, &key)?;
        }
        Ok(found)
    }

    /// The lock on a key.
    pub fn lock(&self, key: &[u8]) -> Result<Option<Lock>> {
        let record = self.0.get(Family::Lock, &data_key(&encode(key)))?;
        record.map(|record| Lock::parse(&record)).transpose()
    }

    /// All locks in a range of encoded keys, with the users' keys.
    pub fn locks(&self, from: &[u8], to: &[u8]) -> Result<Vec<Locked>> {
        let mut found = Vec::new();
        let mut cursor = self.0.iterate(Family::Lock);
        cursor.seek(&data_key(from));
        let end = end_key(to);
        while let Some((key, record)) = cursor.entry()?.filter(|(key, _)| *key < end.as_slice()) {
            found.push((decode(&key[1..])?.0, Lock::parse(record)?));
            cursor.next();
        }
        Ok(found)
    }

    /// The newest record of a key up to a version, with the version of its commit.
    pub fn newest(&self, key: &[u8], version: u64) -> Result<Option<(u64, Write)>> {
        let prefix = data_key(&encode(key));
        let mut cursor = self.0.iterate(Family::Write);
        cursor.seek(&versioned(&prefix, version));
        let Some((found, record)) = cursor.entry()? else {
            return Ok(None);
        };
        let (found, commit) = split_version(found)?;
        if found != prefix.as_slice() {
            Ok(None)
        } else {
            Ok(Some((commit, Write::parse(record)?)))
        }
    }

    /// What became of a transaction's work on a key, if anything.
    pub fn outcome(&self, key: &[u8], start: u64) -> Result<Option<(u64, Write)>> {
        let mut version = u64::MAX;
        while let Some((commit, write)) = self.newest(key, version)? {
            if write.start == start || (commit == start && write.overlapped) {
                return Ok(Some((commit, write)));
            }
            if commit <= start || commit == 0 {
                break;
            }
            version = commit - 1;
        }
        Ok(None)
    }

    /// A raw value.
    pub fn raw_get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(family, &data_key(key))
    }

    /// Raw rows of a range, in their order or backwards from the end.
    pub fn raw_scan(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        limit: usize,
        back: bool,
    ) -> Result<Vec<Row>> {
        let (start, end) = (data_key(from), end_key(to));
        let mut cursor = self.0.iterate(family);
        if back {
            cursor.seek_back(&end);
            if cursor
                .entry()?
                .is_some_and(|(key, _)| key == end.as_slice())
            {
                cursor.previous();
            }
        } else {
            cursor.seek(&start);
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((key, value)) = cursor.entry()? else {
                break;
            };
            if key < start.as_slice() || key >= end.as_slice() {
                break;
            }
            found.push((key[1..].to_vec(), value.to_vec()));
            if back {
                cursor.previous()
            } else {
                cursor.next()
            }
        }
        Ok(found)
    }

    fn value(&self, prefix: &[u8], write: Write) -> Result<Vec<u8>> {
        match write.short {
            Some(value) => Ok(value),
            None => {
                let value = self
                    .0
                    .get(Family::Default, &versioned(prefix, write.start))?;
                value.ok_or_else(|| "default not found: a row's value is missing".to_owned())
            }
        }
    }
}

/// Key and value.
pub type Row = (Vec<u8>, Vec<u8>);

// Readers wait for those who started before them and write.
fn blocks(lock: &Lock, version: u64) -> bool {
    matches!(lock.kind, Kind::Put | Kind::Delete)
        && lock.start <= version
        && lock.min_commit <= version
}

fn skip(cursor: &mut crate::engine::Cursor<'_>, key: &[u8]) -> Result<()> {
    let prefix = data_key(&encode(key));
    while cursor
        .entry()?
        .is_some_and(|(found, _)| found.starts_with(&prefix))
    {
        cursor.next();
    }
    Ok(())
}

/// The end of a range in RocksDB; an empty one is the end of all data.
fn end_key(to: &[u8]) -> Vec<u8> {
    if to.is_empty() {
        vec![super::codec::DATA + 1]
    } else {
        data_key(to)
    }
}
