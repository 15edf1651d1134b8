//! Flushes: of directories, and of whole file systems when many files were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::plan::Group;
use crate::fs::{Barrier, Fs, Kind};

/// A barrier and a directory of its file system.
pub type On = (PathBuf, Box<dyn Barrier>);

/// A barrier for each file system that has a file of `groups`; `None` where one of them can not give one.
pub fn barriers<'a>(
    fs: &dyn Fs,
    groups: impl Iterator<Item = &'a Group>,
) -> Result<Option<Vec<On>>, StoreError> {
    let mut dirs = BTreeMap::new();
    for first in groups.filter_map(|group| group.names.first()) {
        dirs.entry(first.meta.inode.0)
            .or_insert_with(|| first.dir());
    }
    let mut barriers = Vec::new();
    for dir in dirs.into_values() {
        match fs.barrier(&dir).map_err(StoreError::io("opening", &dir))? {
            Some(barrier) => barriers.push((dir, barrier)),
            None => return Ok(None),
        }
    }
    Ok(Some(barriers))
}

/// Makes everything durable that was written since.
pub fn all(barriers: Vec<On>) -> Result<(), StoreError> {
    for (dir, barrier) in barriers {
        barrier
            .sync()
            .map_err(StoreError::io("flushing the file system of", dir))?;
    }
    Ok(())
}

/// Makes the names in `dirs` durable.
pub fn names(fs: &dyn Fs, dirs: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
    dirs.iter()
        .try_for_each(|dir| fs.sync_dir(dir).map_err(StoreError::io("syncing", dir)))
}

/// Makes the names in a directory and in all below it durable.
pub fn tree(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    for name in fs.list(dir).map_err(StoreError::io("listing", dir))? {
        let path = dir.join(&name);
        let meta = fs
            .stat(&path)
            .map_err(StoreError::io("looking at", &path))?;
        // The file system's own directory: nobody else may look into it.
        if meta.is_some_and(|meta| meta.kind == Kind::Dir) && name != "lost+found" {
            tree(fs, &path)?;
        }
    }
    fs.sync_dir(dir).map_err(StoreError::io("syncing", dir))
}
