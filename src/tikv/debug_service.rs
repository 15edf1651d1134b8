//! A client of TiKV's debug service (`debugpb.Debug`, on the gRPC port) for two of its calls: gRPC by hyper, because one
//! unary call needs no more than a frame of five bytes and two header fields.
//!
//! What follows from TiKV's source (9.0.0-beta.2, `src/server/service/debug.rs`, `src/server/debug.rs`):
//! - the service works on one thread, one call after the other, so any answer says that earlier calls have ended;
//! - a call goes on in TiKV when its caller is gone, and can not be taken back;
//! - errors of RocksDB are dropped: an answer does not say that anything was rewritten, only a look at the files does;
//! - a manual compaction does not exclude TiKV's own.

use std::num::NonZeroU8;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http::{Endpoint, HttpError};

/// Port of TiKV's gRPC services unless the configuration says otherwise.
pub const GRPC_PORT: u16 = 20160;
/// Both answers are a few bytes.
const BODY_LIMIT: usize = 1 << 20;
/// Time for the connection; the call itself takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A column family of TiKV's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnFamily {
    /// Values.
    Default,
    /// Versions of transactions.
    Write,
    /// Locks of transactions.
    Lock,
    /// What TiKV knows of its regions.
    Raft,
}

impl ColumnFamily {
    /// The largest first: whatever comes later is short.
    pub const ALL: [Self; 4] = [Self::Default, Self::Write, Self::Lock, Self::Raft];

    /// TiKV's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Write => "write",
            Self::Lock => "lock",
            Self::Raft => "raft",
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    /// No answer. A compaction may go on all the same.
    #[error("TiKV's debug service: {0}")]
    Http(#[from] HttpError),
    /// TiKV refused.
    #[error(
        "TiKV's debug service at {endpoint} answered {call} with gRPC status {code}: {message}"
    )]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// Which call.
        call: &'static str,
        /// Status of gRPC.
        code: u32,
        /// Its text.
        message: String,
    },
}

impl DebugError {
    /// Whether this TiKV does not know the column family, or has no such service.
    pub const fn is_unknown(&self) -> bool {
        const INVALID_ARGUMENT: u32 = 3;
        const UNIMPLEMENTED: u32 = 12;
        matches!(
            self,
            Self::Refused {
                code: INVALID_ARGUMENT | UNIMPLEMENTED,
                ..
            }
        )
    }
}

/// The debug service of one TiKV.
#[derive(Clone)]
pub struct DebugService {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Mutual TLS with ALPN `h2` ([`crate::tls::client::grpc`]), or plaintext when absent.
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, PartialEq, Message)]
struct CompactRequest {
    #[prost(int32, tag = "1")]
    db: i32,
    #[prost(string, tag = "2")]
    cf: String,
    // 3 and 4 are the first and the last key: without them it is all.
    #[prost(uint32, tag = "5")]
    threads: u32,
    #[prost(int32, tag = "6")]
    bottommost_level_compaction: i32,
}

/// `DB::KV`.
const KV: i32 = 1;
/// `BottommostLevelCompaction::Force`: without it the tables of the lowest level, nearly all, stay as they are.
const FORCE: i32 = 1;

impl DebugService {
    /// Returns when everything that the service was asked for before has ended, whoever asked.
    pub async fn settled(&self) -> Result<(), DebugError> {
        self.call("GetStoreInfo", Vec::new()).await
    }

    /// Has every table of a column family rewritten. Returns when TiKV says that it has ended.
    pub async fn compact(
        &self,
        family: ColumnFamily,
        threads: NonZeroU8,
    ) -> Result<(), DebugError> {
        let request = CompactRequest {
            db: KV,
            cf: family.name().to_owned(),
            threads: u32::from(threads.get()),
            bottommost_level_compaction: FORCE,
        };
        self.call("Compact", request.encode_to_vec()).await
    }

    async fn call(&self, call: &'static str, message: Vec<u8>) -> Result<(), DebugError> {
        let endpoint = &self.endpoint;
        let connect = async {
            let socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
                .await
                .map_err(|error| HttpError::Connect(endpoint.clone(), error))?;
            let Some(tls) = &self.tls else {
                return Ok::<_, HttpError>(Either::Left(socket));
            };
            let name = ServerName::try_from(endpoint.name.clone())
                .map_err(|_| HttpError::Name(endpoint.name.clone()))?;
            let stream = TlsConnector::from(tls.clone()).connect(name, socket).await;
            let stream = stream.map_err(|error| HttpError::Tls(endpoint.clone(), error))?;
            Ok(Either::Right(stream))
        };
        let late = |_| HttpError::TimedOut(endpoint.clone(), PATIENCE);
        match tokio::time::timeout(PATIENCE, connect)
            .await
            .map_err(late)??
        {
            Either::Left(socket) => self.converse(socket, "http", call, message).await,
            Either::Right(stream) => self.converse(stream, "https", call, message).await,
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: &str,
        call: &'static str,
        message: Vec<u8>,
    ) -> Result<(), DebugError> {
        let endpoint = &self.endpoint;
        let broken = |error| HttpError::Http(endpoint.clone(), error);
        // No pings of ours: TiKV's gRPC library takes frequent ones for abuse. It sends its own, which are answered.
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(broken)?;
        let uri = format!(
            "{scheme}://{}:{}/debugpb.Debug/{call}",
            endpoint.name, endpoint.port
        );
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(framed(&message)))
            .map_err(HttpError::from)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let unusable = |why: String| HttpError::Body(endpoint.clone(), why);
            let body = Limited::new(body, BODY_LIMIT).collect().await;
            let body = body.map_err(|error| unusable(error.to_string()))?;
            let trailers = body.trailers();
            let status = trailers.and_then(status).or_else(|| status(&head.headers));
            status.ok_or_else(|| unusable(format!("HTTP {} without a status of gRPC", head.status)))
        };
        // The connection lives in this future: whoever drops it closes the socket.
        let outcome = match select(pin!(answer), pin!(connection)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((_, outcome)) => outcome.await,
        };
        match outcome? {
            (0, _) => Ok(()),
            (code, message) => Err(DebugError::Refused {
                endpoint: endpoint.clone(),
                call,
                code,
                message,
            }),
        }
    }
}

/// A message as gRPC sends it: not compressed, its length, its bytes.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|text| text.as_bytes());
    let message = String::from_utf8_lossy(message.unwrap_or_default());
    Some((code, message.chars().take(300).collect()))
}

#[cfg(test)]
pub(crate) mod tests;
