//! The real file system: Linux through rustix.

use std::fs::File as StdFile;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::buffer::{ALIGNMENT, is_aligned};
use super::{Barrier, File, Fs, Kind, Lock, Meta, Owner};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

struct OsFile {
    file: StdFile,
    /// Around the page cache. Ends with the first access that is not aligned.
    direct: AtomicBool,
}

impl OsFile {
    fn cached(file: StdFile) -> Box<dyn File> {
        let direct = AtomicBool::new(false);
        Box::new(Self { file, direct })
    }

    /// Takes up a file that was opened with `flags`, around the cache where the file system allows it.
    fn direct(file: StdFile) -> io::Result<Box<dyn File>> {
        let flags = fs::fcntl_getfl(&file)?;
        let direct = match fs::fcntl_setfl(&file, flags | OFlags::DIRECT) {
            Ok(()) => true,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => false,
            Err(error) => return Err(error.into()),
        };
        let direct = AtomicBool::new(direct);
        Ok(Box::new(Self { file, direct }))
    }

    fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    fn leave_direct(&self) -> io::Result<()> {
        let flags = fs::fcntl_getfl(&self.file)?;
        fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// True when a call failed because it was direct and the same call can be made through the cache.
    fn fall_back(&self, error: &io::Error) -> io::Result<bool> {
        if self.is_direct() && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
            self.leave_direct()?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl File for OsFile {
    fn read_at(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_direct()
            && !(is_aligned(offset, buffer) && buffer.len().is_multiple_of(ALIGNMENT))
        {
            self.leave_direct()?;
        }
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset) {
                Ok(0) => break,
                Ok(count) => {
                    read += count;
                    offset += count as u64;
                    // Only the end of the file cuts a direct read within a block.
                    if self.is_direct() && !count.is_multiple_of(ALIGNMENT) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.fall_back(&error)? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let whole = if self.is_direct() && is_aligned(offset, bytes) {
            bytes.len() / ALIGNMENT * ALIGNMENT
        } else {
            0
        };
        let (blocks, tail) = bytes.split_at(whole);
        match self.file.write_all_at(blocks, offset) {
            Err(error) if self.fall_back(&error)? => self.file.write_all_at(blocks, offset)?,
            result => result?,
        }
        if !tail.is_empty() {
            if self.is_direct() {
                self.leave_direct()?;
            }
            self.file.write_all_at(tail, offset + whole as u64)?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn drop_cache(&self) {
        // Advice only: where the file system does not take it, reading back is weaker but not wrong.
        let _ = fs::fadvise(&self.file, 0, None, fs::Advice::DontNeed);
    }

    fn read_ahead(&self, offset: u64, bytes: usize) {
        // Advice only: without it the read itself waits.
        if let Some(bytes) = NonZeroU64::new(bytes as u64) {
            let _ = fs::fadvise(&self.file, offset, Some(bytes), fs::Advice::WillNeed);
        }
    }
}

/// An open directory of the file system. It is opened before the writes, because the kernel tells each open file of the
/// write-back errors since it was opened.
struct OsBarrier(StdFile);

impl Barrier for OsBarrier {
    fn sync(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.0)?)
    }
}

/// Since Linux 5.8 `syncfs` reports that write-back has failed.
fn syncfs_reports_errors() -> bool {
    static REPORTS: OnceLock<bool> = OnceLock::new();
    *REPORTS.get_or_init(|| {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy();
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0_u32));
        (numbers.next(), numbers.next()) >= (Some(5), Some(8))
    })
}

struct OsLock(#[expect(dead_code, reason = "held for its drop")] StdFile);

impl Lock for OsLock {}

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<StdFile> {
    let fd = fs::openat(CWD, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)?;
    Ok(StdFile::from(fd))
}

/// Opens for reading, without a new time of access where that is allowed: writing it costs more than the read of a small
/// file, and a look shall leave no trace.
fn open_to_read(path: &Path) -> io::Result<StdFile> {
    // Only for one's own files: who was refused once does not ask again.
    static ALLOWED: AtomicBool = AtomicBool::new(true);
    if ALLOWED.load(Ordering::Relaxed) {
        match open(path, OFlags::RDONLY | OFlags::NOATIME, Mode::empty()) {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                ALLOWED.store(false, Ordering::Relaxed);
            }
            result => return result,
        }
    }
    open(path, OFlags::RDONLY, Mode::empty())
}

fn create(path: &Path, owner: Owner) -> io::Result<StdFile> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let mode = owner.mode & 0o7777;
    // Where the umask allows it the file has its mode from the beginning, which saves a call.
    let file = open(path, flags, Mode::from_raw_mode(mode & 0o777))?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (owner.uid, owner.gid) {
        let (uid, gid) = (fs::Uid::from_raw(owner.uid), fs::Gid::from_raw(owner.gid));
        fs::fchown(file.as_fd(), Some(uid), Some(gid))?;
    }
    if made.mode() & 0o7777 != mode {
        fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode))?;
    }
    Ok(file)
}

impl Fs for OsFs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(OsFile::cached(open_to_read(path)?))
    }

    fn open_direct(&self, path: &Path) -> io::Result<Box<dyn File>> {
        OsFile::direct(open_to_read(path)?)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(OsFile::cached(open(path, OFlags::WRONLY, Mode::empty())?))
    }

    fn create(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        Ok(OsFile::cached(create(path, owner)?))
    }

    fn create_direct(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        OsFile::direct(create(path, owner)?)
    }

    fn barrier(&self, dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        if !syncfs_reports_errors() {
            return Ok(None);
        }
        let dir = open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Some(Box::new(OsBarrier(dir))))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(fs::linkat(CWD, from, CWD, to, AtFlags::empty())?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(fs::rename(from, to)?)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        Ok(fs::unlink(path)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            let name = name.into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{}: the name {} is not UTF-8",
                        dir.display(),
                        name.display()
                    ),
                )
            })?;
            names.push(name);
        }
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        let meta = match std::fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = if meta.is_file() {
            Kind::File
        } else if meta.is_dir() {
            Kind::Dir
        } else {
            Kind::Other
        };
        Ok(Some(Meta {
            kind,
            size: meta.size(),
            inode: (meta.dev(), meta.ino()),
            links: meta.nlink(),
            owner: Owner {
                mode: meta.mode() & 0o7777,
                uid: meta.uid(),
                gid: meta.gid(),
            },
        }))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = open(
            path,
            OFlags::RDWR | OFlags::CREATE,
            Mode::from_raw_mode(0o644),
        )?;
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(OsLock(file)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
