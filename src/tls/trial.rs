//! Whether a port accepts a certificate: not by the handshake alone, because with TLS 1.3 a client's handshake has ended before
//! the server has looked at its certificate, but by whether anything is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::bundle::TlsSet;
use super::client::{grpc, mutual};
use super::mysql::NOBODY;
use super::probe::{ProbeError, Protocol};

/// The beginning of an HTTP/2 connection, and empty settings (RFC 9113 §3.4). A server answers with its own settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether the port refuses the set, while it does not refuse `own`, by which it is known that the port works and answers.
pub async fn refuses(
    address: SocketAddr,
    name: &str,
    protocol: Protocol,
    set: &TlsSet,
    own: &TlsSet,
    patience: Duration,
) -> Result<bool, String> {
    let shown = |set: &TlsSet| {
        let config = match protocol {
            Protocol::Grpc => grpc(set),
            Protocol::Http | Protocol::Mysql => mutual(set),
        };
        config.map_err(|error| error.to_string())
    };
    let (own, set) = (shown(own)?, shown(set)?);
    let ask = |config| answered(address, name, protocol, config, patience);
    let problem = |error: ProbeError| error.to_string();
    let too = || Err(format!("{address} refuses the operator too"));
    if !ask(own.clone()).await.map_err(problem)? {
        return too();
    }
    let refused = !ask(set).await.map_err(problem)?;
    // A port that went away in between refuses nothing.
    if refused && !ask(own).await.map_err(problem)? {
        return too();
    }
    Ok(refused)
}

/// Whether a port says anything to whoever shows this. No connection and silence are errors: they prove nothing.
async fn answered(
    address: SocketAddr,
    name: &str,
    protocol: Protocol,
    config: Arc<ClientConfig>,
    patience: Duration,
) -> Result<bool, ProbeError> {
    let server =
        ServerName::try_from(name.to_owned()).map_err(|_| ProbeError::Name(name.to_owned()))?;
    let talk = async {
        let stream = protocol
            .open(address)
            .await
            .map_err(|error| ProbeError::Connect(address, error))?;
        let said = async {
            let mut stream = TlsConnector::from(config).connect(server, stream).await?;
            let request =
                format!("GET /status HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            let request = match protocol {
                Protocol::Grpc => PREFACE,
                Protocol::Http => request.as_bytes(),
                Protocol::Mysql => &NOBODY,
            };
            stream.write_all(request).await?;
            stream.flush().await?;
            stream.read(&mut [0_u8; 16]).await
        };
        // An alert or the end of the connection before a single byte is how TLS says no.
        Ok(said.await.is_ok_and(|bytes| bytes > 0))
    };
    tokio::time::timeout(patience, talk)
        .await
        .unwrap_or(Err(ProbeError::TimedOut(address, patience)))
}
