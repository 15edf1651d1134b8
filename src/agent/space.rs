//! Room for a run: files are rewritten beside the old ones, on the volume where they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::StoreError;
use super::names::Root;
use super::plan::Work;
use crate::fs::Fs;

/// What stays free on each volume, for dictionaries and for TiKV's own start.
pub const MARGIN: u64 = 16 << 20;

/// Room on one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// A directory on it.
    pub dir: PathBuf,
    /// Bytes that must be free.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// What `work` needs at least on each volume: its largest file there, and the margin.
pub fn rooms(fs: &dyn Fs, roots: &[Root], work: &Work) -> Result<Vec<Room>, StoreError> {
    let mut volumes: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    if let Some(root) = roots.first() {
        let meta = fs
            .stat(&root.path)
            .map_err(StoreError::io("looking at", &root.path))?;
        volumes.insert(meta.map_or(0, |meta| meta.inode.0), (root.path.clone(), 0));
    }
    for group in &work.groups {
        let Some(first) = group.names.first() else {
            continue;
        };
        let volume = volumes
            .entry(first.meta.inode.0)
            .or_insert_with(|| (first.dir(), 0));
        volume.1 = volume.1.max(group.size());
    }
    let room = |(dir, largest): (PathBuf, u64)| {
        let free = fs
            .free_space(&dir)
            .map_err(StoreError::io("asking for free space of", &dir))?;
        Ok(Room {
            dir,
            needed: largest + MARGIN,
            free,
        })
    };
    volumes.into_values().map(room).collect()
}

/// Refuses when a volume has too little room.
pub fn demand(fs: &dyn Fs, roots: &[Root], work: &Work) -> Result<(), StoreError> {
    match rooms(fs, roots, work)?
        .into_iter()
        .find(|room| room.free < room.needed)
    {
        None => Ok(()),
        Some(Room { dir, needed, free }) => Err(StoreError::NoSpace { dir, free, needed }),
    }
}
