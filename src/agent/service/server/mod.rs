//! The agent's HTTPS server: mutual TLS, a few readers, no secrets.

pub(super) mod identity;
mod routes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::identity::Identity;
use self::routes::answer;
use super::board::Board;
use super::desired::DesiredFile;
use crate::tls::parse::parse_der;

/// Connections at a time: the operator, Prometheus and a person or two.
const CONNECTIONS: usize = 64;
/// Time for the handshake, and then for each request's head.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for a whole connection.
const LONGEST: Duration = Duration::from_mins(5);
/// Pause after the system refused a connection, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers for one agent.
#[derive(Debug)]
pub struct Server {
    identity: Identity,
    desired: DesiredFile,
    board: Arc<Board>,
}

impl Server {
    /// Certificates are read when the first connection comes.
    pub fn new(tls: &Path, desired: DesiredFile, board: Arc<Board>) -> Self {
        let identity = Identity::new(tls);
        Self {
            identity,
            desired,
            board,
        }
    }

    /// Answers for ever.
    pub async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let server = server.clone();
                    tokio::spawn(async move {
                        let _permit = permit;
                        // Who does not finish in time is cut; nothing is lost, all answers are small.
                        let _ = timeout(LONGEST, server.connection(socket)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, socket: TcpStream) {
        let config: Arc<ServerConfig> = match self.identity.current() {
            Ok(config) => config,
            Err(error) => return tracing::warn!(%error, "no TLS: the connection is closed"),
        };
        let handshake = TlsAcceptor::from(config).accept(socket);
        let stream = match timeout(PATIENCE, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
            Err(_) => return tracing::debug!("a handshake took too long"),
        };
        let leaf = stream.get_ref().1.peer_certificates();
        let name = leaf
            .and_then(|chain| parse_der(chain.first()?).ok())
            .and_then(|leaf| leaf.common_name);
        let service = service_fn(|request| {
            let reply = answer(&request, name.as_deref(), &self.desired, &self.board);
            std::future::ready(Ok::<_, std::convert::Infallible>(reply))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
