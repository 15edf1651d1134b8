//! What a port really serves: one handshake, looked at and closed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::bundle::{TlsSet, unix};
use super::client::{ClientError, identity, provider, roots};
use super::mysql;
use super::parse::{CertificateInfo, ParseError, parse_der};

/// What a port serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The certificate that was shown.
    pub certificate: CertificateInfo,
    /// True when it is signed by the set's CA, valid and good for the name that was asked for.
    pub trusted: bool,
}

/// What is on the port, so that the handshake offers what the port insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: refuses a peer without ALPN `h2` (facts, TLS §3.1).
    Grpc,
    /// HTTP, TLS 1.2 and 1.3.
    Http,
    /// MySQL: TLS begins when the client has asked for it.
    Mysql,
}

impl Protocol {
    /// A connection on which the next bytes are those of TLS.
    pub(super) async fn open(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        if self == Self::Mysql {
            mysql::ask_for_tls(&mut stream).await?;
        }
        Ok(stream)
    }
}

/// Why a port could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("{0} can not be connected: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// Silence.
    #[error("{0} did not finish the handshake in {1:?}")]
    TimedOut(SocketAddr, Duration),
    /// Connected, but no certificate was seen; mostly a plaintext port.
    #[error("{0} speaks no TLS or refused us: {1}")]
    NoTls(SocketAddr, std::io::Error),
    /// A certificate nobody can read.
    #[error("{0} serves a certificate that is unreadable: {1}")]
    Unreadable(SocketAddr, ParseError),
    /// A name that is none.
    #[error("{0:?} is no name that a server can have")]
    Name(String),
    /// Our own set is unusable.
    #[error("our own certificates: {0}")]
    Own(#[from] ClientError),
}

/// Shakes hands with `address` as `name` and tells what was served. The connection is closed at once,
/// because an idle one blocks TiKV's status port for everybody (facts, TLS §2.2).
pub async fn probe(
    address: SocketAddr,
    name: &str,
    protocol: Protocol,
    set: &TlsSet,
    now: Timestamp,
    patience: Duration,
) -> Result<Served, ProbeError> {
    let server_name =
        ServerName::try_from(name.to_owned()).map_err(|_| ProbeError::Name(name.to_owned()))?;
    let witness = Arc::new(Witness::new());
    let (chain, key) = identity(set)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(ClientError::from)?
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_client_auth_cert(chain, key)
        .map_err(ClientError::from)?;
    config.resumption = rustls::client::Resumption::disabled();
    if protocol == Protocol::Grpc {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let handshake = async {
        let stream = protocol
            .open(address)
            .await
            .map_err(|error| ProbeError::Connect(address, error))?;
        TlsConnector::from(Arc::new(config))
            .connect(server_name.clone(), stream)
            .await
            .map(drop)
            .map_err(|error| ProbeError::NoTls(address, error))
    };
    let outcome = tokio::time::timeout(patience, handshake)
        .await
        .unwrap_or(Err(ProbeError::TimedOut(address, patience)));
    // A server that refuses us still showed its certificate, and that is what was asked for.
    let Some(chain) = witness.seen() else {
        return Err(outcome.err().unwrap_or_else(|| {
            ProbeError::NoTls(address, std::io::ErrorKind::UnexpectedEof.into())
        }));
    };
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or(ProbeError::Unreadable(address, ParseError::Empty))?;
    let certificate = parse_der(leaf).map_err(|error| ProbeError::Unreadable(address, error))?;
    let trusted = WebPkiServerVerifier::builder_with_provider(roots(&set.ca)?.into(), provider())
        .build()
        .is_ok_and(|verifier| {
            verifier
                .verify_server_cert(leaf, intermediates, &server_name, &[], unix(now))
                .is_ok()
        });
    Ok(Served {
        certificate,
        trusted,
    })
}

/// Makes one handshake fail on purpose: the status port reloads its files only then (facts, TLS §9.2).
pub async fn provoke_reload(address: SocketAddr, patience: Duration) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let nonsense = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /status HTTP/1.1\r\n\r\n").await?;
        // Wait for the refusal, so that the server has seen it before the next handshake.
        let mut sink = [0_u8; 64];
        stream.read(&mut sink).await
    };
    // Nobody waits for an answer; the next handshake shows whether it helped.
    let _ = tokio::time::timeout(patience, nonsense).await;
}

/// Accepts every certificate and remembers it; the signature of the handshake is still checked.
#[derive(Debug)]
pub(super) struct Witness {
    chain: Mutex<Option<Vec<CertificateDer<'static>>>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self {
            chain: Mutex::new(None),
            provider: provider(),
        }
    }

    pub(super) fn seen(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.chain.lock().ok()?.take()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        if let Ok(mut seen) = self.chain.lock() {
            *seen = Some(chain);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
