//! A certificate authority whose key is at hand, or in a service that signs what it is given: ECDSA P-256 when it is made here, which
//! every version of TiKV and PD takes (facts, TLS §3.2).

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
    SignatureAlgorithm, SigningKey,
};

use super::anchor::CaCertificates;
use super::key::OwnedKey;
use super::leaf::{IssuedLeaf, LeafSpec, LeafUse};
use super::parse::{CertificateInfo, ParseError};
use super::private::PrivatePem;
pub use super::request::CLOCK_SKEW;
use super::request::{leaf, named};
use super::revocation::{Pointers, serial_bytes};
use crate::api::v1alpha1::KeyAlgorithm;

/// A leaf that would live shorter than this is not worth being issued: the authority is at its end.
const SHORTEST: Duration = Duration::from_mins(1);

/// A certificate authority that can sign.
#[derive(Clone)]
pub struct Authority {
    certificates: CaCertificates,
    key: Arc<Key>,
    /// Where the leaves say that revoked ones are listed.
    pointers: Option<Pointers>,
    /// Serial number of the next leaf, hexadecimal; a random one when absent.
    number: Option<String>,
}

/// The key of an authority that never leaves the service that holds it.
pub trait RemoteKey: Send + Sync {
    /// Subject public key info, DER.
    fn public_key(&self) -> &[u8];
    /// The algorithm, with its hash.
    fn algorithm(&self) -> RemoteAlgorithm;
    /// Signs a message, hashing it; the signature as X.509 has it. May block. What went wrong is kept by whoever implements it.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>>;
}

/// With what a remote key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// RSA, PKCS#1 v1.5, with SHA-256.
    Rsa,
}

