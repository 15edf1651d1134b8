//! The real file system: Linux through rustix.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FlockOperation, Mode, OFlags};

use super::{File, Fs, Kind, Lock, Meta, Owner};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

struct OsFile(StdFile);

impl File for OsFile {
    fn read_at(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset) {
                Ok(0) => break,
                Ok(count) => {
                    read += count;
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn drop_cache(&self) {
        // Advice only: where the file system does not take it, reading back is weaker but not wrong.
        let _ = fs::fadvise(&self.0, 0, None, fs::Advice::DontNeed);
    }
}

struct OsLock(#[expect(dead_code, reason = "held for its drop")] StdFile);

impl Lock for OsLock {}

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<StdFile> {
    let fd = fs::openat(CWD, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)?;
    Ok(StdFile::from(fd))
}

impl Fs for OsFs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(OsFile(open(path, OFlags::RDONLY, Mode::empty())?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(OsFile(open(path, OFlags::WRONLY, Mode::empty())?)))
    }

    fn create(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open(path, flags, Mode::RUSR | Mode::WUSR)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (owner.uid, owner.gid) {
            let (uid, gid) = (fs::Uid::from_raw(owner.uid), fs::Gid::from_raw(owner.gid));
            fs::fchown(file.as_fd(), Some(uid), Some(gid))?;
        }
        fs::fchmod(file.as_fd(), Mode::from_raw_mode(owner.mode & 0o7777))?;
        Ok(Box::new(OsFile(file)))
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
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
