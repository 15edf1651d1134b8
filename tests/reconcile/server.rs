//! A small HTTP server on one address, plain or TLS, whose certificate may change while it runs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Answers "METHOD /path" with a body by a status and a body.
pub type Handler = Arc<dyn Fn(&str, &str) -> (u16, String) + Send + Sync>;

/// The certificate of a server; empty for plaintext.
pub type Identity = Arc<Mutex<Option<Arc<ServerConfig>>>>;

/// Mutual TLS by a Secret, as TiKV, PD and the agents do it. `trust` is what was read at the start, where trust is read then only.
pub fn mutual(secret: &Secret, trust: Option<&[u8]>) -> Arc<ServerConfig> {
    let data = secret.data.as_ref().unwrap();
    let trust = trust.unwrap_or(&data["ca.crt"].0);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(trust) {
        roots.add(ca.unwrap()).unwrap();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let chain = CertificateDer::pem_slice_iter(&data["tls.crt"].0).map(Result::unwrap);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            chain.collect(),
            PrivateKeyDer::from_pem_slice(&data["tls.key"].0).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Serves until the handle is aborted.
pub fn serve(address: SocketAddr, identity: Identity, handler: Handler) -> JoinHandle<()> {
    tokio::spawn(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, identity.clone(), handler.clone()));
        }
    })
}

async fn connection(stream: TcpStream, identity: Identity, handler: Handler) {
    let tls = identity.lock().unwrap().clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let call = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (status, text) = handler(&call, &String::from_utf8_lossy(&body));
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status.try_into().unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let _ = match tls {
        None => http.serve_connection(TokioIo::new(stream), service).await,
        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
            // As gRPC: settings are sent to whoever was let in.
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            }
            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => Ok(()),
        },
    };
}
