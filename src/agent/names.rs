//! How TiKV spells the paths of a store: an entry counts for the exact string with which TiKV opens a file
//! (facts, encryption at rest §3.3). Nothing is normalised on the way to an entry; what looks like another spelling of a
//! known file is an obstacle, because a file that is transformed without its entry is destroyed.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Refusal, StoreError};
use super::inventory::StoreFile;
use crate::format::pb::FileInfo;
use crate::fs::{Fs, Kind};

/// A directory that belongs to the store: where it is here, and how TiKV spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Path here.
    pub path: PathBuf,
    /// Path as TiKV sees it, without a slash at the end.
    pub seen_as: String,
    /// Put before names below this root when they are classified and shown; empty for the data directory.
    pub prefix: String,
}

impl Root {
    /// The part of `name` below this root.
    pub fn below<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.seen_as)?.strip_prefix('/')
    }

    /// How TiKV spells the path `below` this root.
    pub fn name(&self, below: &str) -> String {
        format!("{}/{below}", self.seen_as)
    }
}

/// Directories that TiKV itself makes in its data directory and whose files have entries.
const MADE: [&str; 8] = [
    "/db/",
    "/raft-engine/",
    "/raft/",
    "/snap/",
    "/snap_v2/",
    "/import/",
    "/tablets/",
    "/tablet_snap/",
];
/// Entries that are looked up when the spelling is detected.
const ASKED: usize = 200;

/// The data directory that an entry's path lies in, by the names of the directories that TiKV makes.
pub fn common_dir(name: &str) -> String {
    MADE.iter()
        .filter_map(|dir| name.rfind(dir))
        .max()
        .map_or_else(|| name.to_owned(), |at| name[..at].to_owned())
}

/// How TiKV spells `dir`, by the entries: the spelling under which most of them are found here. `None` when there is no
/// entry that tells it.
pub fn spelling(
    fs: &dyn Fs,
    dir: &Path,
    entries: &BTreeMap<String, FileInfo>,
) -> Result<Option<String>, StoreError> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    let step = (entries.len() / ASKED).max(1);
    for name in entries.keys().step_by(step) {
        for at in MADE.iter().flat_map(|made| name.match_indices(made)) {
            let (spelled, below) = (&name[..at.0], &name[at.0 + 1..]);
            let path = dir.join(below);
            let found = fs
                .stat(&path)
                .map_err(StoreError::io("looking at", &path))?;
            if found.is_some_and(|meta| meta.kind == Kind::File) {
                *votes.entry(spelled).or_default() += 1;
            }
        }
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
    // Without a single file that fits, the first entry still tells what TiKV would say.
    let any = || entries.keys().next().map(|name| common_dir(name));
    Ok(most.map(|(spelled, _)| spelled.to_owned()).or_else(any))
}

/// Refuses when entries exist and none of them is below a root: then the path that TiKV uses is another one.
pub fn demand_spelling(
    roots: &[Root],
    entries: &BTreeMap<String, FileInfo>,
) -> Result<(), StoreError> {
    let below = |name: &String| roots.iter().any(|root| root.below(name).is_some());
    match entries.keys().next() {
        Some(first) if !entries.keys().any(below) => {
            let seen_as = roots.first().map(|root| root.seen_as.clone());
            Err(StoreError::Refused(Refusal::WrongPrefix {
                seen_as: seen_as.unwrap_or_default(),
                found: common_dir(first),
            }))
        }
        _ => Ok(()),
    }
}

/// Entries without a file that are not simply stale: outside of every known directory, behind a symbolic link, or another
/// spelling of a file that is there. To drop one of them could lose a file for ever.
pub fn obstacles(
    roots: &[Root],
    stale: &BTreeSet<String>,
    files: &[Arc<StoreFile>],
    links: &[String],
) -> Vec<Refusal> {
    let mut found: Vec<Refusal> = links
        .iter()
        .map(|path| Refusal::SymbolicLink { path: path.clone() })
        .collect();
    let mut outside: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    // Hardly ever asked.
    let known: LazyCell<BTreeSet<String>, _> =
        LazyCell::new(|| files.iter().map(|file| file.name()).collect());
    for name in stale {
        let plain = normalised(name);
        if plain != *name && known.contains(&plain) {
            found.push(Refusal::Alias {
                entry: name.clone(),
                path: plain,
            });
        } else if !roots.iter().any(|root| root.below(name).is_some()) {
            let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
            outside.entry(dir).or_insert((0, name)).0 += 1;
        }
    }
    found.extend(
        outside
            .into_iter()
            .map(|(dir, (entries, example))| Refusal::Elsewhere {
                dir: dir.to_owned(),
                entries,
                example: example.to_owned(),
            }),
    );
    found
}

/// Without double slashes and without `.` between two slashes.
fn normalised(name: &str) -> String {
    let parts = name.split('/').enumerate();
    let kept = parts.filter(|(at, part)| *at == 0 || !matches!(*part, "" | "."));
    kept.map(|(_, part)| part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::{common_dir, normalised};

    #[test]
    fn a_directory_of_tikv_in_the_path_of_the_data_directory_does_not_confuse() {
        assert_eq!(common_dir("/data/db/tikv/db/000010.sst"), "/data/db/tikv");
        assert_eq!(common_dir("./db/000010.sst"), ".");
        assert_eq!(
            common_dir("/var/lib/tikv/db/titandb/000003.blob"),
            "/var/lib/tikv"
        );
    }

    #[test]
    fn spellings_of_one_path() {
        assert_eq!(normalised("/d//db/./000010.sst"), "/d/db/000010.sst");
        assert_eq!(normalised("./db/000010.sst"), "./db/000010.sst");
    }
}
