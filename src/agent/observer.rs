//! What a run tells while it lasts, and how it is asked to stop.

/// Told by the engine; every method has an empty default.
pub trait Observer: Sync {
    /// A run begins with this much to do.
    fn begin(&self, _files: u64, _bytes: u64) {}
    /// Bytes of file content were rewritten.
    fn bytes(&self, _count: u64) {}
    /// A file is done.
    fn file(&self, _path: &str) {}
    /// All files are rewritten; old keys are being dropped.
    fn finishing(&self) {}
    /// Asked before each block of content and between two batches; true stops the run with the journal open. It may wait
    /// as long as it likes before it answers.
    fn stop(&self) -> bool {
        false
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {}
