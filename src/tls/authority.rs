//! Our own certificate authority: ECDSA P-256, which every version of TiKV and PD takes (facts, TLS §3.2).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;
use zeroize::Zeroize;

use super::leaf::{IssuedLeaf, LeafSpec, LeafUse};
use super::parse::{CertificateInfo, ParseError, parse_one};
use super::private::PrivatePem;
use super::revocation::{Pointers, serial_bytes};

/// Certificates begin this much before their issue, for nodes whose clock is behind.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A leaf that would live shorter than this is not worth being issued: the authority is at its end.
const SHORTEST: Duration = Duration::from_mins(1);

/// A certificate authority that can sign.
pub struct Authority {
    certificate_pem: String,
    info: CertificateInfo,
    key: OwnedKey,
    /// Where the leaves say that revoked ones are listed.
    pointers: Option<Pointers>,
    /// Serial number of the next leaf, hexadecimal; a random one when absent.
    number: Option<String>,
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The stored authority can not be read.
    #[error("the CA certificate can not be used: {0}")]
    Certificate(#[from] ParseError),
    /// The stored key can not be read.
    #[error("the CA key can not be used: it is not a PKCS#8 private key in PEM")]
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
        let key = OwnedKey(KeyPair::generate()?);
        let mut params = params(
            common_name,
            now,
            now.saturating_add(duration).unwrap_or(now),
        )?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key.0)?.pem();
        let info = parse_one(certificate_pem.as_bytes())?;
        Ok(Self {
            certificate_pem,
            info,
            key,
            pointers: None,
            number: None,
        })
    }

    /// Takes up a stored authority.
    pub fn from_pem(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, IssueError> {
        let info = parse_one(certificate_pem)?;
        let key = std::str::from_utf8(key_pem)
            .ok()
            .and_then(|text| KeyPair::from_pem(text).ok())
            .map(OwnedKey)
            .ok_or(IssueError::Key)?;
        if !info.is_ca {
            return Err(IssueError::NotAnAuthority);
        }
        if info.public_key != rcgen::PublicKeyData::subject_public_key_info(&key.0) {
            return Err(IssueError::KeyMismatch);
        }
        let certificate_pem = String::from_utf8_lossy(certificate_pem).into_owned();
        Ok(Self {
            certificate_pem,
            info,
            key,
            pointers: None,
            number: None,
        })
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

    /// What signs CRLs and answers of OCSP.
    pub(super) fn signing_key(&self) -> &KeyPair {
        &self.key.0
    }

    /// The CA certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA key, for the Secret that stores it.
    pub fn key_pem(&self) -> PrivatePem {
        PrivatePem::new(self.key.0.serialize_pem().into_bytes())
    }

    /// What the CA certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
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
        let wanted = now.saturating_add(spec.duration).unwrap_or(now);
        let not_after = wanted.min(self.info.not_after);
        if not_after < now.saturating_add(SHORTEST).unwrap_or(now) {
            return Err(IssueError::AuthorityExpired(self.info.not_after));
        }
        let mut params = params(&spec.common_name, now, not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match what_for {
            LeafUse::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            LeafUse::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        if let Some(number) = &self.number {
            params.serial_number = Some(SerialNumber::from_slice(&serial_bytes(number)?));
        }
        if let Some(pointers) = &self.pointers {
            pointers.write(&mut params)?;
        }
        for name in &spec.dns {
            let dns = name
                .clone()
                .try_into()
                .map_err(|_| IssueError::Name(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        let ips = spec.ips.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(ips);

        let key = OwnedKey(KeyPair::generate()?);
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &self.key.0)?;
        let certificate_pem = params.signed_by(&key.0, &issuer)?.pem();
        Ok(IssuedLeaf {
            certificate_pem,
            key_pem: PrivatePem::new(key.0.serialize_pem().into_bytes()),
        })
    }
}

/// A key pair whose serialised form is wiped on drop.
struct OwnedKey(KeyPair);

impl Drop for OwnedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn params(
    common_name: &str,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = moment(now.saturating_sub(CLOCK_SKEW).unwrap_or(now))?;
    params.not_after = moment(not_after)?;
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// 127 random bits: positive, and long enough never to meet again.
fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(IssueError::Random)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(super) fn moment(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::Time(at))
}
