//! What a run needs: room on each volume, and about how much time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::output::{human, span};
use crate::agent::dictionaries::{self, State};
use crate::agent::error::StoreError;
use crate::agent::plan::{Group, Work};
use crate::agent::store::Store;
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::crypto::{CtrStream, Transform, rng};
use crate::format::pb::KeyDictionary;
use crate::fs::os::OsFs;
use crate::fs::{File, Fs};

/// The measurement of the rate reads at most this much, for at most this long.
const SAMPLE: u64 = 256 << 20;
const LONGEST: Duration = Duration::from_millis(1500);
const BLOCK: usize = 1 << 20;

/// What a run needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Room, one line a volume.
    pub space: Vec<Space>,
    /// Bytes a second at which this machine reads and transforms these files; none when there is too little to measure.
    pub bytes_per_second: Option<u64>,
    /// About how long it takes: every byte is read, written and, with full verification, read again.
    pub seconds: Option<u64>,
}

/// Room on one volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Space {
    /// A directory on it.
    pub dir: PathBuf,
    /// Bytes that must be free: files are rewritten beside the old ones.
    pub needed: u64,
    /// Bytes that are free.
    pub free: u64,
}

impl Estimate {
    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for space in &self.space {
            text.push_str(&format!(
                "room:       {} needed, {} free in {}\n",
                human(space.needed),
                human(space.free),
                space.dir.display()
            ));
        }
        if let (Some(rate), Some(seconds)) = (self.bytes_per_second, self.seconds) {
            text.push_str(&format!(
                "time:       about {} (files are read and transformed at {}/s here)\n",
                span(seconds.max(1)),
                human(rate)
            ));
        }
        text
    }
}

/// Looks at the volumes and tries how fast some of the files are read and transformed. Writes nothing.
pub fn of(
    store: &Store<'_>,
    state: &State,
    work: &Work,
    method: Method,
    verification: Verification,
) -> Result<Estimate, StoreError> {
    let space = store.room(work)?;
    let rate = rate(state, work, method)?;
    // Writing is taken to be as fast as reading: close enough to decide whether to wait.
    let passes = if verification == Verification::Full {
        3
    } else {
        2
    };
    Ok(Estimate {
        space: space
            .into_iter()
            .map(|room| Space {
                dir: room.dir,
                needed: room.needed,
                free: room.free,
            })
            .collect(),
        bytes_per_second: rate,
        seconds: rate.map(|rate| work.bytes().saturating_mul(passes) / rate),
    })
}

fn rate(state: &State, work: &Work, method: Method) -> Result<Option<u64>, StoreError> {
    let no_keys = KeyDictionary::default();
    let keys = match state {
        State::Never => &no_keys,
        State::Has(dictionaries) => &dictionaries.keys,
    };
    let begun = Instant::now();
    let mut buffer = vec![0; BLOCK];
    let mut done = 0;
    // The largest are last in the plan, and tell most.
    for group in work.groups.iter().rev() {
        let Some((file, transform)) = opened(group, keys, method)? else {
            continue;
        };
        // What is in the page cache would flatter.
        file.drop_cache();
        let mut offset = 0;
        loop {
            if done >= SAMPLE || begun.elapsed() >= LONGEST {
                return Ok(per_second(done, begun.elapsed()));
            }
            let path = || {
                group
                    .names
                    .first()
                    .map(|name| name.path())
                    .unwrap_or_default()
            };
            let read = file
                .read_at(offset, &mut buffer)
                .map_err(|error| StoreError::io("reading", path())(error))?;
            if read == 0 {
                break;
            }
            transform.apply(offset, &mut buffer[..read]);
            offset += read as u64;
            done += read as u64;
        }
    }
    Ok(per_second(done, begun.elapsed()))
}

/// A file, and what it goes through.
type Opened = (Box<dyn File>, Transform);

/// The file and a transform like the one of the run, under a key that is thrown away.
fn opened(
    group: &Group,
    keys: &KeyDictionary,
    method: Method,
) -> Result<Option<Opened>, StoreError> {
    let Some(first) = group.names.first() else {
        return Ok(None);
    };
    let Ok(old) = dictionaries::stream(keys, group.entry()) else {
        return Ok(None);
    };
    let new = if method.encrypts() {
        CtrStream::new(method, &rng::key(method)?, rng::iv()?)
            .ok()
            .flatten()
    } else {
        None
    };
    let path = first.path();
    let file = OsFs.open(&path).map_err(StoreError::io("opening", &path))?;
    Ok(Some((file, Transform::new(old, new))))
}

fn per_second(bytes: u64, elapsed: Duration) -> Option<u64> {
    let millis = u64::try_from(elapsed.as_millis()).ok()?.max(1);
    // Less than that tells nothing.
    (bytes >= 1 << 20).then(|| (bytes.saturating_mul(1000) / millis).max(1))
}
