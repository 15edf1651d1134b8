//! Stand-ins for key management services that no package registry carries: the real wire protocol and real
//! cryptography, answers and refusals in the words of the vendors' API documentation. Not the services themselves.
//! Vault is a real one; only what it can not be made to do is played.

pub mod azure;
pub mod gcp;
pub mod tape;
pub mod vault;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tikv_security::kms::Kms;
use tokio::net::TcpListener;

use self::tape::Tape;

/// What can befall the one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// All is well.
    Fair,
    /// Too many requests; come back in two seconds.
    Throttled,
    /// The service is down.
    Down,
    /// A proxy answers in its place.
    Proxy,
    /// No answer for a long time.
    Slow,
    /// Half of an answer.
    Torn,
    /// Something else than what was asked for.
    Nonsense,
    /// The identity has no right to use the key.
    Forbidden,
    /// The token of the identity is not taken any more.
    Expired,
    /// The identity service finds the clock of the one who asks wrong.
    ClockSkew,
    /// The key is disabled.
    Disabled,
    /// The key waits for its deletion.
    PendingDeletion,
}

/// A service with the keys `one` and `other`, and `signing`, which can not wrap.
pub trait Standin {
    /// A client for a key by its short name; one that is not there is for `missing`.
    fn kms(&self, key: &str) -> Box<dyn Kms>;
    /// From now on.
    fn set(&self, weather: Weather);
    /// Replaces the key's current version by a new one, as a rotation at the vendor does.
    fn rotate(&self, key: &str);
    /// Whether a key that is to be deleted can still be got back.
    fn deletes_later(&self) -> bool {
        true
    }
    /// What was said so far, to be said again.
    fn tape(&self) -> &Tape;
}

/// A request, whole.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A field of a form.
    pub fn field(&self, name: &str) -> String {
        let text = std::str::from_utf8(&self.body).unwrap();
        let fields = text.split('&').filter_map(|pair| pair.split_once('='));
        let value = fields.into_iter().find(|(found, _)| *found == name);
        unescape(value.map_or("", |(_, value)| value))
    }
}

/// An answer.
#[derive(Clone)]
pub struct Said {
    pub status: u16,
    pub body: Vec<u8>,
    pub after: Option<u32>,
}

impl Said {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            body: body.to_string().into_bytes(),
            after: None,
        }
    }
}

/// What a proxy says when it reaches nobody.
pub fn html(status: u16) -> Said {
    Said {
        status,
        body: b"<html>Bad gateway</html>".to_vec(),
        after: None,
    }
}

/// Serves on a port of its own until the runtime ends; gives the URL.
pub async fn serve(
    tape: Tape,
    weather: impl Fn() -> Weather + Send + Sync + 'static,
    answer: impl Fn(Asked) -> Said + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Arc::new((weather, answer, tape));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let work = service_fn(|request: Request<Incoming>| {
                    let service = service.clone();
                    async move {
                        let asked = Asked {
                            method: request.method().to_string(),
                            path: request.uri().to_string(),
                            headers: request.headers().clone(),
                            body: request.into_body().collect().await.unwrap().to_bytes(),
                        };
                        if service.0() == Weather::Slow {
                            tokio::time::sleep(Duration::from_mins(1)).await;
                        }
                        let torn = service.0() == Weather::Torn;
                        let said = service.2.or_else(|| service.1(asked));
                        Ok::<_, Infallible>(response(said, torn))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), work)
                    .await;
            });
        }
    });
    url
}

fn response(said: Said, torn: bool) -> Response<Full<Bytes>> {
    let mut body = said.body;
    if torn {
        body.truncate(body.len() / 2);
    }
    let mut response = Response::builder().status(said.status);
    if let Some(seconds) = said.after {
        response = response.header("retry-after", seconds.to_string());
    }
    response.body(Full::new(Bytes::from(body))).unwrap()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Signs a SHA-256 digest: ECDSA, DER of r and s, or RSA, PKCS#1 v1.5.
pub fn sign_digest(key: &openssl::pkey::PKey<openssl::pkey::Private>, digest: &[u8]) -> Vec<u8> {
    let mut work = openssl::pkey_ctx::PkeyCtx::new(key).unwrap();
    work.sign_init().unwrap();
    if key.rsa().is_ok() {
        work.set_rsa_padding(openssl::rsa::Padding::PKCS1).unwrap();
    }
    work.set_signature_md(openssl::md::Md::sha256()).unwrap();
    let mut signature = Vec::new();
    work.sign_to_vec(digest, &mut signature).unwrap();
    signature
}

/// The claims of a JWT, if `key` signed it with RS256.
pub fn claims(
    jwt: &str,
    key: &openssl::pkey::PKey<openssl::pkey::Public>,
) -> Option<(serde_json::Value, serde_json::Value)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    let (signed, signature) = jwt.rsplit_once('.')?;
    let digest = openssl::hash::MessageDigest::sha256();
    let mut verifier = openssl::sign::Verifier::new(digest, key).ok()?;
    let signature = B64.decode(signature).ok()?;
    if !verifier
        .verify_oneshot(&signature, signed.as_bytes())
        .ok()?
    {
        return None;
    }
    let (header, claims) = signed.split_once('.')?;
    let parse = |part: &str| serde_json::from_slice(&B64.decode(part).ok()?).ok();
    Some((parse(header)?, parse(claims)?))
}
