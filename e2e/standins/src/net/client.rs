//! Calls HTTP/2 servers; connections are kept and made anew when they break.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::SslConnector;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::stream::framed;
use super::tls::{Files, common_name, connector};
use crate::Result;

const PATIENCE: Duration = Duration::from_secs(3);

/// When the files are read.
#[derive(Clone)]
enum Reading {
    /// For each connection.
    Fresh,
    /// When a channel is made: it keeps what it read until a connection has been there and broken again (facts, TLS
    /// §2.3). So a store that was away too long can be stranded.
    Channel,
    /// When a channel is made, for ever: TiDB's pools of connections to stores (facts, TLS §2).
    Pool,
    /// Certificate and key for each handshake, the CA once; the server's common name is looked at as well.
    Pd {
        ca: Arc<Vec<u8>>,
        names: Vec<String>,
    },
}

#[derive(Default)]
struct Channel {
    sender: Option<SendRequest<Full<Bytes>>>,
    credentials: Option<SslConnector>,
}

/// Connections to servers by address.
pub struct Client {
    tls: Option<(Files, Reading)>,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Client {
    /// With `tls` every connection is mutual TLS.
    pub fn fresh(tls: Option<Files>) -> Self {
        Self {
            tls: tls.map(|files| (files, Reading::Fresh)),
            channels: Mutex::default(),
        }
    }

    /// As TiKV calls other stores.
    pub fn channels(tls: Option<Files>) -> Self {
        Self {
            tls: tls.map(|files| (files, Reading::Channel)),
            channels: Mutex::default(),
        }
    }

    /// As TiDB calls stores.
    pub fn pools(tls: Option<Files>) -> Self {
        Self {
            tls: tls.map(|files| (files, Reading::Pool)),
            channels: Mutex::default(),
        }
    }

    /// As PD calls other members.
    pub fn of_pd(files: Files, names: Vec<String>) -> Result<Self> {
        let ca = std::fs::read(&files.ca).map_err(|error| format!("{}: {error}", files.ca))?;
        let reading = Reading::Pd {
            ca: Arc::new(ca),
            names,
        };
        Ok(Self {
            tls: Some((files, reading)),
            channels: Mutex::default(),
        })
    }

    /// An HTTP request; the answer is status and body.
    pub async fn http(
        &self,
        address: &str,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>)> {
        let (status, _, body) = self.send(address, method, path, None, body).await?;
        Ok((status, body))
    }

    /// A JSON request that must succeed.
    pub async fn json<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|e| e.to_string())?;
        let (status, body) = self.http(address, "POST", path, body).await?;
        if status != 200 {
            return Err(format!(
                "{address} answered {status}: {}",
                String::from_utf8_lossy(&body)
            ));
        }
        serde_json::from_slice(&body)
            .map_err(|e| format!("{address} answered what is not understood: {e}"))
    }

    /// A unary gRPC call.
    pub async fn grpc<T: Message + Default>(
        &self,
        address: &str,
        path: &str,
        message: &impl Message,
    ) -> Result<T> {
        let body = framed(&message.encode_to_vec());
        let (_, failure, body) = self
            .send(address, "POST", path, Some("application/grpc"), body)
            .await?;
        if let Some(failure) = failure {
            return Err(format!("{address}{path}: {failure}"));
        }
        T::decode(body.get(5..).unwrap_or_default()).map_err(|e| format!("{address}: {e}"))
    }

    async fn send(
        &self,
        address: &str,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(u16, Option<String>, Vec<u8>)> {
        let work = async {
            let mut sender = self.connection(address).await?;
            let mut request = Request::builder()
                .method(method)
                .uri(format!("http://{address}{path}"));
            if let Some(kind) = kind {
                request = request
                    .header("content-type", kind)
                    .header("te", "trailers");
            }
            let request = request
                .body(Full::new(Bytes::from(body)))
                .map_err(|e| e.to_string())?;
            let response = sender
                .send_request(request)
                .await
                .map_err(|e| format!("{address}: {e}"))?;
            let status = response.status().as_u16();
            let at_once = failure(response.headers());
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|e| format!("{address}: {e}"))?;
            let failure = at_once.or_else(|| body.trailers().and_then(failure));
            Ok((status, failure, body.to_bytes().to_vec()))
        };
        let done = tokio::time::timeout(PATIENCE, work).await;
        let done = done.unwrap_or_else(|_| Err(format!("{address} did not answer in time")));
        if done.is_err() {
            self.broken(address);
        }
        done
    }

    // A connection that broke takes its credentials with it; one that never was keeps them.
    fn broken(&self, address: &str) {
        let mut channels = self.channels.lock().expect("no holder panics");
        if channels
            .get(address)
            .is_some_and(|channel| channel.sender.is_some())
        {
            let kept = matches!(&self.tls, Some((_, Reading::Pool)));
            if let Some(channel) = channels.get_mut(address).filter(|_| kept) {
                channel.sender = None;
            } else {
                channels.remove(address);
            }
        }
    }

    async fn connection(&self, address: &str) -> Result<SendRequest<Full<Bytes>>> {
        let known = {
            let channels = self.channels.lock().expect("no holder panics");
            channels
                .get(address)
                .and_then(|channel| channel.sender.clone())
        };
        match known {
            Some(sender) if !sender.is_closed() => return Ok(sender),
            Some(_) => self.broken(address),
            None => {}
        }
        let credentials = self.credentials(address)?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|e| format!("{address}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let sender = match credentials {
            None => shake(stream).await?,
            Some(credentials) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let ssl = credentials
                    .configure()
                    .and_then(|c| c.into_ssl(host))
                    .map_err(|e| e.to_string())?;
                let mut stream = SslStream::new(ssl, stream).map_err(|e| e.to_string())?;
                Pin::new(&mut stream)
                    .connect()
                    .await
                    .map_err(|e| format!("{address}: {e}"))?;
                self.check_name(&stream)?;
                shake(stream).await?
            }
        };
        let mut channels = self.channels.lock().expect("no holder panics");
        channels.entry(address.to_owned()).or_default().sender = Some(sender.clone());
        Ok(sender)
    }

    fn credentials(&self, address: &str) -> Result<Option<SslConnector>> {
        let Some((files, reading)) = &self.tls else {
            return Ok(None);
        };
        match reading {
            Reading::Fresh => connector(files, None).map(Some),
            Reading::Pd { ca, .. } => connector(files, Some(ca)).map(Some),
            Reading::Channel | Reading::Pool => {
                let mut channels = self.channels.lock().expect("no holder panics");
                let channel = channels.entry(address.to_owned()).or_default();
                if channel.credentials.is_none() {
                    channel.credentials = Some(connector(files, None)?);
                }
                Ok(channel.credentials.clone())
            }
        }
    }

    fn check_name(&self, stream: &SslStream<TcpStream>) -> Result<()> {
        let Some((_, Reading::Pd { names, .. })) = &self.tls else {
            return Ok(());
        };
        let name = stream
            .ssl()
            .peer_certificate()
            .as_ref()
            .and_then(common_name)
            .unwrap_or_default();
        if names.is_empty() || names.contains(&name) {
            Ok(())
        } else {
            Err(format!("common name {name} is not allowed"))
        }
    }
}

fn failure(headers: &hyper::HeaderMap) -> Option<String> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let message = headers
        .get("grpc-message")
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default();
    (code != "0").then(|| format!("status {code}, {message}"))
}

async fn shake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}
