//! What a certificate is to say, in the forms that our own authority and those of others take.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::authority::IssueError;
use super::key::OwnedKey;
use super::leaf::{LeafSpec, LeafUse};
use super::private::PrivatePem;

/// Certificates begin this much before their issue, for nodes whose clock is behind.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A new key, and the request for a certificate for it (PKCS#10, RFC 2986).
pub struct SigningRequest {
    /// The request, PEM.
    pub pem: String,
    /// The key, PKCS#8.
    pub key: PrivatePem,
}

/// Makes a key and asks for a certificate for it. Validity is not part of such a request: it goes beside it.
pub fn signing_request(
    spec: &LeafSpec,
    what_for: LeafUse,
    now: Timestamp,
) -> Result<SigningRequest, IssueError> {
    let key = OwnedKey::generate(spec.key)?;
    let end = now.saturating_add(spec.duration).unwrap_or(now);
    let mut wanted = leaf(spec, what_for, now, end)?;
    // The authority decides these, and the library has no place for them in a request.
    let unset = CertificateParams::default();
    wanted.serial_number = None;
    wanted.not_before = unset.not_before;
    wanted.not_after = unset.not_after;
    wanted.is_ca = IsCa::NoCa;
    wanted.use_authority_key_identifier_extension = false;
    let request = wanted.serialize_request(&key.0)?;
    Ok(SigningRequest {
        pem: request.pem()?,
        key: key.pem(),
    })
}

/// A leaf that begins now, some minutes of skew earlier.
pub(super) fn leaf(
    spec: &LeafSpec,
    what_for: LeafUse,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = named(&spec.common_name, now, not_after)?;
    params.distinguished_name = subject(spec)?;
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
    for name in &spec.dns {
        let dns = name
            .clone()
            .try_into()
            .map_err(|_| IssueError::Name(name.clone()))?;
        params.subject_alt_names.push(SanType::DnsName(dns));
    }
    let ips = spec.ips.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(ips);
    Ok(params)
}

/// The widest attribute first, the common name last.
fn subject(spec: &LeafSpec) -> Result<DistinguishedName, IssueError> {
    let mut subject = DistinguishedName::new();
    for (name, value) in spec.subject.attributes() {
        let (kind, value) = match name {
            // Two letters of the smallest alphabet (X.520, 6.3.1).
            "C" => {
                let letters = value.try_into();
                let letters = letters.map_err(|_| IssueError::Name(value.to_owned()))?;
                (DnType::CountryName, DnValue::PrintableString(letters))
            }
            "ST" => (DnType::StateOrProvinceName, value.into()),
            "L" => (DnType::LocalityName, value.into()),
            "O" => (DnType::OrganizationName, value.into()),
            _ => (DnType::OrganizationalUnitName, value.into()),
        };
        subject.push(kind, value);
    }
    subject.push(DnType::CommonName, spec.common_name.as_str());
    Ok(subject)
}

/// A certificate of this name, with a serial number.
pub(super) fn named(
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

/// A moment in the form that the library takes.
pub(super) fn moment(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| IssueError::Time(at))
}
