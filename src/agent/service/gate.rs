//! The gate: a file that the start-up probe of the container looks for. TiKV starts when it is there.

use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "gate-open";

/// Whether TiKV may start.
#[derive(Debug)]
pub struct Gate(PathBuf);

impl Gate {
    /// Shuts the gate, also when an earlier process left it open.
    pub fn shut(run: &Path) -> io::Result<Self> {
        let file = run.join(FILE);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self(file)),
        }
    }

    /// Lets TiKV start.
    pub fn open(&self) -> io::Result<()> {
        std::fs::File::create(&self.0).map(drop)
    }

    /// Whether the gate in `run` is open: the answer of the start-up probe.
    pub fn is_open(run: &Path) -> bool {
        run.join(FILE).exists()
    }
}
