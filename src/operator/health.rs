//! `/healthz`, `/readyz` and `/metrics` over plain HTTP. Health never depends on the cluster: a restart would
//! not mend it. Readiness does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// The type that Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What `/readyz` says.
#[derive(Debug, Default)]
pub struct Readiness {
    crds: AtomicBool,
}

impl Readiness {
    /// The custom resources are served: the operator can do its work, or stand by for it.
    pub fn crds_served(&self, served: bool) {
        self.crds.store(served, Ordering::Relaxed);
    }

    fn ready(&self) -> bool {
        self.crds.load(Ordering::Relaxed)
    }
}

/// The listener, bound, so that a port in use is found at start.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, readiness: Arc<Readiness>, metrics: Arc<Metrics>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors and the like: breathe, then go on.
                tracing::warn!(%error, "health port could not accept");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        let (readiness, metrics) = (readiness.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.uri().path(), &readiness, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            // A client that goes away is no news.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(path: &str, readiness: &Readiness, metrics: &Metrics) -> Response<Full<Bytes>> {
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if readiness.ready() => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the custom resources of tikv-security are not served; install crds/\n".to_owned(),
        ),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.render());
            response.headers_mut().insert(
                CONTENT_TYPE,
                hyper::header::HeaderValue::from_static(OPENMETRICS),
            );
            response
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tikv::http::{Endpoint, Transport};

    #[tokio::test]
    async fn health_is_not_readiness() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
        let readiness = Arc::new(Readiness::default());
        let metrics = Arc::new(Metrics::default());
        metrics.reconciled("ns", "demo");
        tokio::spawn(serve(listener, readiness.clone(), metrics));
        let transport = Transport {
            tls: None,
            patience: std::time::Duration::from_secs(5),
        };
        let status = async |path| transport.get(&endpoint, path).await.unwrap();
        assert_eq!(status("/healthz").await.status, 200);
        assert_eq!(status("/readyz").await.status, 503);
        readiness.crds_served(true);
        assert_eq!(status("/readyz").await.status, 200);
        assert_eq!(status("/else").await.status, 404);
        let metrics = status("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        assert!(
            text.contains("tikv_security_reconciles_total{namespace=\"ns\",name=\"demo\"} 1"),
            "{text}"
        );
    }
}
