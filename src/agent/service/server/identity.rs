//! The server's certificate, read anew when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use crate::crypto::digest::Sha256;
use crate::tls::bundle::TlsSet;
use crate::tls::client::ClientError;
use crate::tls::private::PrivatePem;
use crate::tls::server;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(in crate::agent::service) enum IdentityError {
    /// Not there yet, or not readable.
    #[error("{0} can not be read: {1}")]
    Unreadable(String, io::Error),
    /// Not usable.
    #[error("the files in {0} are not usable: {1}")]
    Unusable(String, ClientError),
}

/// A directory with `ca.crt`, `tls.crt` and `tls.key`: a Secret volume, whose links are swapped when it changes.
#[derive(Debug)]
pub(super) struct Identity {
    directory: PathBuf,
    last: Mutex<Option<([u8; 32], Arc<ServerConfig>)>>,
}

impl Identity {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            last: Mutex::new(None),
        }
    }

    /// The configuration for the next handshake. While a new set is unusable the last good one stays.
    pub(super) fn current(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let made = read(&self.directory).and_then(|set| {
            let digest = digest(&set);
            match &*last {
                Some((same, config)) if *same == digest => Ok((digest, config.clone())),
                _ => server::mutual(&set)
                    .map(|config| (digest, config))
                    .map_err(|error| self.unusable(error)),
            }
        });
        match (made, &*last) {
            (Ok((digest, config)), _) => {
                *last = Some((digest, config.clone()));
                Ok(config)
            }
            (Err(error), Some((_, config))) => {
                tracing::warn!(%error, "the last certificate stays in use");
                Ok(config.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn unusable(&self, error: ClientError) -> IdentityError {
        IdentityError::Unusable(self.directory.display().to_string(), error)
    }
}

/// The set in `directory` as it is now.
pub(in crate::agent::service) fn read(directory: &Path) -> Result<TlsSet, IdentityError> {
    let file = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path)
            .map_err(|error| IdentityError::Unreadable(path.display().to_string(), error))
    };
    Ok(TlsSet {
        ca: file("ca.crt")?,
        certificate: file("tls.crt")?,
        key: PrivatePem::new(file("tls.key")?),
    })
}

fn digest(set: &TlsSet) -> [u8; 32] {
    let mut digest = Sha256::default();
    for part in [&set.ca, &set.certificate, set.key.expose()] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish()
}
