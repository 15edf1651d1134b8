//! Writes the new content of files to temporary files beside them, and proves it. The old content stays untouched.
//!
//! Large files are read and written around the page cache: the device is not slower for it, the processor has half the
//! work, and what TiKV will read stays cached.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::class::{Class, TEMPORARY};
use super::content::{self, Look};
use super::dictionaries::{self, BadEntry};
use super::error::{Refusal, StoreError};
use super::inventory::StoreFile;
use super::limits::{Limits, Pace};
use super::peek::{Ends, Peek};
use super::plan::Group;
use super::{flush, pool};
use crate::api::desired::Verification;
use crate::crypto::Transform;
use crate::crypto::fingerprint::{Fingerprint, FingerprintKey};
use crate::format::pb::{FileInfo, KeyDictionary};
use crate::fs::buffer::Buffer;
use crate::fs::{self, File, Fs};

/// Bytes read, transformed and written at once.
const BLOCK: usize = 1 << 20;
/// From this size on the page cache is gone around.
const DIRECT_FROM: u64 = BLOCK as u64;

/// The temporary name beside `path` for the content that `entry` describes: by its IV, which no other try ever has.
pub fn temporary(path: &Path, entry: &FileInfo) -> PathBuf {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut suffix = TEMPORARY.to_owned();
    for byte in &entry.iv {
        suffix.push(char::from(DIGITS[usize::from(byte >> 4)]));
        suffix.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    fs::with_suffix(path, &suffix)
}

/// One inode and the entry that its content gets.
pub struct Job<'a> {
    /// Its names.
    pub group: &'a Group,
    /// The new entry, with an IV of its own.
    pub entry: FileInfo,
    proof: OnceLock<Proof>,
}

impl<'a> Job<'a> {
    /// Nothing is written yet.
    pub const fn new(group: &'a Group, entry: FileInfo) -> Self {
        Self {
            group,
            entry,
            proof: OnceLock::new(),
        }
    }

    fn is_large(&self) -> bool {
        self.group.size() >= DIRECT_FROM
    }
}

/// What the new file must turn out to be. It holds no content: a batch can have very many files.
struct Proof {
    /// Fingerprint of what was written; for full verification.
    written: Option<[u8; 16]>,
    /// Fingerprint of the plaintext of head and tail.
    ends: [u8; 16],
}

/// What all files of a run have in common.
pub struct Rewriter<'a> {
    /// Disk.
    pub fs: &'a dyn Fs,
    /// Old and new data keys.
    pub keys: &'a KeyDictionary,
    /// How files are proven.
    pub verification: Verification,
    /// What they are compared by.
    pub fingerprints: &'a FingerprintKey,
    /// Threads and what a batch flushes together.
    pub limits: &'a Limits,
    /// Rates.
    pub pace: &'a Pace<'a>,
    /// Told of bytes that were rewritten.
    pub observer: &'a dyn super::observer::Observer,
}

