//! The process: health port, custom resources, leadership, control loops, the way out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::health::{self, Readiness};
use super::issuer::Challenges;
use super::lease::{LeaseConfig, Term, while_leading};
use super::metrics::Metrics;
use super::reconcile::Context;
use super::revocation::{Cache, port};
pub use super::vault::Account;
use crate::api::v1alpha1::TikvSecurity;

/// What the operator is told at start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces to look after; all when empty.
    pub namespaces: Vec<String>,
    /// More namespaces in which `TikvClientCertificate` objects are looked after, and to which CA certificates may go. Without
    /// meaning when `namespaces` is empty.
    pub client_namespaces: Vec<String>,
    /// Image of the agent; the operator's own.
    pub agent_image: String,
    /// True: `TikvSecurityPolicy` objects are not read, because the right to is lacking.
    pub ignore_policies: bool,
    /// The operator's own service account, when it has one: whom it logs in to Vault as.
    pub account: Option<Account>,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    pub health: SocketAddr,
    /// Address of the port for CRLs, OCSP and what ACME servers fetch; none when absent.
    pub revocation: Option<SocketAddr>,
    /// `TikvSecurity` objects worked on at the same time, per watched namespace.
    pub concurrency: u16,
    /// The Lease; none to act without asking.
    pub lease: Option<LeaseConfig>,
}

/// Why the operator can not run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server.
    #[error("no access to a Kubernetes API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client can not be made.
    #[error("no client for the Kubernetes API server: {0}")]
    Client(#[from] kube::Error),
    /// The port is taken.
    #[error("the health port {0} can not be opened: {1}")]
    Health(SocketAddr, std::io::Error),
    /// The port is taken.
    #[error("the revocation port {0} can not be opened: {1}")]
    Revocation(SocketAddr, std::io::Error),
    /// No signals.
    #[error("signals can not be received: {0}")]
    Signal(std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), RunError> {
    let client = Client::try_from(Config::infer().await?)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: the reconciles that run are finished first");
    };
    Box::pin(run_until(client, options, stop)).await
}

/// As `run`, with a client and an end of the caller's choice.
pub async fn run_until(
    client: Client,
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let listener = health::bind(options.health)
        .await
        .map_err(|error| RunError::Health(options.health, error))?;
    let revocation = match options.revocation {
        Some(address) => {
            let listener = health::bind(address).await;
            Some(listener.map_err(|error| RunError::Revocation(address, error))?)
        }
        None => None,
    };
    let (readiness, metrics) = (Arc::new(Readiness::default()), Arc::new(Metrics::default()));
    let (stopped, stopping) = watch::channel(false);
    let context = Arc::new(Context::new(
        client.clone(),
        metrics.clone(),
        options.agent_image.clone(),
        !options.ignore_policies,
        options.account.clone(),
        options.namespaces.clone(),
        options.client_namespaces.clone(),
    ));
    let files = context.issuers.files.clone();
    let challenges = Challenges::new(files, client.clone(), options.namespaces.clone());
    let published = Arc::new(Cache::new(client.clone(), options.namespaces.clone()));
    let work = lead(client.clone(), options, context, stopping.clone());
    let side = future::join3(
        health::serve(listener, readiness.clone(), metrics),
        watch_crds(client, readiness),
        async {
            if let Some(listener) = revocation {
                port::serve(listener, published, Arc::new(challenges)).await;
            }
        },
    );
    let stop = async move {
        stop.await;
        // The receivers live as long as the work.
        let _ = stopped.send(true);
        future::pending::<()>().await;
    };
    tokio::select! {
        () = work => {}
        _ = side => {}
        () = stop => {}
    }
    Ok(())
}

/// Stands by, leads, and stands by again when leadership was lost.
async fn lead(
    client: Client,
    options: Options,
    context: Arc<Context>,
    stopping: watch::Receiver<bool>,
) {
    loop {
        let work = control(&options, &context, &stopping);
        let Some(lease) = &options.lease else {
            return work.await;
        };
        let mut begun = stopping.clone();
        let leading = AtomicBool::new(false);
        let work = async {
            leading.store(true, Ordering::Relaxed);
            work.await;
        };
        let mut term = std::pin::pin!(while_leading(client.clone(), lease, work));
        let ended = tokio::select! {
            term = &mut term => Some(term),
            () = signalled(&mut begun) => None,
        };
        match ended {
            Some(Term::Lost) if !*stopping.borrow() => {}
            // Told to stop: a leader ends its work and gives the Lease back, a stand-by just goes.
            None if leading.load(Ordering::Relaxed) => {
                term.await;
                return;
            }
            Some(_) | None => return,
        }
    }
}

/// The control loops, once the custom resources are served.
async fn control(options: &Options, context: &Arc<Context>, stopping: &watch::Receiver<bool>) {
    let mut told = stopping.clone();
    tokio::select! {
        () = until_served(&context.client) => {}
        () = signalled(&mut told) => return,
    }
    let clusters: Vec<Option<String>> = if options.namespaces.is_empty() {
        vec![None]
    } else {
        options.namespaces.iter().cloned().map(Some).collect()
    };
    tracing::info!(namespaces = ?options.namespaces, clients = ?options.client_namespaces, "watching");
    let stop = || {
        let mut told = stopping.clone();
        async move { signalled(&mut told).await }
    };
    let securities = clusters.iter().cloned().map(|namespace| {
        super::controller::run(context.clone(), namespace, options.concurrency, stop())
    });
    let certificates = context.client_scopes().into_iter().map(|namespace| {
        super::client_certificate::controller::run(
            context.clone(),
            namespace,
            clusters.clone(),
            options.concurrency,
            stop(),
        )
    });
    future::join(future::join_all(securities), future::join_all(certificates)).await;
}

async fn signalled(stopping: &mut watch::Receiver<bool>) {
    // The sender gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn until_served(client: &Client) {
    while !served(client).await {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

async fn watch_crds(client: Client, readiness: Arc<Readiness>) {
    loop {
        let served = served(&client).await;
        readiness.crds_served(served);
        let pause = if served { 30 } else { 3 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
}

async fn served(client: &Client) -> bool {
    let api = Api::<PartialObjectMeta<TikvSecurity>>::all(client.clone());
    match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => true,
        // In a namespaced installation the list over all is forbidden, which proves that it is served.
        Err(kube::Error::Api(status)) if status.code == 403 => true,
        Err(error) => {
            tracing::warn!(%error, "TikvSecurity is not served (yet)");
            false
        }
    }
}
