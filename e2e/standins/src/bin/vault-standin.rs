//! Stand-in for HashiCorp Vault, over TLS: `--listen=HOST:PORT --tls-cert-file=F --tls-key-file=F --root-token=T
//! --unseal-key=K`. What is behind it is set up by requests, as in Vault; it is unsealed and empty at its start.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use tikv_security_standins::options::Options;
use tikv_security_standins::vault::{Asked, Vault};
use tikv_security_standins::{Result, log};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_openssl::SslStream;

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        log(&format!("[FATAL] {error}"));
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let options = Options::read()?;
    let get = |name: &str| {
        options
            .get(name, name)
            .ok_or_else(|| format!("--{name} is missing"))
    };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut acceptor =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).map_err(|e| text(&e))?;
    acceptor
        .set_certificate_chain_file(get("tls-cert-file")?)
        .map_err(|e| text(&e))?;
    acceptor
        .set_private_key_file(get("tls-key-file")?, SslFiletype::PEM)
        .map_err(|e| text(&e))?;
    let acceptor = acceptor.build();
    let vault = Vault::new(&get("root-token")?, &get("unseal-key")?);
    let vault = Arc::new(Mutex::new(vault));
    let listener = TcpListener::bind(get("listen")?)
        .await
        .map_err(|e| text(&e))?;
    let mut end = signal(SignalKind::terminate()).map_err(|e| text(&e))?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.recv() => return Ok(()),
        };
        let Ok((stream, _)) = stream else { continue };
        let Ok(ssl) = Ssl::new(acceptor.context()) else {
            continue;
        };
        tokio::spawn(converse(ssl, stream, Arc::clone(&vault)));
    }
}

async fn converse(ssl: Ssl, stream: TcpStream, vault: Arc<Mutex<Vault>>) {
    let Ok(mut stream) = SslStream::new(ssl, stream) else {
        return;
    };
    if Pin::new(&mut stream).accept().await.is_err() {
        return;
    }
    let work = service_fn(|request| answer(request, Arc::clone(&vault)));
    // A caller that goes away is no event.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), work)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    vault: Arc<Mutex<Vault>>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let bearer = header("authorization");
    let token = match bearer.strip_prefix("Bearer ") {
        Some(bearer) => bearer.to_owned(),
        None => header("x-vault-token"),
    };
    let namespace = header("x-vault-namespace");
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let said = vault
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .answer(&Asked {
            method: &method,
            path: &path,
            token: &token,
            namespace: &namespace,
            body: &body,
        });
    // As Vault's audit log: who asked for what, nothing of what was said.
    log(&format!("[INFO] {method} {path} {}", said.status));
    let body = if said.body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(said.body.to_string())
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(said.status).unwrap_or_default();
    Ok(response)
}
