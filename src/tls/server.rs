//! TLS server configuration from the set in a Secret.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::bundle::TlsSet;
use super::client::{ClientError, identity, provider, roots};

/// Mutual TLS: shows the set's certificate, and admits only who has one that the set's anchors signed.
pub fn mutual(set: &TlsSet) -> Result<Arc<ServerConfig>, ClientError> {
    let (chain, key) = identity(set)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&set.ca)?.into(), provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would keep an old certificate alive.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
