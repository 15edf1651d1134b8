//! One HTTP request over one connection, closed at once: no pool, because an idle connection blocks TiKV's
//! status port for everybody (facts, TLS §2.2) and because a new connection shows the certificate of today.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Nobody we ask says more than this; a TiKV's metrics are a few MiB.
const BODY_LIMIT: usize = 64 << 20;

/// A server: where to dial, and the name that its certificate must carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or IP address to dial.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// Name for `Host` and for the verification of the certificate.
    pub name: String,
}

impl Endpoint {
    /// A server that is dialled by the name in its certificate.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Self {
            name: host.clone(),
            host,
            port,
        }
    }

    /// The same server, verified under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How to speak to a server.
#[derive(Clone)]
pub struct Transport {
    /// Mutual TLS, or plaintext when absent.
    pub tls: Option<Arc<ClientConfig>>,
    /// Time for one request, connection included.
    pub patience: Duration,
}

/// An answer of whatever status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The beginning of the body as text, for a message.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(200).collect()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("{0} can not be connected: {1}")]
    Connect(Endpoint, std::io::Error),
    /// TLS failed.
    #[error("TLS with {0} failed: {1}")]
    Tls(Endpoint, std::io::Error),
    /// Something else than HTTP, or cut off.
    #[error("{0} broke off: {1}")]
    Http(Endpoint, hyper::Error),
    /// Too long or cut off.
    #[error("the answer of {0} is unusable: {1}")]
    Body(Endpoint, String),
    /// Silence.
    #[error("{0} did not answer in {1:?}")]
    TimedOut(Endpoint, Duration),
    /// A name that can not be verified.
    #[error("{0:?} is no name that a server can have")]
    Name(String),
    /// A path that can not be asked for.
    #[error("the request can not be formed: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Transport {
    /// `GET`.
    pub async fn get(&self, endpoint: &Endpoint, path: &str) -> Result<Answer, HttpError> {
        self.send(endpoint, Method::GET, path, None).await
    }

    /// One request with an optional JSON body; dropped, the connection is closed.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let exchange = async {
            let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
                .await
                .map_err(|error| HttpError::Connect(endpoint.clone(), error))?;
            let Some(tls) = &self.tls else {
                return exchange(stream, endpoint, method, path, json).await;
            };
            let name = ServerName::try_from(endpoint.name.clone())
                .map_err(|_| HttpError::Name(endpoint.name.clone()))?;
            let stream = TlsConnector::from(tls.clone())
                .connect(name, stream)
                .await
                .map_err(|error| HttpError::Tls(endpoint.clone(), error))?;
            exchange(stream, endpoint, method, path, json).await
        };
        tokio::time::timeout(self.patience, exchange)
            .await
            .unwrap_or_else(|_| Err(HttpError::TimedOut(endpoint.clone(), self.patience)))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    json: Option<Vec<u8>>,
) -> Result<Answer, HttpError> {
    let broken = |error| HttpError::Http(endpoint.clone(), error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, format!("{}:{}", endpoint.name, endpoint.port))
        .header(CONNECTION, "close");
    if json.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(json.unwrap_or_default())))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| HttpError::Body(endpoint.clone(), error.to_string()))?
            .to_bytes();
        Ok(Answer { status, body })
    };
    // The connection lives in this future: when the answer is there, the socket is closed.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}
