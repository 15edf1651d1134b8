//! After a crash: what was meant and is durable is completed, what was begun and is not is removed.
//!
//! The rule (facts, encryption at rest §6.5): an entry names its content by the IV, and the temporary file carries that
//! IV in its name. Where the temporary file of an entry exists, the content was durable before the entry was: it is
//! renamed into place. Every other temporary file belongs to a try that left no trace: it goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::class::TEMPORARY;
use super::dictionaries::State;
use super::error::StoreError;
use super::inventory::Root;
use super::rewrite::temporary;
use crate::fs::{self, Fs, Kind};

/// Completes renames and removes what is left of unfinished tries. Doing it again changes nothing.
pub fn settle(fs: &dyn Fs, roots: &[Root], state: &State) -> Result<(), StoreError> {
    let mut touched = BTreeSet::new();
    if let State::Has(dictionaries) = state {
        for (name, entry) in dictionaries
            .files
            .entries
            .iter()
            .filter(|(_, entry)| entry.iv.len() == 16)
        {
            let Some(path) = local(roots, name) else {
                continue;
            };
            let from = temporary(&path, entry);
            let Some(made) = fs
                .stat(&from)
                .map_err(StoreError::io("looking at", &from))?
            else {
                continue;
            };
            let target = fs
                .stat(&path)
                .map_err(StoreError::io("looking at", &path))?;
            if target.is_some_and(|target| target.inode == made.inode) {
                // A rename between two names of one file does nothing.
                fs.unlink(&from)
                    .map_err(StoreError::io("removing", &from))?;
            } else {
                fs.rename(&from, &path)
                    .map_err(StoreError::io("renaming", &from))?;
            }
            touched.insert(fs::parent(&path).to_owned());
        }
    }
    // The renames must be durable before anything else of the run is removed.
    sync(fs, &mut touched)?;
    for root in roots {
        remove_temporaries(fs, &root.path, &mut touched)?;
    }
    sync(fs, &mut touched)
}

fn sync(fs: &dyn Fs, dirs: &mut BTreeSet<PathBuf>) -> Result<(), StoreError> {
    while let Some(dir) = dirs.pop_first() {
        fs.sync_dir(&dir).map_err(StoreError::io("syncing", &dir))?;
    }
    Ok(())
}

fn remove_temporaries(
    fs: &dyn Fs,
    dir: &Path,
    touched: &mut BTreeSet<PathBuf>,
) -> Result<(), StoreError> {
    for name in fs.list(dir).map_err(StoreError::io("listing", dir))? {
        let path = dir.join(&name);
        let meta = fs
            .stat(&path)
            .map_err(StoreError::io("looking at", &path))?;
        match meta.map(|meta| meta.kind) {
            Some(Kind::Dir) if name != "lost+found" => remove_temporaries(fs, &path, touched)?,
            Some(Kind::File) if name.contains(TEMPORARY) => {
                fs.unlink(&path)
                    .map_err(StoreError::io("removing", &path))?;
                touched.insert(dir.to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a file of the dictionary is here.
fn local(roots: &[Root], name: &str) -> Option<PathBuf> {
    roots.iter().find_map(|root| {
        let below = name.strip_prefix(&root.seen_as)?.strip_prefix('/')?;
        // A path that leaves the root is none that TiKV writes.
        (!below.split('/').any(|part| part == ".." || part.is_empty()))
            .then(|| root.path.join(below))
    })
}
