//! One request to a REST service over a connection of its own: no pool and no redirect, an end in time and in size.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::error::Class;

/// One try, connection included.
const PATIENCE: Duration = Duration::from_secs(10);
const NO_ROOTS: &str =
    "the image has no certificates of authorities: it lacks the package ca-certificates";
/// No answer that is expected is longer.
const BODY_LIMIT: usize = 1 << 20;

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// Sent as `Bearer`.
    pub(super) token: Option<&'a str>,
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// The authorities that are trusted, in PEM, instead of the system's.
    pub(super) roots: Option<&'a [u8]>,
    /// Type and content.
    pub(super) body: Option<(&'static str, &'a [u8])>,
}

impl<'a> Request<'a> {
    pub(super) fn get(url: &'a str) -> Self {
        Self {
            method: Method::GET,
            url,
            token: None,
            headers: &[],
            roots: None,
            body: None,
        }
    }

    pub(super) fn post(url: &'a str, kind: &'static str, body: &'a [u8]) -> Self {
        Self {
            method: Method::POST,
            body: Some((kind, body)),
            ..Self::get(url)
        }
    }

    #[must_use]
    pub(super) fn bearer(mut self, token: &'a str) -> Self {
        self.token = Some(token);
        self
    }
}

/// An answer of whatever status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What `Retry-After` asks for, when it is in seconds.
    pub(crate) after: Option<Duration>,
    /// May hold a token or a key.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// What went wrong, before anybody knows for which key.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) message: String,
    pub(crate) after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            after: None,
        }
    }
}

/// Asks once.
pub(super) async fn send(request: Request<'_>) -> Result<Answer, Failure> {
    let malformed = || Failure::new(Class::Malformed, format!("{:?} is no URL", request.url));
    let uri: Uri = request.url.parse().map_err(|_| malformed())?;
    let asked = compose(&uri, &request)
        .map_err(|error| Failure::new(Class::Malformed, format!("no request: {error}")))?;
    let response = exchange(&uri, request.roots, asked).await?;
    let after = response.headers().get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Answer {
        status: response.status().as_u16(),
        after: after.map(Duration::from_secs),
        body: Zeroizing::new(response.into_body().into()),
    })
}

/// One request, whose URI is a path, to the host of `uri`; the answer with its headers. `roots` in PEM are trusted instead of the system's.
pub(crate) async fn exchange(
    uri: &Uri,
    roots: Option<&[u8]>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<hyper::Response<Bytes>, Failure> {
    let host = uri.host().unwrap_or_default();
    let silent = || Failure::new(Class::Unavailable, format!("{host} timed out"));
    tokio::time::timeout(PATIENCE, connected(uri, roots, request))
        .await
        .unwrap_or_else(|_| Err(silent()))
}

async fn connected(
    uri: &Uri,
    roots: Option<&[u8]>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<hyper::Response<Bytes>, Failure> {
    let malformed = || Failure::new(Class::Malformed, format!("{uri:?} is no URL"));
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(malformed()),
    };
    let host = uri.host().ok_or_else(malformed)?;
    // IPv6 is in brackets in a URL and without them everywhere else.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let unreachable = |error| Failure::new(Class::Unavailable, format!("{host}:{port}: {error}"));
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(unreachable)?;
    if !secure {
        return converse(stream, host, request).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| malformed())?;
    let stream = TlsConnector::from(trust(roots)?)
        .connect(name, stream)
        .await;
    let stream = stream.map_err(|error| {
        // A certificate that does not fit is not healed by trying again.
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        let class = match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Class::Malformed,
            _ => Class::Unavailable,
        };
        Failure::new(class, format!("TLS with {host}:{port}: {error}"))
    })?;
    converse(stream, host, request).await
}

/// The roots that are given, or those of the system, read each time: requests are rare, and the files may have changed in between.
fn trust(given: Option<&[u8]>) -> Result<Arc<ClientConfig>, Failure> {
    let unusable =
        |error: &dyn std::fmt::Display| Failure::new(Class::Malformed, error.to_string());
    let mut roots = RootCertStore::empty();
    let lacking = match given {
        Some(pem) => {
            let found = CertificateDer::pem_slice_iter(pem).flatten();
            roots.add_parsable_certificates(found);
            "the CA that is to be trusted is no certificate in PEM"
        }
        None => {
            roots.add_parsable_certificates(system_roots()?);
            NO_ROOTS
        }
    };
    if roots.is_empty() {
        return Err(unusable(&lacking));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The authorities that the system trusts: those of the image.
pub(super) fn system_roots() -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return Err(Failure::new(Class::Malformed, NO_ROOTS));
    }
    Ok(found)
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    request: hyper::Request<Full<Bytes>>,
) -> Result<hyper::Response<Bytes>, Failure> {
    let broken = |error: hyper::Error| {
        Failure::new(Class::Unavailable, format!("{host} broke off: {error}"))
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect();
        let body = body.await.map_err(|error| {
            Failure::new(Class::Unavailable, format!("its answer broke off: {error}"))
        })?;
        Ok(hyper::Response::from_parts(head, body.to_bytes()))
    };
    // The connection lives in this future: when the answer is there, the socket is closed.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

fn compose(
    uri: &Uri,
    request: &Request<'_>,
) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut asked = hyper::Request::builder()
        .method(request.method.clone())
        .uri(path)
        .header(HOST, authority)
        .header(CONNECTION, "close");
    if let Some(token) = request.token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        asked = asked.header(AUTHORIZATION, value);
    }
    for (name, value) in request.headers {
        asked = asked.header(*name, *value);
    }
    let mut content = Bytes::new();
    if let Some((kind, body)) = request.body {
        asked = asked.header(CONTENT_TYPE, kind);
        content = Bytes::copy_from_slice(body);
    }
    asked.body(Full::new(content))
}

/// A string that is wiped when it was used.
pub(crate) fn secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Zeroizing<String>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Zeroizing::new)
}

/// Pairs as `application/x-www-form-urlencoded`.
pub(super) fn form(pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::new());
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(b'&');
        }
        escape(name, &mut text);
        text.push(b'=');
        escape(value, &mut text);
    }
    text
}

fn escape(plain: &str, text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            text.extend([b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}

/// The beginning of what a server said, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let text: String = text.trim().chars().take(300).collect();
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::{Class, Request, excerpt, form, send};

    #[test]
    fn a_form_escapes_everything_that_is_not_plain() {
        let text = form(&[("a", "b c"), ("url", "https://x/ü?y=1&z")]);
        assert_eq!(
            String::from_utf8_lossy(&text),
            "a=b%20c&url=https%3A%2F%2Fx%2F%C3%BC%3Fy%3D1%26z"
        );
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" a\nb "), "a b");
        assert_eq!(excerpt(&"x".repeat(9999)).len(), 300);
    }

    #[tokio::test]
    async fn what_is_no_url_is_malformed_and_what_is_not_there_is_unavailable() {
        for (url, class) in [
            ("ftp://x/", Class::Malformed),
            ("nonsense", Class::Malformed),
            ("http://127.0.0.1:1/", Class::Unavailable),
        ] {
            let failure = send(Request::get(url)).await.err().unwrap();
            assert_eq!(failure.class, class, "{}", failure.message);
        }
    }
}
