//! The agent's process beside TiKV: holds TiKV back, does the work, then looks and reports.
//!
//! One thread works on the data directory ([`lifecycle`]), through [`Store`]; the server and the signals have a runtime
//! of their own. They meet at the [`board`].

pub mod board;
pub mod compactor;
pub mod data_dir;
pub mod desired;
pub mod gate;
pub mod key_watch;
pub mod lifecycle;
mod metrics;
pub mod process;
pub mod server;
pub mod stop;
pub mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub use store::{Locked, Measurement, Need, Outcome, Problem, Prover, Sealed, Store, Watch};

use self::board::Board;
use self::compactor::{Compactor, Rhythm, Tikv};
use self::desired::DesiredFile;
use self::gate::Gate;
use self::key_watch::{KeyPace, KeyWatch, with_providers};
use self::lifecycle::Lifecycle;
use self::server::Server;
use self::stop::Stop;
use super::wrapped::Pending;
use crate::api::wrapped::WrappedKey;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Data directory as TiKV sees it.
    pub data_dir: PathBuf,
    /// Desired state.
    pub desired: PathBuf,
    /// Directory with `ca.crt`, `tls.crt`, `tls.key`.
    pub tls: PathBuf,
    /// Master keys to unwrap before TiKV starts.
    pub wrapped_keys: Vec<WrappedKey>,
    /// Directory of the gate.
    pub run: PathBuf,
    /// Address of the server.
    pub listen: SocketAddr,
    /// Time between two measurements.
    pub measure_every: Duration,
    /// The pod, and where its TiKV is; without them nothing is compacted.
    pub tikv: Option<(String, Tikv)>,
}

/// Why the process could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The gate can not be kept.
    #[error(
        "the gate in {directory} can not be changed: {error}; the run directory must be writable"
    )]
    Gate {
        /// The run directory.
        directory: String,
        /// Cause.
        error: std::io::Error,
    },
    /// The server can not listen.
    #[error("{0} can not be listened on: {1}; choose another --listen")]
    Listen(SocketAddr, std::io::Error),
    /// No signals, no threads.
    #[error("the process could not be set up: {0}")]
    Process(#[from] std::io::Error),
    /// The worker died.
    #[error(
        "the thread that works on the data directory panicked; the next start goes on where it was"
    )]
    Worker,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings, store: impl Store + 'static) -> Result<(), ServiceError> {
    let gate_error = |error| ServiceError::Gate {
        directory: settings.run.display().to_string(),
        error,
    };
    let gate = Gate::shut(&settings.run).map_err(gate_error)?;
    let board = Arc::new(Board::new(&settings.data_dir));
    let stop = Arc::new(Stop::default());
    let desired = DesiredFile::new(settings.desired.clone());

    let listener = tokio::net::TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| ServiceError::Listen(settings.listen, error))?;
    let server = Server::new(&settings.tls, desired.clone(), board.clone());
    tokio::spawn(server.serve(listener));

    if let Some((pod, tikv)) = settings.tikv.clone() {
        let compactor = Compactor {
            desired: desired.clone(),
            board: board.clone(),
            identity: settings.tls.clone(),
            pod,
            tikv,
            rhythm: Rhythm::DEFAULT,
        };
        tokio::spawn(compactor.run());
    }

    let wrapped_keys = settings.wrapped_keys.iter().cloned();
    let wrapped_keys = || wrapped_keys.clone().map(Pending::new).collect();
    let key_watch = KeyWatch {
        prover: with_providers(store.prover(), wrapped_keys()),
        board: board.clone(),
        stop: stop.clone(),
        pace: KeyPace::DEFAULT,
    };
    // It has nothing to finish: it ends with the process.
    std::thread::Builder::new()
        .name("master-key".to_owned())
        .spawn(move || key_watch.run())?;
    let lifecycle = Lifecycle {
        store,
        keys: wrapped_keys(),
        notices: Vec::new(),
        desired,
        gate,
        board,
        stop: stop.clone(),
        pace: lifecycle::Pace {
            measure: settings.measure_every,
            ..lifecycle::Pace::DEFAULT
        },
    };
    let (done, mut finished) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            let result = lifecycle.run();
            // The receiver is gone only when the process ends anyway.
            let _ = done.send(result);
        })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = &mut finished => return result.map_err(|_| ServiceError::Worker)?.map_err(gate_error),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop; stopping at the next safe point");
    stop.ask();
    finished
        .await
        .map_err(|_| ServiceError::Worker)?
        .map_err(gate_error)?;
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests;
