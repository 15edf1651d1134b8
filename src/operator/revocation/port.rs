//! What strangers may fetch over plain HTTP: CRLs and OCSP, as RFC 5280 §4.2.1.13 and RFC 6960 §A.1 have it: what is served is signed, and whoever checks a
//! certificate can not be made to check another one first.
//!
//! | request | answer |
//! |---|---|
//! | `GET /crl/NAMESPACE/NAME.crl` | list of the CA that signs now, DER |
//! | `GET /crl/NAMESPACE/NAME/SERIAL.crl` | list of the CA with that serial number |
//! | `POST /ocsp/NAMESPACE/NAME` | answer to the request in the body |
//! | `GET /ocsp/NAMESPACE/NAME/BASE64` | the same, with the request in the path |
//! | `GET /.well-known/acme-challenge/TOKEN` | the file that an ACME server was promised (RFC 8555 §8.3) |
//!
//! Open to strangers: bounded in connections, in the size of requests, in time, and in what it asks the API server for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::cache::Cache;
use crate::operator::issuer::Challenges;
use crate::tls::revocation::ocsp::{Answer, LONGEST_REQUEST};

/// So many connections at the same time; others wait.
const CONNECTIONS: usize = 64;
/// Time for a whole connection.
const PATIENCE: Duration = Duration::from_secs(30);
const CRL_TYPE: &str = "application/pkix-crl";
const OCSP_TYPE: &str = "application/ocsp-response";

/// Serves until dropped.
pub(in crate::operator) async fn serve(
    listener: TcpListener,
    cache: Arc<Cache>,
    challenges: Arc<Challenges>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "revocation port could not accept");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (cache, challenges) = (cache.clone(), challenges.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request: Request<Incoming>| {
                let (cache, challenges) = (cache.clone(), challenges.clone());
                async move { Ok::<_, Infallible>(respond(&cache, &challenges, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away, or stays for too long, is no news.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
        });
    }
}

async fn respond(
    cache: &Cache,
    challenges: &Challenges,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if let Some(token) = path.strip_prefix("/.well-known/acme-challenge/") {
        return match challenges.get(token).await {
            Some(file) => ok("application/octet-stream", file.into_bytes(), None),
            None => refuse(StatusCode::NOT_FOUND),
        };
    }
    let mut parts = path.trim_start_matches('/').splitn(4, '/');
    let (what, namespace, name, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(what), Some(namespace), Some(name)) = (what, namespace, name) else {
        return refuse(StatusCode::NOT_FOUND);
    };
    match what {
        "crl" if *request.method() != Method::GET => only("GET"),
        "crl" => list(cache, namespace, name, rest).await,
        "ocsp" => {
            let asked = match *request.method() {
                Method::POST => Limited::new(request.into_body(), LONGEST_REQUEST)
                    .collect()
                    .await
                    .ok()
                    .map(|body| body.to_bytes().to_vec()),
                Method::GET => rest.and_then(decoded),
                _ => return only("GET, POST"),
            };
            status(cache, namespace, name, asked).await
        }
        _ => refuse(StatusCode::NOT_FOUND),
    }
}

async fn list(
    cache: &Cache,
    namespace: &str,
    name: &str,
    rest: Option<&str>,
) -> Response<Full<Bytes>> {
    let (name, serial) = match rest {
        Some(serial) => (Some(name), serial.strip_suffix(".crl")),
        None => (name.strip_suffix(".crl"), None),
    };
    let Some(name) = name.filter(|_| rest.is_some() == serial.is_some()) else {
        return refuse(StatusCode::NOT_FOUND);
    };
    let published = match cache.get(namespace, name).await {
        Ok(Some(published)) => published,
        Ok(None) => return refuse(StatusCode::NOT_FOUND),
        Err(error) => return failed(&error),
    };
    let serial = serial.or(published.signer.as_deref());
    match serial.and_then(|serial| published.lists.get(serial)) {
        Some(der) => ok(CRL_TYPE, der.clone(), published.next_update),
        None => refuse(StatusCode::NOT_FOUND),
    }
}

async fn status(
    cache: &Cache,
    namespace: &str,
    name: &str,
    asked: Option<Vec<u8>>,
) -> Response<Full<Bytes>> {
    let Some(asked) = asked else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let published = match cache.get(namespace, name).await {
        Ok(Some(published)) => published,
        Ok(None) => return refuse(StatusCode::NOT_FOUND),
        Err(error) => return failed(&error),
    };
    match published.answer(&asked) {
        Ok(Answer { der, next_update }) => ok(OCSP_TYPE, der, next_update),
        Err(error) => failed(&error),
    }
}

/// A request in a path: base64, which may be percent-encoded.
fn decoded(text: &str) -> Option<Vec<u8>> {
    if text.len() > LONGEST_REQUEST * 2 {
        return None;
    }
    let plain = text
        .replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%2F", "/")
        .replace("%2f", "/")
        .replace("%3D", "=")
        .replace("%3d", "=");
    STANDARD.decode(plain).ok()
}

fn ok(kind: &'static str, body: Vec<u8>, until: Option<Timestamp>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let left = until.map_or(0, |until| until.duration_since(Timestamp::now()).as_secs());
    // A twentieth of what is left, so that what is revoked meanwhile is soon known behind a cache too.
    let keep = match left / 20 {
        seconds if seconds > 0 => format!("max-age={}, public, no-transform", seconds.min(300)),
        _ => "no-store".to_owned(),
    };
    if let Ok(keep) = HeaderValue::from_str(&keep) {
        headers.insert(CACHE_CONTROL, keep);
    }
    response
}

fn refuse(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"nothing here\n")));
    *response.status_mut() = status;
    response
}

fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Told in the log only: who asks is a stranger.
fn failed(error: &dyn std::fmt::Display) -> Response<Full<Bytes>> {
    tracing::warn!(%error, "the revocation port can not answer");
    refuse(StatusCode::SERVICE_UNAVAILABLE)
}
