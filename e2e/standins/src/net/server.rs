//! Serves HTTP and gRPC on one port, with TLS, plaintext, or (as PD can) both.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_openssl::SslStream;

use super::stream::{self, Body, Messages, UNAUTHENTICATED};
use super::tls::{Acceptor, Rules};
use crate::Result;

// First byte of a TLS record that carries a handshake.
const HANDSHAKE: u8 = 0x16;

/// What a handler gets: an HTTP request, or one message of a gRPC call.
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Bytes,
    /// Whether it is gRPC.
    pub grpc: bool,
    /// Whether the caller's certificate has a name that is allowed.
    pub admitted: bool,
}

/// What a handler answers.
pub enum Reply {
    /// Status and body.
    Http(u16, Vec<u8>),
    /// A message.
    Message(Vec<u8>),
    /// A status of gRPC and why.
    Failure(u32, String),
}

/// Which callers a port takes.
#[derive(Clone)]
pub struct Port {
    pub tls: Option<Arc<Acceptor>>,
    pub plain: bool,
}

/// Serves for ever.
pub async fn serve<H, F>(address: &str, port: Port, handler: H) -> Result<()>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on {address}: {e}"))?;
    let in_line = port
        .tls
        .as_ref()
        .is_some_and(|acceptor| acceptor.rules == Rules::TikvStatus);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            continue;
        };
        let (port, handler) = (port.clone(), handler.clone());
        if in_line {
            // TiKV's status port: whoever connects and stays silent keeps all others waiting (facts, TLS §2.2).
            if let Some(admitted) = admit(stream, from, &port).await {
                tokio::spawn(admitted.converse(handler));
            }
            continue;
        }
        tokio::spawn(async move {
            let limit = Duration::from_secs(10);
            if let Ok(Some(admitted)) =
                tokio::time::timeout(limit, admit(stream, from, &port)).await
            {
                admitted.converse(handler).await;
            }
        });
    }
}

enum Admitted {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>, bool),
}

impl Admitted {
    async fn converse<H, F>(self, handler: H)
    where
        H: Fn(Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        match self {
            Self::Plain(stream) => converse(stream, true, handler).await,
            Self::Tls(stream, admitted) => converse(stream, admitted, handler).await,
        }
    }
}

async fn admit(stream: TcpStream, from: SocketAddr, port: &Port) -> Option<Admitted> {
    stream.set_nodelay(true).ok()?;
    if port.plain {
        let mut first = [0];
        stream.peek(&mut first).await.ok()?;
        if port.tls.is_none() || first[0] != HANDSHAKE {
            return Some(Admitted::Plain(stream));
        }
    }
    let acceptor = port.tls.as_ref()?;
    let current = acceptor.current()?;
    let ssl = Ssl::new(current.context()).ok()?;
    let mut stream = SslStream::new(ssl, stream).ok()?;
    if Pin::new(&mut stream).accept().await.is_err() {
        acceptor.failed();
        return None;
    }
    let admitted = acceptor.admits(stream.ssl());
    let good = match acceptor.rules {
        Rules::TikvGrpc => stream.ssl().selected_alpn_protocol() == Some(b"h2"),
        Rules::TikvStatus | Rules::Mysql => true,
        Rules::PdClient | Rules::TidbStatus => admitted,
        Rules::PdPeer => {
            let certificate = stream.ssl().peer_certificate();
            admitted && acceptor.fits_address(certificate, from).await
        }
    };
    good.then_some(Admitted::Tls(stream, admitted))
}

async fn converse<S, H, F>(stream: S, admitted: bool, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service =
        hyper::service::service_fn(move |request| answer(request, admitted, handler.clone()));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1024);
    // A caller that goes away is no event.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<H, F>(
    request: Request<Incoming>,
    admitted: bool,
    handler: H,
) -> std::result::Result<Response<Body>, Infallible>
where
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let kind = request.headers().get("content-type");
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    if !grpc {
        let body = request
            .into_body()
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        return Ok(
            match handler(Call {
                method,
                path,
                body,
                grpc,
                admitted,
            })
            .await
            {
                Reply::Http(status, body) => plain(status, body),
                Reply::Message(body) => plain(200, body),
                Reply::Failure(_, message) => plain(500, message.into_bytes()),
            },
        );
    }
    if !admitted {
        return Ok(stream::unary(Err((
            UNAUTHENTICATED,
            "common name check fail".into(),
        ))));
    }
    let mut messages = Messages::new(request.into_body());
    if is_stream(&path) {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(body) = messages.next().await {
                let call = Call {
                    method: method.clone(),
                    path: path.clone(),
                    body,
                    grpc,
                    admitted,
                };
                let outcome = outcome(handler(call).await);
                let over = outcome.is_err();
                if sender.send(outcome).await.is_err() || over {
                    break;
                }
            }
        });
        return Ok(stream::streaming(receiver));
    }
    let body = messages.next().await.unwrap_or_default();
    Ok(stream::unary(outcome(
        handler(Call {
            method,
            path,
            body,
            grpc,
            admitted,
        })
        .await,
    )))
}

// Calls in which each message is answered by one.
fn is_stream(path: &str) -> bool {
    path.ends_with("/Tso") || path.ends_with("/BatchCommands")
}

fn outcome(reply: Reply) -> std::result::Result<Vec<u8>, (u32, String)> {
    match reply {
        Reply::Message(body) => Ok(body),
        Reply::Failure(code, message) => Err((code, message)),
        Reply::Http(status, _) => Err((stream::UNIMPLEMENTED, format!("HTTP status {status}"))),
    }
}

fn plain(status: u16, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}