enum Key {
    Own(OwnedKey),
    Remote(Remote),
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The stored authority can not be read.
    #[error("the CA certificate can not be used: {0}")]
    Certificate(#[from] ParseError),
    /// The chain is not whole.
    #[error("the chain of the CA can not be used: {0}")]
    Chain(&'static str),
    /// The stored key can not be read.
    #[error("the CA key can not be used: it is not a private key in PEM")]
    Key,
    /// Key and certificate do not belong together.
    #[error("the CA key does not belong to the CA certificate")]
    KeyMismatch,
    /// The certificate is not a CA.
    #[error("the certificate is not a CA certificate")]
    NotAnAuthority,
    /// The authority is at its end.
    #[error("the CA expires at {0}; nothing that lives long enough can be issued under it")]
    AuthorityExpired(Timestamp),
    /// A name that a certificate can not hold.
    #[error("{0:?} can not be a name in a certificate")]
    Name(String),
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Library(#[from] rcgen::Error),
    /// No random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// A name or address that can not be encoded.
    #[error("it can not be encoded: {0}")]
    Encoding(#[from] der::Error),
    /// The key is in a service that signs certificates alone.
    #[error("the key of this CA is elsewhere, and what it signed is revoked there")]
    Elsewhere,
    /// A moment out of range.
    #[error("{0} can not be written into a certificate")]
    Time(Timestamp),
}

impl Authority {
    /// Makes a new authority that signs itself.
    pub fn generate(
        common_name: &str,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Self, IssueError> {
        let key = OwnedKey::generate(KeyAlgorithm::EcdsaP256)?;
        Self::signed_by_itself(common_name, now, duration, Key::Own(key))
    }

    /// Makes the certificate of a new authority whose key is elsewhere.
    pub fn generate_remote(
        common_name: &str,
        now: Timestamp,
        duration: SignedDuration,
        key: Arc<dyn RemoteKey>,
    ) -> Result<Self, IssueError> {
        Self::signed_by_itself(common_name, now, duration, Key::Remote(Remote::of(key)?))
    }

    fn signed_by_itself(
        common_name: &str,
        now: Timestamp,
        duration: SignedDuration,
        key: Key,
    ) -> Result<Self, IssueError> {
        let end = now.saturating_add(duration).unwrap_or(now);
        let mut params = named(common_name, now, end)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        let certificates = CaCertificates::parse(certificate.as_bytes(), None)?;
        Ok(Self::of(certificates, key))
    }

    fn of(certificates: CaCertificates, key: Key) -> Self {
        Self {
            certificates,
            key: Arc::new(key),
            pointers: None,
            number: None,
        }
    }

    /// Takes up a stored authority that signed itself.
    pub fn from_pem(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, IssueError> {
        Self::stored(CaCertificates::parse(certificate_pem, None)?, key_pem)
    }

    /// Takes up a stored authority.
    pub fn stored(certificates: CaCertificates, key_pem: &[u8]) -> Result<Self, IssueError> {
        let key = OwnedKey::parse(key_pem).ok_or(IssueError::Key)?;
        Self::with(certificates, Key::Own(key))
    }

    /// Takes up a stored authority whose key is elsewhere.
    pub fn remote(
        certificates: CaCertificates,
        key: Arc<dyn RemoteKey>,
    ) -> Result<Self, IssueError> {
        Self::with(certificates, Key::Remote(Remote::of(key)?))
    }

    fn with(certificates: CaCertificates, key: Key) -> Result<Self, IssueError> {
        if certificates.signer().public_key != key.subject_public_key_info() {
            return Err(IssueError::KeyMismatch);
        }
        Ok(Self::of(certificates, key))
    }

    /// The same, whose leaves say where revoked ones are listed.
    #[must_use]
    pub fn pointing_to(self, pointers: Option<Pointers>) -> Self {
        Self { pointers, ..self }
    }

    /// The same, whose next leaf gets this serial number, hexadecimal: one that was written down for it.
    #[must_use]
    pub fn numbering(self, number: Option<String>) -> Self {
        Self { number, ..self }
    }

    /// What signs CRLs and answers of OCSP. A key elsewhere signs certificates alone.
    pub(super) fn signing_key(&self) -> Result<&KeyPair, IssueError> {
        match &*self.key {
            Key::Own(key) => Ok(&key.0),
            Key::Remote(_) => Err(IssueError::Elsewhere),
        }
    }

    /// By what this CA is told from others: the serial number of the certificate that is trusted.
    pub fn id(&self) -> &str {
        &self.certificates.anchor().serial
    }

    /// Its certificates.
    pub fn certificates(&self) -> &CaCertificates {
        &self.certificates
    }

    /// The certificate that is to be trusted.
    pub fn certificate_pem(&self) -> &str {
        self.certificates.anchor_pem()
    }

    /// The CA key, for the Secret that stores it; `None` when it is elsewhere.
    pub fn key_pem(&self) -> Option<PrivatePem> {
        match &*self.key {
            Key::Own(key) => Some(key.pem()),
            Key::Remote(_) => None,
        }
    }

    /// What the certificate of the signer says.
    pub fn info(&self) -> &CertificateInfo {
        self.certificates.signer()
    }

    /// Issues a leaf for a component, which is server and client, under a new key. It never outlives the authority.
    pub fn issue(&self, spec: &LeafSpec, now: Timestamp) -> Result<IssuedLeaf, IssueError> {
        self.issue_for(spec, LeafUse::Both, now)
    }

    /// As `issue`, for what the caller says.
    pub fn issue_for(
        &self,
        spec: &LeafSpec,
        what_for: LeafUse,
        now: Timestamp,
    ) -> Result<IssuedLeaf, IssueError> {
        let ends = self.certificates.ends();
        let wanted = now.saturating_add(spec.duration).unwrap_or(now);
        let not_after = wanted.min(ends);
        if not_after < now.saturating_add(SHORTEST).unwrap_or(now) {
            return Err(IssueError::AuthorityExpired(ends));
        }
        let mut params = leaf(spec, what_for, now, not_after)?;
        if let Some(number) = &self.number {
            params.serial_number = Some(SerialNumber::from_slice(&serial_bytes(number)?));
        }
        if let Some(pointers) = &self.pointers {
            pointers.write(&mut params)?;
        }
        let key = OwnedKey::generate(spec.key)?;
        let issuer = Issuer::from_ca_cert_pem(self.certificates.chain_pem(), &*self.key)?;
        let certificate = params.signed_by(&key.0, &issuer)?.pem();
        Ok(IssuedLeaf {
            certificate_pem: certificate + self.certificates.intermediates_pem(),
            key_pem: key.pem(),
        })
    }
}

/// A key elsewhere, in the form that the library takes.
struct Remote {
    key: Arc<dyn RemoteKey>,
    /// The key itself, without what says of which algorithm it is.
    bits: Vec<u8>,
}

impl Remote {
    fn of(key: Arc<dyn RemoteKey>) -> Result<Self, IssueError> {
        let info = rcgen::SubjectPublicKeyInfo::from_der(key.public_key())?;
        let bits = info.der_bytes().to_vec();
        Ok(Self { key, bits })
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Own(key) => key.0.der_bytes(),
            Self::Remote(remote) => &remote.bits,
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Own(key) => PublicKeyData::algorithm(&key.0),
            Self::Remote(remote) => match remote.key.algorithm() {
                RemoteAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
                RemoteAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
            },
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Own(key) => key.0.sign(message),
            Self::Remote(remote) => {
                let signature = remote.key.sign(message);
                signature.ok_or(rcgen::Error::RemoteKeyError)
            }
        }
    }
}
