//! A place for the data of a measurement, and the clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::fs::os::OsFs;
use crate::fs::{self as door, Barrier, Fs};

/// What must stay free whatever is measured.
const MARGIN: u64 = 2 << 30;

/// A directory that goes when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below `dir` when `bytes` fit there.
    pub fn below(dir: &Path, bytes: u64) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("{}: {error}", dir.display());
        let free = OsFs.free_space(dir).map_err(told)?;
        let needed = bytes.saturating_add(MARGIN);
        if free < needed {
            return Err(format!(
                "{}: {free} bytes are free, {needed} are needed; choose another --dir or a smaller size",
                dir.display()
            ));
        }
        let dir = fs::canonicalize(dir).map_err(told)?;
        let path = dir.join(format!("tikv-security-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(told)?;
        Ok(Self(path))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("note: {} could not be removed: {error}", self.0.display());
        }
    }
}

/// What a contestant took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// Time that passed.
    pub wall: Duration,
    /// Time on processors, in user and kernel mode, of this process and of those it waited for.
    pub cpu: Duration,
}

/// Measures `work`.
pub fn measure(work: impl FnOnce() -> Result<(), String>) -> Result<Took, String> {
    let (begun, cpu) = (Instant::now(), cpu()?);
    work()?;
    let wall = begun.elapsed();
    Ok(Took {
        wall,
        cpu: self::cpu()?.saturating_sub(cpu),
    })
}

/// Time on processors so far: of this process, and of those it waited for in steps of 10 ms.
fn cpu() -> Result<Duration, String> {
    let unreadable = || "/proc/self/stat can not be read".to_owned();
    let stat = fs::read_to_string("/proc/self/stat").map_err(|_| unreadable())?;
    // The name of the program comes before and may hold anything but this.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(unreadable)?;
    let ticks: u64 = fields
        .split(' ')
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(own_cpu() + Duration::from_millis(ticks * 1000 / per_second))
}

/// Time on processors of this process so far.
pub fn own_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Makes everything below `dir` durable.
pub fn flush(dir: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", dir.display());
    match OsFs.barrier(dir).map_err(told)? {
        Some(barrier) => Barrier::sync(barrier.as_ref()).map_err(told),
        None => Ok(()),
    }
}

/// Puts every contestant before the same disk: nothing to be written, nothing of `dir` cached.
pub fn settle(dir: &Path) -> Result<(), String> {
    flush(dir)?;
    for file in files(dir)? {
        if let Ok(file) = OsFs.open(&file) {
            door::File::drop_cache(file.as_ref());
        }
    }
    Ok(())
}

/// All files below `dir`, sorted.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(told)? {
        let entry = entry.map_err(told)?;
        if entry.file_type().map_err(told)?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
