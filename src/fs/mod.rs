//! The only door to disk.
//!
//! Everything that reads or writes a data directory goes through [`Fs`], so that a simulator can stand in the place of
//! the kernel and show what every possible crash leaves behind.

pub mod buffer;
pub mod os;
#[cfg(test)]
pub mod tests;

use std::io;
use std::path::{Path, PathBuf};

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else: links, sockets, devices. Never followed, never touched.
    Other,
}

/// What is known of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Kind.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Device and inode: equal for all names of one file.
    pub inode: (u64, u64),
    /// Number of names.
    pub links: u64,
    /// Permission bits, owner, group: new files take them over.
    pub owner: Owner,
}

/// Permission bits, owner and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An open file.
pub trait File: Send {
    /// Reads at `offset` until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Sets aside room for `bytes`, and may make the file that long with zeros. Nothing of it is durable before
    /// [`File::sync`]. A file system that can not do it does nothing.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and size durable. An error means that nothing is known of the content any more: it is never tried again.
    fn sync(&self) -> io::Result<()>;
    /// Tells the kernel that cached pages are not needed, so that the next read comes from the device.
    fn drop_cache(&self);
    /// Tells the kernel that these bytes will be read soon, and does not wait for them: many small reads are under way at
    /// once then.
    fn read_ahead(&self, _offset: u64, _bytes: usize) {}
}

/// A held lock; dropping it lets go.
pub trait Lock: Send {}

/// A flush of a whole file system, for many small files at once.
pub trait Barrier: Send {
    /// Makes content and size of all files durable that were written on this file system since the barrier was made,
    /// also of those that are closed. Names are not promised: [`Fs::sync_dir`] does that. An error means that nothing is
    /// known of any of these files; the errors of write-back that happened meanwhile are among them.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
///
/// Flow: names and contents are volatile until `File::sync` or `Barrier::sync` (content) and `sync_dir` (names). Where a
/// file is read or written around the page cache, nothing else about it is different: it is not durable any earlier.
/// Guarantees: no symbolic link is followed in the last part of a path; a new file never replaces an old one.
/// Assumptions: nobody else writes below the data directory while its lock is held.
/// Caveats: a lock holds within one kernel; network file systems are not supported (facts, encryption at rest §6.2).
/// Errors: those of the operating system, with nothing retried but interrupted calls.
pub trait Fs: Send + Sync {
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens for appending in place (the dictionary's log).
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Makes a new file with this owner; fails when the name exists.
    fn create(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>>;
    /// As [`Fs::open`], and reads come from the device where the file system allows that. It is fast only with blocks of
    /// [`buffer::Buffer`] at multiples of their length.
    fn open_direct(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// As [`Fs::create`], and writes go around the page cache where the file system allows that.
    fn create_direct(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn File>>;
    /// Makes a barrier for the file system that `dir` is on. It covers what is written from now on. `None` where such a
    /// flush would not report lost writes: then each file is synced by itself.
    fn barrier(&self, dir: &Path) -> io::Result<Option<Box<dyn Barrier>>>;
    /// Makes a further name for a file.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a name over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// What is at `path`; `None` when nothing is.
    fn stat(&self, path: &Path) -> io::Result<Option<Meta>>;
    /// Bytes that can still be written below `dir`.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Takes the flock on `path`, making the file if it is missing; `None` when somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// Reads a whole file that is known to be small; `None` when it does not exist.
pub fn read(fs: &dyn Fs, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(meta) = fs.stat(path)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(meta.size).map_err(io::Error::other)?];
    let read = fs.open(path)?.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Puts `bytes` at `path` so that after a crash either the old or the new content is there: a temporary file, synced,
/// renamed, directory synced. `unique` keeps the temporary name from any earlier try.
pub fn replace(
    fs: &dyn Fs,
    path: &Path,
    bytes: &[u8],
    owner: Owner,
    unique: &str,
) -> io::Result<()> {
    let temporary = with_suffix(path, unique);
    if fs.stat(&temporary)?.is_some() {
        fs.unlink(&temporary)?;
    }
    let file = fs.create(&temporary, owner)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    fs.rename(&temporary, path)?;
    fs.sync_dir(parent(path))
}

/// The directory of a path.
pub fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

/// `path` with text behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
