//! Calls HTTP/2 servers; connections are kept and made anew when they break.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::server::framed;
use super::tls::{Files, connector};
use crate::Result;

const PATIENCE: Duration = Duration::from_secs(3);

/// Connections to servers by address.
pub struct Client {
    tls: Option<Files>,
    open: Mutex<HashMap<String, SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// With `tls` every connection is mutual TLS.
    pub fn new(tls: Option<Files>) -> Self {
        Self { tls, open: Mutex::default() }
    }

    /// An HTTP request; the answer is status and body.
    pub async fn http(&self, address: &str, method: &str, path: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>)> {
        self.send(address, method, path, None, body).await
    }

    /// A JSON request that must succeed.
    pub async fn json<T: DeserializeOwned>(&self, address: &str, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|e| e.to_string())?;
        let (status, body) = self.http(address, "POST", path, body).await?;
        if status != 200 {
            return Err(format!("{address} answered {status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{address} answered what is not understood: {e}"))
    }

    /// A unary gRPC call with the JSON codec.
    pub async fn grpc<T: DeserializeOwned>(&self, address: &str, method: &str, body: &impl Serialize) -> Result<T> {
        let body = framed(&serde_json::to_vec(body).map_err(|e| e.to_string())?);
        let path = format!("/standin.Store/{method}");
        let (_, body) = self.send(address, "POST", &path, Some("application/grpc+json"), body).await?;
        let message = body.get(5..).unwrap_or_default();
        let outcome: Outcome<T> = serde_json::from_slice(message).map_err(|e| format!("{address}: {e}"))?;
        outcome.into()
    }

    async fn send(
        &self,
        address: &str,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>)> {
        let work = async {
            let mut sender = self.connection(address).await?;
            let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
            if let Some(kind) = kind {
                request = request.header("content-type", kind).header("te", "trailers");
            }
            let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
            let response = sender.send_request(request).await.map_err(|e| format!("{address}: {e}"))?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|e| format!("{address}: {e}"))?;
            Ok((status, body.to_bytes().to_vec()))
        };
        let done = tokio::time::timeout(PATIENCE, work).await;
        let done = done.unwrap_or_else(|_| Err(format!("{address} did not answer in time")));
        if done.is_err() {
            self.open.lock().expect("no holder panics").remove(address);
        }
        done
    }

    async fn connection(&self, address: &str) -> Result<SendRequest<Full<Bytes>>> {
        let known = self.open.lock().expect("no holder panics").get(address).cloned();
        if let Some(sender) = known.filter(|sender| !sender.is_closed()) {
            return Ok(sender);
        }
        let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let sender = match &self.tls {
            None => shake(stream).await?,
            Some(files) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let ssl = connector(files)?.configure().and_then(|c| c.into_ssl(host)).map_err(|e| e.to_string())?;
                let mut stream = SslStream::new(ssl, stream).map_err(|e| e.to_string())?;
                std::pin::Pin::new(&mut stream).connect().await.map_err(|e| format!("{address}: {e}"))?;
                shake(stream).await?
            }
        };
        self.open.lock().expect("no holder panics").insert(address.to_owned(), sender.clone());
        Ok(sender)
    }
}

async fn shake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What a store answers.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome<T> {
    Ok(T),
    Error(String),
}

impl<T> From<Outcome<T>> for Result<T> {
    fn from(outcome: Outcome<T>) -> Self {
        match outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(error) => Err(error),
        }
    }
}

impl<T> From<Result<T>> for Outcome<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(error),
        }
    }
}
