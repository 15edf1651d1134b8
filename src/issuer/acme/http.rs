//! HTTP for the ACME library: a connection for each request, with the roots that are trusted for this server alone.

use std::pin::Pin;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::kms::Class;
use crate::kms::rest::{Failure, exchange};

/// Servers want to know who asks (RFC 8555 §6.1).
const AGENT: &str = concat!("tikv-security/", env!("CARGO_PKG_VERSION"));

/// The client.
#[derive(Clone)]
pub(super) struct Http {
    /// PEM.
    roots: Arc<[u8]>,
}

impl Http {
    pub(super) fn new(roots: &[u8]) -> Self {
        Self {
            roots: roots.into(),
        }
    }

    /// Fetches a document.
    pub(super) async fn get(&self, url: &str) -> Result<Response<Bytes>, Failure> {
        let request = Request::builder()
            .uri(url)
            .header(USER_AGENT, AGENT)
            .body(Full::default());
        let request =
            request.map_err(|error| Failure::new(Class::Malformed, format!("{url}: {error}")))?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let (mut head, body) = request.into_parts();
        let uri = std::mem::take(&mut head.uri);
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority);
        head.headers
            .insert(HOST, host.unwrap_or(HeaderValue::from_static("")));
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
        let path = uri.path_and_query().cloned();
        head.uri = path.map_or_else(Uri::default, Uri::from);
        exchange(&uri, Some(&self.roots), Request::from_parts(head, body)).await
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let body = body.unwrap_or_else(|never| match never {});
            let answer = http
                .send(Request::from_parts(head, Full::new(body)))
                .await
                .map_err(|failure| Error::Other(Box::new(Unreached(failure))))?;
            let (parts, body) = answer.into_parts();
            if let Some(failure) = of_proxy(parts.status, &body) {
                return Err(Error::Other(Box::new(Unreached(failure))));
            }
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// What a proxy says in the place of a server that is away: no problem document (RFC 7807), so the library could not read it.
fn of_proxy(status: StatusCode, body: &[u8]) -> Option<Failure> {
    let problem = body.trim_ascii_start().first() == Some(&b'{');
    let away = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    (away && !problem).then(|| Failure::new(Class::Unavailable, format!("HTTP status {status}")))
}

/// What went wrong below ACME.
#[derive(Debug)]
pub(super) struct Unreached(pub(super) Failure);

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Unreached {}

#[cfg(test)]
mod tests {
    use super::{Class, StatusCode, of_proxy};

    #[test]
    fn a_proxy_is_told_from_a_server_that_refuses() {
        let away = of_proxy(StatusCode::BAD_GATEWAY, b"<html>502 Bad Gateway</html>").unwrap();
        assert_eq!(away.class, Class::Unavailable);
        assert!(of_proxy(StatusCode::TOO_MANY_REQUESTS, b"").is_some());
        let problem = br#" {"type": "urn:ietf:params:acme:error:serverInternal"}"#;
        assert!(of_proxy(StatusCode::INTERNAL_SERVER_ERROR, problem).is_none());
        assert!(of_proxy(StatusCode::OK, b"-----BEGIN CERTIFICATE-----").is_none());
    }
}
