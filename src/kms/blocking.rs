//! Waits for a KMS where everything else blocks.

/// Runs `work` to its end on a thread and a runtime of its own, so that the caller may itself be on either kind of thread.
pub(super) fn wait<T, F>(work: F) -> std::io::Result<T>
where
    F: Future<Output = T> + Send,
    T: Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::scope(|scope| {
        scope
            .spawn(move || runtime.block_on(work))
            .join()
            .map_err(|_| std::io::Error::other("the thread that asked the KMS panicked"))
    })
}