impl Rewriter<'_> {
    /// Writes the new content of each job beside each of its names.
    ///
    /// Guarantees: when it returns, content and length of every temporary file are durable and were compared; the names
    /// are durable only after the caller has synced their directories.
    /// Errors: after any error the temporary files are of no use; recovery removes them.
    pub fn batch(&self, jobs: &[Job<'_>]) -> Result<(), StoreError> {
        let largest = jobs.iter().map(|job| job.group.size()).max().unwrap_or(0);
        let block = usize::try_from(largest).unwrap_or(BLOCK).min(BLOCK);
        let scratch = || Buffer::new(block);
        let threads = self.limits.threads;
        // Before the first write: a barrier tells the errors of what is written after it was made.
        let barriers = if jobs.len() >= self.limits.batch.flush_together {
            flush::barriers(self.fs, jobs.iter().map(|job| job.group))?
        } else {
            None
        };
        let read = |job: &Job<'_>| self.begin(job, Path::to_owned, false);
        let Some(barriers) = barriers else {
            return pool::each_ahead(threads, jobs, scratch, read, |job, source, buffer| {
                let (file, to) = self.write(job, source, buffer)?;
                file.sync().map_err(StoreError::io("syncing", &to))?;
                drop(file);
                self.prove(job, None, buffer)
            });
        };
        pool::each_ahead(threads, jobs, scratch, read, |job, source, buffer| {
            self.write(job, source, buffer).map(drop)
        })?;
        flush::all(barriers)?;
        let read_back = |job: &Job<'_>| self.begin(job, |first| temporary(first, &job.entry), true);
        pool::each_ahead(threads, jobs, scratch, read_back, |job, made, buffer| {
            self.prove(job, made, buffer)
        })
    }

    /// Asks the device for a small file; large ones are read in blocks that are worth waiting for.
    fn begin(
        &self,
        job: &Job<'_>,
        path: impl Fn(&Path) -> PathBuf,
        fresh: bool,
    ) -> Result<Option<Box<dyn File>>, StoreError> {
        match job.group.names.first() {
            Some(first) if !job.is_large() => {
                let file = self.open(job, &path(&first.path()), fresh)?;
                file.read_ahead(0, usize::try_from(first.meta.size).unwrap_or(BLOCK));
                Ok(Some(file))
            }
            _ => Ok(None),
        }
    }

    /// Opens for reading; `fresh` is what the device has, not what is cached of it.
    fn open(&self, job: &Job<'_>, path: &Path, fresh: bool) -> Result<Box<dyn File>, StoreError> {
        let file = if job.is_large() {
            self.fs.open_direct(path)
        } else {
            self.fs.open(path)
        };
        let file = file.map_err(StoreError::io("opening", path))?;
        if fresh {
            // What direct reads do not cover: small files, the end of a large one, file systems without direct reads.
            file.drop_cache();
        }
        Ok(file)
    }

    /// Writes the content, volatile as yet, and gives it all its temporary names.
    fn write(
        &self,
        job: &Job<'_>,
        begun: Option<Box<dyn File>>,
        buffer: &mut Buffer,
    ) -> Result<(Box<dyn File>, PathBuf), StoreError> {
        let Some(first) = job.group.names.first() else {
            return Err(StoreError::Config("a file without a name".to_owned()));
        };
        let (from, size) = (&first.path(), first.meta.size);
        let to = temporary(from, &job.entry);
        let change = self.transform(job.group.entry(), Some(&job.entry), first)?;
        let source = match begun {
            Some(source) => source,
            None => self.open(job, from, false)?,
        };
        let target = if job.is_large() {
            self.fs.create_direct(&to, first.meta.owner)
        } else {
            self.fs.create(&to, first.meta.owner)
        };
        let target = target.map_err(StoreError::io("creating", &to))?;
        if job.is_large() {
            target
                .reserve(size)
                .map_err(StoreError::io("reserving room for", &to))?;
        }
        let mut written =
            (self.verification == Verification::Full).then(|| self.fingerprints.begin());
        let mut ends = Peek::new(size);
        let mut offset = 0;
        while offset < size {
            let left = usize::try_from(size - offset).unwrap_or(BLOCK);
            self.pace.content(left.min(buffer.bytes().len()) as u64)?;
            self.pace.request();
            let read = source
                .read_at(offset, buffer.bytes())
                .map_err(StoreError::io("reading", from))?;
            let block = &mut buffer.bytes()[..read.min(left)];
            if block.is_empty() {
                return Err(differs(from, "its length"));
            }
            ends.see(offset, block);
            change.apply(offset, block);
            if let Some(written) = &mut written {
                written.update(block);
            }
            self.pace.request();
            target
                .write_at(offset, block)
                .map_err(StoreError::io("writing", &to))?;
            offset += block.len() as u64;
            self.observer.bytes(block.len() as u64);
        }
        let old = self.transform(job.group.entry(), None, first)?;
        // A job is written once; were it not, the first proof would stand and the second file would fail it.
        let _ = job.proof.set(Proof {
            written: written.map(Fingerprint::finish),
            ends: self.of_ends(&ends.reveal(&old)),
        });
        for name in job.group.names.iter().skip(1) {
            let link = temporary(&name.path(), &job.entry);
            self.fs
                .link(&to, &link)
                .map_err(StoreError::io("linking", &link))?;
        }
        Ok((target, to))
    }

    /// Compares what is durable now with what was meant.
    fn prove(
        &self,
        job: &Job<'_>,
        begun: Option<Box<dyn File>>,
        buffer: &mut Buffer,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(proof)) = (job.group.names.first(), job.proof.get()) else {
            return Err(StoreError::Config("a file that was not written".to_owned()));
        };
        let (to, size) = (temporary(&first.path(), &job.entry), first.meta.size);
        let made = match begun {
            Some(made) => made,
            None => self.open(job, &to, true)?,
        };
        let mut ends = Peek::new(size);
        match proof.written {
            Some(written) => {
                if self.read_back(made.as_ref(), &to, buffer, &mut ends)? != written {
                    return Err(differs(&to, "its fingerprint"));
                }
            }
            None => self.read_ends(made.as_ref(), &to, size, buffer, &mut ends)?,
        }
        let new = self.transform(Some(&job.entry), None, first)?;
        let plain = ends.reveal(&new);
        if self.of_ends(&plain) != proof.ends {
            return Err(differs(&first.path(), "its beginning or end"));
        }
        if let Class::Data(kind) = first.class
            && first.look == Look::Fits
            && content::look(kind, &plain.0, &plain.1) != Look::Fits
        {
            return Err(differs(&first.path(), "its structure"));
        }
        Ok(())
    }

    /// The fingerprint of everything that the device returns.
    fn read_back(
        &self,
        file: &dyn File,
        path: &Path,
        buffer: &mut Buffer,
        ends: &mut Peek,
    ) -> Result<[u8; 16], StoreError> {
        let mut fingerprint = self.fingerprints.begin();
        let mut offset = 0;
        loop {
            self.pace.request();
            let read = file
                .read_at(offset, buffer.bytes())
                .map_err(StoreError::io("reading back", path))?;
            let block = &buffer.bytes()[..read];
            fingerprint.update(block);
            ends.see(offset, block);
            offset += read as u64;
            // A short read is the end of the file.
            if read < buffer.bytes().len() {
                return Ok(fingerprint.finish());
            }
        }
    }

    fn read_ends(
        &self,
        file: &dyn File,
        path: &Path,
        size: u64,
        buffer: &mut Buffer,
        ends: &mut Peek,
    ) -> Result<(), StoreError> {
        let meta = self
            .fs
            .stat(path)
            .map_err(StoreError::io("looking at", path))?;
        if meta.is_none_or(|meta| meta.size != size) {
            return Err(differs(path, "its length"));
        }
        for (offset, len) in Peek::ranges(size) {
            self.pace.request();
            let len = len.min(buffer.bytes().len());
            let read = file
                .read_at(offset, &mut buffer.bytes()[..len])
                .map_err(StoreError::io("reading back", path))?;
            ends.see(offset, &buffer.bytes()[..read]);
        }
        Ok(())
    }

    fn of_ends(&self, (head, tail): &Ends) -> [u8; 16] {
        let mut fingerprint = self.fingerprints.begin();
        fingerprint.update(head);
        fingerprint.update(tail);
        fingerprint.finish()
    }

    fn transform(
        &self,
        old: Option<&FileInfo>,
        new: Option<&FileInfo>,
        file: &StoreFile,
    ) -> Result<Transform, StoreError> {
        let stream = |entry| {
            dictionaries::stream(self.keys, entry).map_err(|bad| {
                let path = file.relative();
                StoreError::Refused(match bad {
                    BadEntry::UnknownKey(key_id) => Refusal::UnknownKey { path, key_id },
                    BadEntry::Other(why) => Refusal::BadEntry { path, why },
                })
            })
        };
        Ok(Transform::new(stream(old)?, stream(new)?))
    }
}

fn differs(path: &Path, what: &'static str) -> StoreError {
    StoreError::Verification {
        path: path.to_owned(),
        what,
    }
}
