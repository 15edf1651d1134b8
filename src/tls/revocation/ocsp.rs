//! Answers of OCSP, signed by the CA itself. They say what its CRL says: an answer and the list never differ.

use std::time::Duration;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use der::asn1::{BitString, GeneralizedTime, Null, OctetString};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_SHA_1, ID_SHA_256, SHA_256_WITH_RSA_ENCRYPTION,
};
use der::{Any, Decode as _, Encode as _};
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SigningKey};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::ext::Nonce;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse,
    ResponderId, ResponseData, SingleResponse, Version,
};

use crate::tls::authority::{Authority, IssueError};
use crate::tls::parse::{ParseError, ders};

/// Longest request that is looked at.
pub const LONGEST_REQUEST: usize = 8 << 10;
/// So many certificates are told of in one answer.
const AT_ONCE: usize = 16;
/// Longest nonce that is given back (RFC 9654 §2.1: 128 at most).
const LONGEST_NONCE: usize = 128;
/// How long an answer may be kept, and never longer than the CRL that it is of.
const VALIDITY: SignedDuration = SignedDuration::from_hours(1);

/// A CA that answers for what it signed.
pub struct Responder {
    authority: Authority,
    certificate: Certificate,
    crl: CertificateList,
}

/// An answer, in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `application/ocsp-response`.
    pub der: Vec<u8>,
    /// Until when it may be kept by whoever asks without a nonce.
    pub next_update: Option<Timestamp>,
}

impl Responder {
    /// Of a CA and the CRL that it signed, in DER.
    pub fn new(authority: Authority, crl: &[u8]) -> Result<Self, IssueError> {
        let all = ders(authority.certificates().chain_pem().as_bytes())?;
        let der = all.first().ok_or(ParseError::Empty)?;
        Ok(Self {
            certificate: Certificate::from_der(der.as_ref())?,
            crl: CertificateList::from_der(crl)?,
            authority,
        })
    }

    fn asked(&self, id: &CertId) -> bool {
        let issuer = &self.certificate.tbs_certificate;
        let key = issuer
            .subject_public_key_info
            .subject_public_key
            .raw_bytes();
        let Some((algorithm, subject)) = algorithm(id).zip(issuer.subject.to_der().ok()) else {
            return false;
        };
        digest(algorithm, &subject).as_ref() == id.issuer_name_hash.as_bytes()
            && digest(algorithm, key).as_ref() == id.issuer_key_hash.as_bytes()
    }

    fn status(&self, id: &CertId) -> CertStatus {
        let revoked = self.crl.tbs_cert_list.revoked_certificates.iter().flatten();
        let mut revoked = revoked.filter(|one| one.serial_number == id.serial_number);
        match revoked.next() {
            _ if !self.asked(id) => CertStatus::unknown(),
            Some(line) => CertStatus::revoked(line),
            None => CertStatus::good(),
        }
    }

    fn sign(
        &self,
        request: &OcspRequest,
        now: Timestamp,
    ) -> Result<(OcspResponse, Timestamp), IssueError> {
        let end = self.crl.tbs_cert_list.next_update;
        let end = end.map(|end| end.to_unix_duration());
        let end = end.and_then(|end| {
            let seconds = i64::try_from(end.as_secs()).ok()?;
            Timestamp::from_second(seconds).ok()
        });
        let until = now.saturating_add(VALIDITY).unwrap_or(now);
        let until = end.map_or(until, |end| end.min(until));
        let list = request.tbs_request.request_list.iter().take(AT_ONCE);
        let responses = list.map(|one| {
            let id = one.req_cert.clone();
            Ok(SingleResponse {
                cert_status: self.status(&id),
                cert_id: id,
                this_update: time(now)?,
                next_update: Some(time(until)?),
                single_extensions: None,
            })
        });
        let spki = &self.certificate.tbs_certificate.subject_public_key_info;
        let key = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            spki.subject_public_key.raw_bytes(),
        );
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(key.as_ref())?),
            produced_at: time(now)?,
            responses: responses.collect::<Result<_, IssueError>>()?,
            response_extensions: nonce(request).map(|one| vec![one]),
        };
        let pair = self.authority.signing_key()?;
        let signature = pair.sign(&data.to_der()?)?;
        let signed = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: signature_algorithm(pair)?,
            signature: BitString::from_bytes(&signature)?,
            certs: None,
        };
        Ok((OcspResponse::successful(signed)?, until))
    }
}

/// Answers a request with the CA that is asked for; the first one of `responders` answers for what none of them signed.
///
/// # Errors
/// The CA can not sign.
pub fn answer(
    responders: &[Responder],
    request: &[u8],
    now: Timestamp,
) -> Result<Answer, IssueError> {
    let refusal = |response: OcspResponse| {
        Ok(Answer {
            der: response.to_der()?,
            next_update: None,
        })
    };
    let parsed = OcspRequest::from_der(request).ok();
    let first = parsed
        .as_ref()
        .and_then(|one| one.tbs_request.request_list.first());
    let Some((request, first)) = parsed.as_ref().zip(first) else {
        return refusal(OcspResponse::malformed_request());
    };
    let asked = responders.iter().find(|one| one.asked(&first.req_cert));
    let Some(responder) = asked.or(responders.first()) else {
        return refusal(OcspResponse::unauthorized());
    };
    let (response, until) = responder.sign(request, now)?;
    Ok(Answer {
        der: response.to_der()?,
        next_update: nonce(request).is_none().then_some(until),
    })
}

/// The hash of a request, SHA-1 or SHA-256: nothing hangs on it, it only names the CA.
fn algorithm(id: &CertId) -> Option<&'static Algorithm> {
    match id.hash_algorithm.oid {
        ID_SHA_1 => Some(&SHA1_FOR_LEGACY_USE_ONLY),
        ID_SHA_256 => Some(&SHA256),
        _ => None,
    }
}

/// The nonce of a request, as an extension of the answer.
fn nonce(request: &OcspRequest) -> Option<Extension> {
    use der::oid::AssociatedOid as _;
    let all = request.tbs_request.request_extensions.iter().flatten();
    let mut all = all.filter(|one| one.extn_id == Nonce::OID);
    let found = all
        .next()
        .filter(|one| one.extn_value.as_bytes().len() <= LONGEST_NONCE);
    found.map(|one| Extension {
        extn_id: one.extn_id,
        critical: false,
        extn_value: one.extn_value.clone(),
    })
}

fn signature_algorithm(key: &KeyPair) -> Result<AlgorithmIdentifierOwned, IssueError> {
    let known: [(_, ObjectIdentifier, Option<Any>); 3] = [
        (&PKCS_ECDSA_P256_SHA256, ECDSA_WITH_SHA_256, None),
        (&PKCS_ECDSA_P384_SHA384, ECDSA_WITH_SHA_384, None),
        (
            &PKCS_RSA_SHA256,
            SHA_256_WITH_RSA_ENCRYPTION,
            Some(Null.into()),
        ),
    ];
    let mut known = known.into_iter();
    let found = known.find(|(algorithm, _, _)| key.algorithm() == *algorithm);
    let (_, oid, parameters) = found.ok_or(IssueError::Key)?;
    Ok(AlgorithmIdentifierOwned { oid, parameters })
}

fn time(at: Timestamp) -> Result<OcspGeneralizedTime, IssueError> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| IssueError::Time(at))?;
    let time = GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))?;
    Ok(OcspGeneralizedTime(time))
}
