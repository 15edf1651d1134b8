//! Certificate revocation lists.

use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevokedCertParams, SerialNumber,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::serial_bytes;
use crate::api::v1alpha1::RevocationReason;
use crate::tls::authority::{Authority, IssueError};
use crate::tls::parse::{ParseError, ders};
use crate::tls::request::moment;

/// What a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSpec {
    /// Its number, greater than that of the list before.
    pub number: u64,
    /// Since when it holds.
    pub this_update: Timestamp,
    /// When the next one is there at the latest.
    pub next_update: Timestamp,
    /// What is revoked.
    pub revoked: Vec<RevokedLine>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedLine {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it was revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// DER.
    pub der: Vec<u8>,
    /// The same as PEM.
    pub pem: String,
}

impl Authority {
    /// Signs a list.
    ///
    /// # Errors
    /// A serial number that is none, a moment that no list can carry, or a CA that may not sign lists.
    pub fn sign_crl(&self, spec: &CrlSpec) -> Result<Crl, IssueError> {
        let revoked = spec.revoked.iter().map(line).collect::<Result<_, _>>()?;
        let issuer =
            Issuer::from_ca_cert_pem(self.certificates().chain_pem(), self.signing_key()?)?;
        let params = CertificateRevocationListParams {
            this_update: moment(spec.this_update)?,
            next_update: moment(spec.next_update)?,
            crl_number: SerialNumber::from_slice(&unsigned(spec.number)),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: key_identifier(self)?,
        };
        let signed = params.signed_by(&issuer)?;
        Ok(Crl {
            der: signed.der().to_vec(),
            pem: signed.pem()?,
        })
    }
}

fn line(one: &RevokedLine) -> Result<RevokedCertParams, IssueError> {
    use rcgen::RevocationReason as Coded;
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&serial_bytes(&one.serial)?),
        revocation_time: moment(one.at)?,
        reason_code: Some(match one.reason {
            RevocationReason::Unspecified => Coded::Unspecified,
            RevocationReason::KeyCompromise => Coded::KeyCompromise,
            RevocationReason::AffiliationChanged => Coded::AffiliationChanged,
            RevocationReason::Superseded => Coded::Superseded,
            RevocationReason::CessationOfOperation => Coded::CessationOfOperation,
            RevocationReason::PrivilegeWithdrawn => Coded::PrivilegeWithdrawn,
        }),
        invalidity_date: None,
    })
}

/// Without leading zeros.
fn unsigned(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    bytes.get(first..).unwrap_or_default().to_vec()
}

/// The identifier that the CA certificate itself carries: by it a list finds its CA, whoever made that.
fn key_identifier(authority: &Authority) -> Result<KeyIdMethod, IssueError> {
    let all = ders(authority.certificates().chain_pem().as_bytes())?;
    let der = all.first().ok_or(ParseError::Empty)?;
    let (_, certificate) = X509Certificate::from_der(der.as_ref())
        .map_err(|error| ParseError::Der(error.to_string()))?;
    let mut found = certificate.extensions().iter();
    let found = found.find_map(|one| match one.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    Ok(found.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified))
}
