//! TLS by OpenSSL under TiKV's rules for reloading: the server looks at the mtime of the certificate file alone, and
//! records it before it tries to load; what cannot be loaded leaves the old pair in place (facts, TLS §2.1).

use std::sync::Mutex;
use std::time::SystemTime;

use openssl::ssl::{
    AlpnError, SslAcceptor, SslConnector, SslFiletype, SslMethod, SslRef, SslVerifyMode, select_next_proto,
};

use crate::{Result, log};

const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Paths of PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// A server's side.
pub struct Acceptor {
    files: Files,
    demand: bool,
    names: Vec<String>,
    state: Mutex<(Option<SystemTime>, SslAcceptor)>,
}

impl Acceptor {
    /// Loads the files; with `demand` a caller must show a certificate of the CA, with `names` one with such a CN.
    pub fn new(files: Files, demand: bool, names: Vec<String>) -> Result<Self> {
        let acceptor = load(&files, demand)?;
        let state = Mutex::new((modified(&files.cert), acceptor));
        Ok(Self { files, demand, names, state })
    }

    /// What the next connection is served with.
    pub fn current(&self) -> SslAcceptor {
        let mut state = self.state.lock().expect("no holder panics");
        let seen = modified(&self.files.cert);
        if seen.is_some() && seen != state.0 {
            state.0 = seen;
            match load(&self.files, self.demand) {
                Ok(acceptor) => state.1 = acceptor,
                Err(error) => log(&format!("Handshaker factory creation failed: {error}")),
            }
        }
        state.1.clone()
    }

    /// Whether the caller's common name is admitted. TiKV 9 admits names that contain an entry.
    pub fn admits(&self, ssl: &SslRef) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let Some(certificate) = ssl.peer_certificate() else { return false };
        let mut names = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME);
        names.any(|name| {
            let name = String::from_utf8_lossy(name.data().as_slice()).into_owned();
            self.names.iter().any(|allowed| name.contains(allowed))
        })
    }
}

/// A client's side; files are read for each connection.
pub fn connector(files: &Files) -> Result<SslConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(text)?;
    builder.set_ca_file(&files.ca).map_err(text)?;
    builder.set_certificate_chain_file(&files.cert).map_err(text)?;
    builder.set_private_key_file(&files.key, SslFiletype::PEM).map_err(text)?;
    builder.set_alpn_protos(b"\x02h2").map_err(text)?;
    Ok(builder.build())
}


fn load(files: &Files, demand: bool) -> Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(text)?;
    builder.set_ca_file(&files.ca).map_err(text)?;
    builder.set_certificate_chain_file(&files.cert).map_err(text)?;
    builder.set_private_key_file(&files.key, SslFiletype::PEM).map_err(text)?;
    builder.check_private_key().map_err(text)?;
    let mode = if demand { SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT } else { SslVerifyMode::NONE };
    builder.set_verify(mode);
    builder.set_session_id_context(b"standin").map_err(text)?;
    builder.set_alpn_select_callback(|_, client| select_next_proto(PROTOCOLS, client).ok_or(AlpnError::NOACK));
    Ok(builder.build())
}

fn modified(path: &str) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
