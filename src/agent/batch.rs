//! How many files are rewritten before the next ones: bounded by space, by rate, and by what a crash may throw away.

use std::collections::BTreeMap;

use super::error::StoreError;
use super::limits::Limits;
use super::plan::Group;
use super::space::MARGIN;
use crate::fs::Fs;

/// How many of `groups` come next; at least one. `entries` is the size of `file.dict`.
pub fn next(
    fs: &dyn Fs,
    groups: &[Group],
    entries: usize,
    limits: &Limits,
) -> Result<usize, StoreError> {
    let most = limits.batch_bytes();
    let mut room: BTreeMap<u64, u64> = BTreeMap::new();
    let mut bytes = 0_u64;
    let mut fitting = 0;
    for group in groups.iter().take(limits.batch_files(entries)) {
        let Some(first) = group.names.first() else {
            fitting += 1;
            continue;
        };
        let room = match room.entry(first.meta.inode.0) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(unknown) => {
                let dir = first.dir();
                let free = fs
                    .free_space(&dir)
                    .map_err(StoreError::io("asking for free space of", &dir))?;
                unknown.insert(free.saturating_sub(MARGIN) / 2)
            }
        };
        bytes = bytes.saturating_add(group.size());
        if bytes > most || group.size() > *room {
            break;
        }
        *room -= group.size();
        fitting += 1;
    }
    Ok(fitting.max(1))
}
