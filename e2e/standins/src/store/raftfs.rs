//! Files of the raft engine under their dictionary entries (facts, encryption at rest §3.4: file first, then entry).

use std::io::{Error, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

use super::cipher::FileCipher;
use super::keys::KeyManager;

type Base = DefaultFileSystem;

/// The file system of the raft engine.
pub struct RaftFiles {
    base: Base,
    keys: Arc<KeyManager>,
}

impl RaftFiles {
    /// With the entries of `keys`.
    pub fn new(keys: Arc<KeyManager>) -> Self {
        Self {
            base: DefaultFileSystem,
            keys,
        }
    }
}

/// An open file.
pub struct RaftFile {
    base: Arc<<Base as FileSystem>::Handle>,
    cipher: Option<FileCipher>,
}

impl Handle for RaftFile {
    fn truncate(&self, offset: usize) -> Result<()> {
        self.base.truncate(offset)
    }

    fn file_size(&self) -> Result<usize> {
        self.base.file_size()
    }

    fn sync(&self) -> Result<()> {
        self.base.sync()
    }
}

/// Reads or writes from a position.
pub struct Stream<S> {
    base: S,
    cipher: Option<FileCipher>,
}

impl<S: Read + Seek> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let at = self.base.stream_position()?;
        let length = self.base.read(buffer)?;
        if let Some(cipher) = &self.cipher {
            cipher
                .apply(at, &mut buffer[..length])
                .map_err(Error::other)?;
        }
        Ok(length)
    }
}

impl<S: Write + Seek> Write for Stream<S> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let Some(cipher) = &self.cipher else {
            return self.base.write(buffer);
        };
        let at = self.base.stream_position()?;
        let mut bytes = buffer.to_vec();
        cipher.apply(at, &mut bytes).map_err(Error::other)?;
        self.base.write(&bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.base.flush()
    }
}

impl<S: Seek> Seek for Stream<S> {
    fn seek(&mut self, position: SeekFrom) -> Result<u64> {
        self.base.seek(position)
    }
}

impl<S: WriteExt> WriteExt for Stream<S> {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.base.truncate(offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> Result<()> {
        self.base.allocate(offset, size)
    }
}

impl FileSystem for RaftFiles {
    type Handle = RaftFile;
    type Reader = Stream<<Base as FileSystem>::Reader>;
    type Writer = Stream<<Base as FileSystem>::Writer>;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<RaftFile> {
        let base = Arc::new(self.base.create(&path)?);
        let cipher = self.keys.create(path.as_ref()).map_err(Error::other)?;
        Ok(RaftFile { base, cipher })
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<RaftFile> {
        let base = Arc::new(self.base.open(&path, permission)?);
        let cipher = self.keys.cipher(path.as_ref()).map_err(Error::other)?;
        Ok(RaftFile { base, cipher })
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.base.delete(&path)?;
        self.keys.remove(path.as_ref()).map_err(Error::other)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.keys
            .link(from.as_ref(), to.as_ref())
            .map_err(Error::other)?;
        let done = self.base.rename(&from, &to);
        let gone = if done.is_ok() {
            from.as_ref()
        } else {
            to.as_ref()
        };
        self.keys.remove(gone).map_err(Error::other)?;
        done
    }

    // The bytes stay as they are and are noise under the new entry, until they are overwritten.
    fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.keys.create(to.as_ref()).map_err(Error::other)?;
        let done = self.base.rename(&from, &to);
        let gone = if done.is_ok() {
            from.as_ref()
        } else {
            to.as_ref()
        };
        self.keys.remove(gone).map_err(Error::other)?;
        done
    }

    fn delete_metadata<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.keys.remove(path.as_ref()).map_err(Error::other)
    }

    fn exists_metadata<P: AsRef<Path>>(&self, path: P) -> bool {
        self.keys.has_entry(path.as_ref())
    }

    fn new_reader(&self, handle: Arc<RaftFile>) -> Result<Self::Reader> {
        let base = self.base.new_reader(Arc::clone(&handle.base))?;
        Ok(Stream {
            base,
            cipher: handle.cipher.clone(),
        })
    }

    fn new_writer(&self, handle: Arc<RaftFile>) -> Result<Self::Writer> {
        let base = self.base.new_writer(Arc::clone(&handle.base))?;
        Ok(Stream {
            base,
            cipher: handle.cipher.clone(),
        })
    }
}
