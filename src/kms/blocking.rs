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
        let asked = move || {
            let answer = runtime.block_on(work);
            // A module that does not answer would be waited for, whatever the caller's patience is.
            runtime.shutdown_background();
            answer
        };
        scope
            .spawn(asked)
            .join()
            .map_err(|_| std::io::Error::other("the thread that asked the KMS panicked"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait;

    /// As the module of an HSM that is out of reach.
    #[test]
    fn a_thread_that_does_not_come_back_is_not_waited_for() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let asked = async move {
            let hangs = tokio::task::spawn_blocking(move || held.recv());
            tokio::time::timeout(Duration::from_millis(20), hangs).await
        };
        assert!(wait(asked).unwrap().is_err(), "it came back");
        drop(hold);
    }
}
