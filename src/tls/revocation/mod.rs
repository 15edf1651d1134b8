//! What a CA says of certificates that it has revoked: CRLs (RFC 5280 §5) and answers of OCSP (RFC 6960).

pub mod crl;
pub mod ocsp;

use der::Encode as _;
use der::asn1::Ia5String;
use der::oid::db::rfc5280::ID_PE_AUTHORITY_INFO_ACCESS;
use der::oid::db::rfc5912::ID_AD_OCSP;
use rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax};

use super::authority::IssueError;

/// Where a certificate says that revoked ones are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointers {
    /// URL of the CRL of the CA that signs it.
    pub crl: String,
    /// URL of the OCSP responder.
    pub ocsp: String,
}

impl Pointers {
    /// Those of the operator's revocation port.
    pub fn below(base: &str, namespace: &str, name: &str, authority: &str) -> Self {
        let base = base.trim_end_matches('/');
        Self {
            crl: format!("{base}/crl/{namespace}/{name}/{authority}.crl"),
            ocsp: format!("{base}/ocsp/{namespace}/{name}"),
        }
    }

    /// As extensions of a certificate (RFC 5280 §4.2.1.13, §4.2.2.1).
    pub(super) fn write(&self, params: &mut CertificateParams) -> Result<(), IssueError> {
        params.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec![self.crl.clone()],
        }];
        let access = AuthorityInfoAccessSyntax(vec![AccessDescription {
            access_method: ID_AD_OCSP,
            access_location: GeneralName::UniformResourceIdentifier(Ia5String::new(&self.ocsp)?),
        }]);
        let oid: Vec<u64> = ID_PE_AUTHORITY_INFO_ACCESS.arcs().map(u64::from).collect();
        let extension = CustomExtension::from_oid_content(&oid, access.to_der()?);
        params.custom_extensions.push(extension);
        Ok(())
    }
}

/// The bytes of a hexadecimal serial number.
pub(super) fn serial_bytes(serial: &str) -> Result<Vec<u8>, IssueError> {
    let wrong = || IssueError::Name(serial.to_owned());
    if serial.is_empty() || serial.len() > 40 || !serial.is_ascii() {
        return Err(wrong());
    }
    let even = format!("{}{serial}", if serial.len() % 2 == 1 { "0" } else { "" });
    let pairs = even.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        u8::from_str_radix(pair, 16).map_err(|_| wrong())
    });
    pairs.collect()
}
