//! How far a run is: a bar on a terminal, JSON lines on standard error elsewhere. Standard output is for the result.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::signals;
use crate::agent::observer::Observer;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(2);

/// Sees a run; stops it at a signal.
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    files_total: AtomicU64,
    files_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    last_line: Mutex<Instant>,
}

/// One line for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    event: &'static str,
    files_done: u64,
    files_total: u64,
    bytes_done: u64,
    bytes_total: u64,
    bytes_per_second: u64,
    seconds_left: Option<u64>,
}

impl Progress {
    /// Begins to count.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style =
                "{bar:32} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        let begun = Instant::now();
        Self {
            bar,
            begun,
            files_total: AtomicU64::new(0),
            files_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            last_line: Mutex::new(begun),
        }
    }

    /// The bar, for words above it.
    pub fn bar(&self) -> Option<ProgressBar> {
        self.bar.clone()
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Files that are done, and of how many.
    pub fn files(&self) -> (u64, u64) {
        (get(&self.files_done), get(&self.files_total))
    }

    /// Bytes that are done, and of how many.
    pub fn bytes_done(&self) -> (u64, u64) {
        (get(&self.bytes_done), get(&self.bytes_total))
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn line(&self, event: &'static str) {
        if self.bar.is_some() {
            return;
        }
        let (bytes_done, bytes_total) = self.bytes_done();
        let millis = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rate = bytes_done.saturating_mul(1000) / millis.max(1);
        let line = Line {
            event,
            files_done: get(&self.files_done),
            files_total: get(&self.files_total),
            bytes_done,
            bytes_total,
            bytes_per_second: rate,
            seconds_left: bytes_total.saturating_sub(bytes_done).checked_div(rate),
        };
        if let Ok(text) = serde_json::to_string(&line) {
            eprintln!("{text}");
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Observer for Progress {
    fn begin(&self, files: u64, bytes: u64) {
        self.files_total.fetch_add(files, Ordering::Relaxed);
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(get(&self.bytes_total));
        }
        self.line("begin");
    }

    fn bytes(&self, count: u64) {
        self.bytes_done.fetch_add(count, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(count);
            return;
        }
        let mut last = self
            .last_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= EVERY {
            *last = Instant::now();
            self.line("progress");
        }
    }

    fn file(&self, path: &str) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_message(path.to_owned());
        }
    }

    fn finishing(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("removing old keys");
        }
        self.line("finishing");
    }

    fn stop(&self) -> bool {
        signals::came().is_some()
    }
}
