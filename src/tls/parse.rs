//! Certificates as plain data. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::api::v1alpha1::KeyAlgorithm;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Serial number, lower-case hexadecimal without leading zeros.
    pub serial: String,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// Subject common name.
    pub common_name: Option<String>,
    /// Issuer as text.
    pub issuer: String,
    /// Subject as text.
    pub subject: String,
    /// DNS names.
    pub dns: BTreeSet<String>,
    /// IP addresses.
    pub ips: BTreeSet<IpAddr>,
    /// True for a CA.
    pub is_ca: bool,
    /// True when the certificate may be shown by a server.
    pub server_auth: bool,
    /// True when the certificate may be shown by a client.
    pub client_auth: bool,
    /// Subject public key info, DER.
    pub public_key: Vec<u8>,
    /// Kind of the key; `None` for one that no leaf of ours has.
    pub key_algorithm: Option<KeyAlgorithm>,
}

/// Why bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No PEM block of the right kind.
    #[error("no PEM block \"CERTIFICATE\" in it")]
    Empty,
    /// Broken PEM.
    #[error("not valid PEM: {0}")]
    Pem(String),
    /// Broken DER.
    #[error("not a valid X.509 certificate: {0}")]
    Der(String),
    /// gRPC in TiKV panics on it (facts, TLS §3.2).
    #[error("it contains a NUL byte, which TiKV can not bear")]
    Nul,
}

/// Reads the first certificate.
pub fn parse_one(pem: &[u8]) -> Result<CertificateInfo, ParseError> {
    parse_all(pem)?.into_iter().next().ok_or(ParseError::Empty)
}

/// Reads all certificates, at least one.
pub fn parse_all(pem: &[u8]) -> Result<Vec<CertificateInfo>, ParseError> {
    ders(pem)?
        .iter()
        .map(|der| parse_der(der.as_ref()))
        .collect()
}

/// The certificates as DER, at least one.
pub fn ders(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ParseError> {
    if pem.contains(&0) {
        return Err(ParseError::Nul);
    }
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ParseError::Pem(error.to_string()))?;
    if found.is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(found)
}

/// Reads one certificate in DER.
pub fn parse_der(der: &[u8]) -> Result<CertificateInfo, ParseError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| ParseError::Der(error.to_string()))?;
    let mut dns = BTreeSet::new();
    let mut ips = BTreeSet::new();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    dns.insert((*name).to_owned());
                }
                GeneralName::IPAddress(bytes) => ips.extend(ip(bytes)),
                _ => {}
            }
        }
    }
    let usage = certificate.extended_key_usage().ok().flatten();
    let usage = usage.map(|extension| extension.value);
    let common_name = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .map(str::to_owned);
    Ok(CertificateInfo {
        serial: serial(certificate.raw_serial()),
        not_before: moment(certificate.validity().not_before.timestamp())?,
        not_after: moment(certificate.validity().not_after.timestamp())?,
        common_name,
        issuer: certificate.issuer().to_string(),
        subject: certificate.subject().to_string(),
        dns,
        ips,
        is_ca: certificate.is_ca(),
        server_auth: usage.is_none_or(|usage| usage.any || usage.server_auth),
        client_auth: usage.is_none_or(|usage| usage.any || usage.client_auth),
        public_key: certificate.public_key().raw.to_vec(),
        key_algorithm: algorithm(certificate.public_key()),
    })
}

/// Kind of a public key (subject public key info, DER); `None` for one that no leaf or CA of ours has.
pub fn key_algorithm(public_key: &[u8]) -> Option<KeyAlgorithm> {
    let (_, info) = SubjectPublicKeyInfo::from_der(public_key).ok()?;
    algorithm(&info)
}

fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyAlgorithm> {
    match key.parsed().ok()? {
        PublicKey::EC(point) if point.key_size() == 256 => Some(KeyAlgorithm::EcdsaP256),
        PublicKey::RSA(key) => match key.key_size() {
            2048 => Some(KeyAlgorithm::Rsa2048),
            3072 => Some(KeyAlgorithm::Rsa3072),
            4096 => Some(KeyAlgorithm::Rsa4096),
            _ => None,
        },
        _ => None,
    }
}

fn serial(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes.iter().skip_while(|byte| **byte == 0) {
        // Writing to a String can not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn moment(seconds: i64) -> Result<Timestamp, ParseError> {
    Timestamp::from_second(seconds).map_err(|error| ParseError::Der(error.to_string()))
}
