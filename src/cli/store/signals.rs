//! Ctrl-C and SIGTERM.

use std::process;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::exit;

/// The first signal that came; 0 while none did.
static CAME: AtomicI32 = AtomicI32::new(0);

/// The exit code that the signal which came asks for.
pub fn came() -> Option<u8> {
    code(CAME.load(Ordering::Relaxed))
}

fn code(number: i32) -> Option<u8> {
    match number {
        0 => None,
        number if number == SignalKind::terminate().as_raw_value() => Some(exit::TERMINATED),
        _ => Some(exit::INTERRUPTED),
    }
}

/// Watches for both from now on. The first is told to `first`; the second ends the process at once, which is safe: the
/// next run repairs what was being written.
pub fn watch(first: impl FnOnce() + Send + 'static) {
    // Without the watcher a signal ends the process at once.
    let _ = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(wait(first));
            }
        });
}

async fn wait(first: impl FnOnce()) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    };
    CAME.store(next().await, Ordering::Relaxed);
    first();
    process::exit(i32::from(code(next().await).unwrap_or(exit::INTERRUPTED)));
}
