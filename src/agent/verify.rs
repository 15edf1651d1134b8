//! A full verification of a store that runs: every byte of every file is read, a little at a time, and each file is
//! proven by its structure. Read-only.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::coverage::{counts, state_of};
use super::inventory::StoreFile;
use super::store::Measured;
use crate::api::report::{Finding, Severity, VerificationLevel, VerificationReport};
use crate::fs::buffer::Buffer;
use crate::fs::{File, Fs};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Findings that a report keeps.
const KEPT: usize = 20;

/// A verification that lasts.
///
/// Flow: the files that are there at the beginning → read to the length that they had then → all looked at once more.
/// Guarantees: changes nothing; reads around the page cache, so that TiKV's stays as it is; never more than the budget of a
/// step, and one block.
/// Assumptions: TiKV writes a table once, appends to logs, and removes files at any time: what is gone is counted as gone.
pub struct Run {
    started_at: Timestamp,
    waiting: VecDeque<Arc<StoreFile>>,
    current: Option<Open>,
    buffer: Buffer,
    files: u64,
    bytes: u64,
    gone: u64,
    unreadable: Vec<Finding>,
}

struct Open {
    file: Box<dyn File>,
    of: Arc<StoreFile>,
    offset: u64,
}

impl Run {
    /// Begins with the files of a measurement.
    pub fn begin(measured: &Measured, now: Timestamp) -> Self {
        let files = measured.inventory.files.iter();
        Self {
            started_at: now,
            waiting: files.filter(|file| counts(file)).cloned().collect(),
            current: None,
            buffer: Buffer::new(BLOCK),
            files: 0,
            bytes: 0,
            gone: 0,
            unreadable: Vec::new(),
        }
    }

    /// Reads on, about `budget` bytes. True when every file was read.
    pub fn go_on(&mut self, fs: &dyn Fs, budget: u64) -> bool {
        let mut left = budget;
        loop {
            let Some(mut open) = self.current.take().or_else(|| self.next(fs)) else {
                return true;
            };
            if left == 0 {
                self.current = Some(open);
                return false;
            }
            let size = open.of.meta.size;
            let wanted = usize::try_from(size - open.offset).map_or(BLOCK, |rest| rest.min(BLOCK));
            if wanted == 0 {
                self.files += 1;
                continue;
            }
            // Whole blocks, because that is what direct reads take; more than was there at the beginning does not count.
            match open.file.read_at(open.offset, self.buffer.bytes()) {
                Ok(read) => {
                    let read = read.min(wanted) as u64;
                    self.bytes += read;
                    left = left.saturating_sub(read.max(1));
                    open.offset += read;
                    if read == 0 {
                        self.shorter(&open);
                    } else {
                        self.current = Some(open);
                    }
                }
                Err(error) => self.broken(&open.of, &error),
            }
        }
    }

    /// The result, with what the files look like now.
    pub fn end(mut self, measured: &Measured, now: Timestamp) -> VerificationReport {
        let wrong: Vec<&StoreFile> = measured
            .inventory
            .iter()
            .filter(|file| counts(file))
            .filter(|file| matches!(state_of(file), "key-missing" | "mismatch"))
            .collect();
        let failed = (self.unreadable.len() + wrong.len()) as u64;
        let mut findings = std::mem::take(&mut self.unreadable);
        findings.extend(measured.findings.iter().cloned());
        findings.retain(|finding| finding.severity != Severity::Info);
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(KEPT);
        VerificationReport {
            started_at: self.started_at,
            finished_at: Some(now),
            files: self.files.saturating_sub(wrong.len() as u64),
            bytes: self.bytes,
            failed,
            gone: self.gone,
            level: VerificationLevel::Structure,
            findings,
        }
    }

    fn next(&mut self, fs: &dyn Fs) -> Option<Open> {
        while let Some(of) = self.waiting.pop_front() {
            match fs.open_direct(&path(&of)) {
                Ok(file) => {
                    return Some(Open {
                        file,
                        of,
                        offset: 0,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.gone += 1,
                Err(error) => self.broken(&of, &error),
            }
        }
        None
    }

    /// A file that ends before the length that it had: TiKV cuts only logs that it gives up.
    fn shorter(&mut self, open: &Open) {
        self.files += 1;
        tracing::debug!(file = open.of.relative(), "shorter than when it was listed");
    }

    fn broken(&mut self, file: &StoreFile, error: &io::Error) {
        self.unreadable.push(Finding {
            code: "FileUnreadable".to_owned(),
            severity: Severity::Error,
            message: format!("{}: reading failed: {error}", file.relative()),
            remedy: "look at the device (dmesg, smartctl) before this store restarts; replace the store by scaling it in and out".to_owned(),
            path: Some(file.relative()),
        });
    }
}

fn path(file: &StoreFile) -> PathBuf {
    let content = file.pending.then(|| file.content()).flatten();
    content.unwrap_or_else(|| file.path())
}
