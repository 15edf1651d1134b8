//! The set of three PEM files in a Secret: does it hold together? Pure.

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::client::{provider, roots};
use super::leaf::{LeafSpec, LeafUse};
use super::parse::{CertificateInfo, ParseError, ders, parse_all, parse_one};
use super::private::PrivatePem;

/// `ca.crt`, `tls.crt` and `tls.key` of one Secret.
#[derive(Clone, Debug)]
pub struct TlsSet {
    /// Trust anchors.
    pub ca: Vec<u8>,
    /// The leaf and, after it, its intermediates.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: PrivatePem,
}

/// What is wrong with a set, in words for a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleProblem {
    /// `ca.crt` is unreadable.
    #[error("ca.crt: {0}")]
    Ca(ParseError),
    /// `tls.crt` is unreadable.
    #[error("tls.crt: {0}")]
    Certificate(ParseError),
    /// `tls.key` is unreadable.
    #[error("tls.key is not a private key in PEM that can be used")]
    Key,
    /// Key of another certificate.
    #[error("tls.key does not belong to tls.crt")]
    KeyMismatch,
    /// Chain broken.
    #[error("tls.crt is not signed by a certificate in ca.crt: {0}")]
    Untrusted(String),
    /// Over.
    #[error("tls.crt expired at {0}")]
    Expired(Timestamp),
    /// Not begun.
    #[error("tls.crt is valid only from {0}")]
    NotYetValid(Timestamp),
    /// A name is missing.
    #[error("tls.crt lacks the name {0}")]
    MissingName(String),
    /// Another common name.
    #[error("tls.crt has the common name {found:?} instead of {wanted:?}")]
    CommonName {
        /// What the certificate says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// One of the usages is missing.
    #[error("tls.crt may not be used both by a server and by a client")]
    Usage,
    /// Whoever has the key of a client could pass for a store.
    #[error("tls.crt is for a client and may be used by a server too")]
    ServerUsage,
    /// Another kind of key.
    #[error("tls.crt has a key of another kind than was asked for")]
    KeyAlgorithm,
    /// Not a client's.
    #[error("tls.crt may not be used by a client")]
    ClientUsage,
}

impl TlsSet {
    /// Checks the set by itself: readable, belongs together, valid now. Returns what the leaf says.
    pub fn check(&self, now: Timestamp) -> Result<CertificateInfo, BundleProblem> {
        let leaf = self.check_client(now)?;
        if !leaf.server_auth {
            return Err(BundleProblem::Usage);
        }
        Ok(leaf)
    }

    /// As `check`, of a set that only a client needs.
    pub fn check_client(&self, now: Timestamp) -> Result<CertificateInfo, BundleProblem> {
        parse_all(&self.ca).map_err(BundleProblem::Ca)?;
        let leaf = parse_one(&self.certificate).map_err(BundleProblem::Certificate)?;
        self.check_key(&leaf)?;
        if now > leaf.not_after {
            return Err(BundleProblem::Expired(leaf.not_after));
        }
        if now < leaf.not_before {
            return Err(BundleProblem::NotYetValid(leaf.not_before));
        }
        if !leaf.client_auth {
            return Err(BundleProblem::ClientUsage);
        }
        self.check_chain(now)?;
        Ok(leaf)
    }

    /// Checks the set against what it should be: as `check`, and the names of `spec` are all there.
    pub fn check_against(
        &self,
        spec: &LeafSpec,
        now: Timestamp,
    ) -> Result<CertificateInfo, BundleProblem> {
        let leaf = self.check(now)?;
        has(&leaf, spec)?;
        Ok(leaf)
    }

    /// Checks a set that was just made: the names of `spec` are all there, its key is of the kind that was asked for, and it may be used
    /// for what it is to be used, and by a client's key for nothing else.
    pub fn check_order(
        &self,
        spec: &LeafSpec,
        what_for: LeafUse,
        now: Timestamp,
    ) -> Result<CertificateInfo, BundleProblem> {
        let leaf = match what_for {
            LeafUse::Both => self.check_against(spec, now)?,
            LeafUse::Client => {
                let leaf = self.check_client(now)?;
                has(&leaf, spec)?;
                leaf
            }
        };
        if what_for == LeafUse::Client && leaf.server_auth {
            return Err(BundleProblem::ServerUsage);
        }
        if leaf.key_algorithm != Some(spec.key) {
            return Err(BundleProblem::KeyAlgorithm);
        }
        Ok(leaf)
    }

    fn check_key(&self, leaf: &CertificateInfo) -> Result<(), BundleProblem> {
        let key = PrivateKeyDer::from_pem_slice(self.key.expose())
            .ok()
            .and_then(|key| provider().key_provider.load_private_key(key).ok())
            .ok_or(BundleProblem::Key)?;
        match key.public_key() {
            Some(public) if public.as_ref() == leaf.public_key.as_slice() => Ok(()),
            _ => Err(BundleProblem::KeyMismatch),
        }
    }

    fn check_chain(&self, now: Timestamp) -> Result<(), BundleProblem> {
        let chain = ders(&self.certificate).map_err(BundleProblem::Certificate)?;
        let anchors =
            roots(&self.ca).map_err(|error| BundleProblem::Untrusted(error.to_string()))?;
        let untrusted = |error: &dyn std::fmt::Display| BundleProblem::Untrusted(error.to_string());
        let verifier = WebPkiClientVerifier::builder_with_provider(anchors.into(), provider())
            .build()
            .map_err(|error| untrusted(&error))?;
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(BundleProblem::Certificate(ParseError::Empty))?;
        verifier
            .verify_client_cert(leaf, intermediates, unix(now))
            .map(|_| ())
            .map_err(|error| untrusted(&error))
    }
}

/// Whether the names are all there.
fn has(leaf: &CertificateInfo, spec: &LeafSpec) -> Result<(), BundleProblem> {
    let found = leaf.common_name.clone().unwrap_or_default();
    if found != spec.common_name {
        return Err(BundleProblem::CommonName {
            found,
            wanted: spec.common_name.clone(),
        });
    }
    if let Some(name) = spec.dns.difference(&leaf.dns).next() {
        return Err(BundleProblem::MissingName(name.clone()));
    }
    if let Some(ip) = spec.ips.difference(&leaf.ips).next() {
        return Err(BundleProblem::MissingName(ip.to_string()));
    }
    Ok(())
}

/// The moment in the form that rustls takes.
pub(super) fn unix(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
