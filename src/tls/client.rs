//! TLS client configuration from the set in a Secret.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::bundle::TlsSet;
use super::parse::{ParseError, ders};

/// Why a set can not be used by a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate is unreadable.
    #[error("a certificate of the set is unusable: {0}")]
    Certificate(#[from] ParseError),
    /// The key is unreadable.
    #[error("the private key of the set is unusable")]
    Key,
    /// The library refused.
    #[error("the set is unusable: {0}")]
    Library(#[from] rustls::Error),
}

/// Mutual TLS over HTTP/1.1: trusts only the set's anchors and shows its certificate.
/// TLS 1.2 stays allowed because TiKV's status port speaks nothing else (facts, TLS §2.2).
pub fn mutual(set: &TlsSet) -> Result<Arc<ClientConfig>, ClientError> {
    let (chain, key) = identity(set)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&set.ca)?)
        .with_client_auth_cert(chain, key)?;
    // A resumed session would hide a renewed certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// As [`mutual`], for gRPC: TiKV closes connections that do not ask for HTTP/2 (facts, TLS §2.1).
pub fn grpc(set: &TlsSet) -> Result<Arc<ClientConfig>, ClientError> {
    let mut config = Arc::unwrap_or_clone(mutual(set)?);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Certificate chain and key, in the form that rustls takes.
pub(super) fn identity(
    set: &TlsSet,
) -> Result<
    (
        Vec<rustls::pki_types::CertificateDer<'static>>,
        PrivateKeyDer<'static>,
    ),
    ClientError,
> {
    let chain = ders(&set.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(set.key.expose()).map_err(|_| ClientError::Key)?;
    Ok((chain, key))
}

/// Trust anchors from PEM.
pub fn roots(ca: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut store = RootCertStore::empty();
    for der in ders(ca)? {
        store.add(der)?;
    }
    Ok(store)
}

/// The one cryptography provider of the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
