//! One handshake under given conditions, and whether the server talks to us afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Question;
use crate::tls::bundle::TlsSet;
use crate::tls::client::{ClientError, identity, provider};
use crate::tls::mysql::NOBODY;
use crate::tls::probe::{Protocol, Witness};

/// The beginning of an HTTP/2 connection: preface and an empty SETTINGS frame (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub(super) const REQUEST: &[u8] =
    b"GET /status HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

/// A certificate with its key, ready to be shown.
#[derive(Clone, Debug)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// From PEM.
    pub fn new(set: &TlsSet) -> Result<Self, ClientError> {
        let (chain, key) = identity(set)?;
        let key = provider().key_provider.load_private_key(key)?;
        Ok(Self(Arc::new(CertifiedKey::new(chain, key))))
    }
}

/// What client and server agreed upon.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// As IANA names it.
    pub suite: String,
    /// Group of the key exchange.
    pub group: Option<String>,
    /// Application protocol.
    pub alpn: Option<String>,
    /// Whether the server asked for our certificate.
    pub asked: bool,
    /// Whether it talks to us afterwards.
    pub admission: Admission,
    /// Time of the whole handshake, without connecting.
    pub full: Duration,
    /// The same for a session that was taken up again; none when the server does not do that.
    pub resumed: Option<Duration>,
}

/// Whether the server talks to us. In TLS 1.3 a client certificate is refused only after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It answered.
    Answered,
    /// It ended the connection, in words.
    Refused(String),
}

/// An attempt and what was seen on the way.
pub(super) struct Tried {
    pub(super) chain: Option<Vec<CertificateDer<'static>>>,
    pub(super) outcome: Result<Agreed, String>,
}

/// Shakes hands in one version, with the suites of `suites`.
pub(super) async fn attempt(
    question: &Question,
    suites: Arc<CryptoProvider>,
    version: &'static SupportedProtocolVersion,
) -> Tried {
    let witness = Arc::new(Witness::new());
    let asked = Arc::new(Asked {
        identity: question.identity.clone(),
        asked: AtomicBool::new(false),
    });
    let config = ClientConfig::builder_with_provider(suites).with_protocol_versions(&[version]);
    let mut config = match config {
        Ok(config) => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as _)
            .with_client_cert_resolver(Arc::clone(&asked) as _),
        Err(error) => {
            return Tried {
                chain: None,
                outcome: Err(error.to_string()),
            };
        }
    };
    if question.protocol == Protocol::Grpc {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let outcome = both(question, TlsConnector::from(Arc::new(config)), &asked).await;
    Tried {
        chain: witness.seen(),
        outcome,
    }
}

/// A full handshake, and one that takes the session up again.
async fn both(
    question: &Question,
    connector: TlsConnector,
    asked: &Asked,
) -> Result<Agreed, String> {
    let (stream, full) = connect(question, &connector).await?;
    let (_, connection) = stream.get_ref();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut agreed = Agreed {
        suite: connection
            .negotiated_cipher_suite()
            .map(|suite| suite_name(suite.suite()))
            .unwrap_or_default(),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name())),
        alpn: connection.alpn_protocol().map(text),
        asked: asked.asked.load(Ordering::Relaxed),
        admission: Admission::Answered,
        full,
        resumed: None,
    };
    // The tickets of TLS 1.3 come with the first answer.
    agreed.admission = converse(question, stream).await;
    if agreed.admission == Admission::Answered
        && let Ok((stream, time)) = connect(question, &connector).await
        && stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    {
        agreed.resumed = Some(time);
    }
    Ok(agreed)
}

async fn connect(
    question: &Question,
    connector: &TlsConnector,
) -> Result<(TlsStream<TcpStream>, Duration), String> {
    let work = async {
        let stream = question.protocol.open(question.address).await?;
        let begin = Instant::now();
        let stream = connector.connect(question.name.clone(), stream).await?;
        Ok::<_, std::io::Error>((stream, begin.elapsed()))
    };
    match tokio::time::timeout(question.patience, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no handshake in {:?}", question.patience)),
    }
}

/// Says the first words of the protocol and waits for any answer.
async fn converse(question: &Question, mut stream: TlsStream<TcpStream>) -> Admission {
    let words = match question.protocol {
        Protocol::Grpc => PREFACE,
        Protocol::Http => REQUEST,
        Protocol::Mysql => &NOBODY,
    };
    let work = async {
        stream.write_all(words).await?;
        stream.flush().await?;
        let mut answer = [0_u8; 1];
        stream.read_exact(&mut answer).await
    };
    match tokio::time::timeout(question.patience, work).await {
        Ok(Ok(_)) => Admission::Answered,
        Ok(Err(error)) => Admission::Refused(error.to_string()),
        Err(_) => Admission::Refused(format!("no answer in {:?}", question.patience)),
    }
}

/// As people write it.
pub(super) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        _ => "another version",
    }
}

/// As IANA writes it.
pub(super) fn suite_name(suite: CipherSuite) -> String {
    let name = format!("{suite:?}");
    name.strip_prefix("TLS13_")
        .map_or(name.clone(), |rest| format!("TLS_{rest}"))
}

/// Shows our certificate, if there is one, and remembers that somebody asked.
#[derive(Debug)]
struct Asked {
    identity: Option<Identity>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.identity
            .as_ref()
            .map(|identity| Arc::clone(&identity.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
