//! Serves HTTP and gRPC on one port, with TLS, plaintext, or (as PD can) both.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use super::tls::Acceptor;
use crate::Result;

const GRPC: &str = "application/grpc+json";
// First byte of a TLS record that carries a handshake.
const HANDSHAKE: u8 = 0x16;

/// What a handler gets.
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

/// What a handler answers: a status and a body.
pub type Reply = (u16, Vec<u8>);

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
    let listener = TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address}: {e}"))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (port, handler) = (port.clone(), handler.clone());
        tokio::spawn(async move {
            let limit = Duration::from_secs(10);
            match tokio::time::timeout(limit, admit(stream, &port)).await {
                Ok(Some(Admitted::Plain(stream))) => converse(stream, handler).await,
                Ok(Some(Admitted::Tls(stream))) => converse(stream, handler).await,
                _ => {}
            }
        });
    }
}

enum Admitted {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>),
}

async fn admit(stream: TcpStream, port: &Port) -> Option<Admitted> {
    stream.set_nodelay(true).ok()?;
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    let Some(acceptor) = port.tls.as_ref().filter(|_| first[0] == HANDSHAKE || !port.plain) else {
        return port.plain.then_some(Admitted::Plain(stream));
    };
    let ssl = Ssl::new(acceptor.current().context()).ok()?;
    let mut stream = SslStream::new(ssl, stream).ok()?;
    std::pin::Pin::new(&mut stream).accept().await.ok()?;
    acceptor.admits(stream.ssl()).then_some(Admitted::Tls(stream))
}

async fn converse<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| answer(request, handler.clone()));
    let builder = Builder::new(TokioExecutor::new());
    // A caller that goes away is no event.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<H, F>(request: Request<Incoming>, handler: H) -> std::result::Result<Response<Body>, Infallible>
where
    H: Fn(Call) -> F,
    F: Future<Output = Reply>,
{
    let grpc = request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let body = if grpc { body.get(5..).unwrap_or_default().to_vec() } else { body };
    let (status, body) = handler(Call { method, path, body }).await;
    Ok(if grpc { grpc_response(status, &body) } else { response(status, body) })
}

type Body = BoxBody<Bytes, Infallible>;

fn response(status: u16, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn grpc_response(status: u16, body: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    // 14 is UNAVAILABLE.
    let code = if status == 200 { "0" } else { "14" };
    trailers.insert("grpc-status", hyper::header::HeaderValue::from_static(code));
    let frames = [Frame::data(Bytes::from(framed(body))), Frame::trailers(trailers)];
    let stream = StreamBody::new(futures_frames(frames.map(Ok)));
    let mut response = Response::new(BodyExt::boxed(stream));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(GRPC));
    response
}

/// A gRPC message: a flag, the length, the bytes.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], body].concat()
}

fn futures_frames(
    frames: [std::result::Result<Frame<Bytes>, Infallible>; 2],
) -> impl futures_core::Stream<Item = std::result::Result<Frame<Bytes>, Infallible>> {
    let mut frames = frames.into_iter();
    futures_util::stream::poll_fn(move |_| std::task::Poll::Ready(frames.next()))
}
