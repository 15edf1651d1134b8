//! How fast a run may go, and how much it does at once.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::observer::Observer;

/// Bounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files that are worked on at the same time. With one, nothing is spawned and every call comes in a fixed order.
    pub threads: usize,
    /// Bytes of content a second. Each is read once and written once, and read once more to prove it.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Reads and writes of content a second, of at most 1 MiB each.
    pub requests_per_second: Option<NonZeroU64>,
    /// After this moment no further batch begins: the run is put down so that TiKV can start, and the next one goes on.
    pub until: Option<Instant>,
    /// What a batch holds.
    pub batch: Batch,
}

/// Files of a batch share the flushes and one write of `file.dict`. At least one file is in it, whatever these say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Files; in a very large store an eighth of all, so that all writes of `file.dict` together stay linear in its size.
    pub files: usize,
    /// Bytes, as far as half of the free space allows.
    pub bytes: u64,
    /// From this many files on, one flush of the file system stands for a flush of each file.
    pub flush_together: usize,
}

/// What a batch of a run with limited rates takes at most: so soon it sees that its time is over.
const SECONDS: u64 = 10;

impl Default for Limits {
    /// One thread, as fast as it goes.
    fn default() -> Self {
        Self {
            threads: 1,
            bytes_per_second: None,
            requests_per_second: None,
            until: None,
            batch: Batch {
                files: 16_384,
                bytes: 512 << 20,
                flush_together: 16,
            },
        }
    }
}

impl Limits {
    /// What a machine gives: as many files at once as it has processors, at least two so that disk and processor are
    /// both kept busy, at most eight so that the buffers stay small.
    pub fn of_this_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: processors.clamp(2, 8),
            ..Self::default()
        }
    }

    /// True when the time is over.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Files of a batch, where `file.dict` has this many entries.
    pub fn batch_files(&self, entries: usize) -> usize {
        /// Of a very large store an eighth is a batch.
        const PARTS: usize = 8;
        /// A small file is read, written and read once more.
        const REQUESTS: u64 = 3;
        /// A run whose time ends asks often enough whether it has.
        const TIMED: usize = 1024;
        let files = if self.until.is_some() {
            self.batch.files.min(TIMED)
        } else {
            self.batch.files
        };
        let most = files.max(entries / PARTS);
        self.requests_per_second.map_or(most, |rate| {
            let files = rate.get().saturating_mul(SECONDS) / REQUESTS;
            most.min(usize::try_from(files).unwrap_or(most)).max(1)
        })
    }

    /// Bytes of a batch.
    pub fn batch_bytes(&self) -> u64 {
        self.bytes_per_second.map_or(self.batch.bytes, |rate| {
            self.batch.bytes.min(rate.get().saturating_mul(SECONDS))
        })
    }
}

/// Holds a run to its rates, and lets it be stopped. Shared by its threads. The time that the process is suspended
/// (SIGSTOP, Ctrl-Z) is never made up for.
pub struct Pace<'a> {
    observer: &'a dyn Observer,
    begun: Instant,
    bytes: Option<Rate>,
    requests: Option<Rate>,
}

impl<'a> Pace<'a> {
    /// From now on.
    pub fn new(limits: &Limits, observer: &'a dyn Observer) -> Self {
        Self {
            observer,
            begun: Instant::now(),
            bytes: limits.bytes_per_second.map(Rate::new),
            requests: limits.requests_per_second.map(Rate::new),
        }
    }

    /// To be called before content is rewritten: waits until `bytes` more may be.
    pub fn content(&self, bytes: u64) -> Result<(), StoreError> {
        if self.observer.stop() {
            // As a crash here: what is half written is thrown away by the next run.
            return Err(StoreError::Interrupted);
        }
        self.wait(self.bytes.as_ref(), bytes);
        Ok(())
    }

    /// To be called before each read and write of content.
    pub fn request(&self) {
        self.wait(self.requests.as_ref(), 1);
    }

    fn wait(&self, rate: Option<&Rate>, amount: u64) {
        if let Some(rate) = rate {
            let wait = rate.take(self.begun.elapsed(), amount);
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
    }
}

/// So much a second, evenly: each taker is given the moment when those before it are through.
struct Rate {
    per_second: NonZeroU64,
    free_at: Mutex<Duration>,
}

impl Rate {
    fn new(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            free_at: Mutex::new(Duration::ZERO),
        }
    }

    /// How long to wait at `now` before `amount` may be used.
    fn take(&self, now: Duration, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.get());
        let costs = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = now.max(*free_at);
        *free_at = begins.saturating_add(costs);
        begins.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::{Limits, Rate};

    #[test]
    fn a_rate_is_kept_over_any_time_and_never_saved_up() {
        let rate = Rate::new(NonZeroU64::new(1000).unwrap());
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += rate.take(now, 50);
        }
        // 5000 were taken; the last 50 are being used from now on.
        assert_eq!(now, Duration::from_millis(4950));
        now += Duration::from_hours(1);
        assert_eq!(rate.take(now, 1000), Duration::ZERO);
        assert_eq!(rate.take(now, 1000), Duration::from_secs(1));
    }

    #[test]
    fn a_slow_run_has_small_batches() {
        let mut limits = Limits::default();
        assert_eq!(limits.batch_bytes(), limits.batch.bytes);
        limits.bytes_per_second = NonZeroU64::new(1 << 20);
        assert_eq!(limits.batch_bytes(), 10 << 20);
        assert_eq!(limits.batch_files(10), limits.batch.files);
        assert_eq!(limits.batch_files(8_000_000), 1_000_000);
        limits.requests_per_second = NonZeroU64::new(30);
        assert_eq!(limits.batch_files(10), 100);
    }
}
