//! The certificates of an authority: the anchor that everybody trusts, the signer, and what is served between the two.

use jiff::Timestamp;

use super::authority::IssueError;
use super::parse::{CertificateInfo, ParseError, ders, parse_all};

/// The certificates of an authority. There is one anchor, and it signed itself: OpenSSL in many clients takes no other, though TiKV
/// does (facts, TLS §1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificates {
    signer: CertificateInfo,
    anchor: CertificateInfo,
    anchor_pem: String,
    intermediates_pem: String,
    chain_ends: Timestamp,
}

impl CaCertificates {
    /// `chain` is the signer and, after it, the intermediates; the anchor may be its end or in `anchor`.
    pub fn parse(chain: &[u8], anchor: Option<&[u8]>) -> Result<Self, IssueError> {
        let mut pems = blocks(chain)?;
        let mut certificates = parse_all(chain)?;
        if certificates.iter().any(|one| !one.is_ca) {
            return Err(IssueError::NotAnAuthority);
        }
        let signer = certificates
            .first()
            .cloned()
            .ok_or(IssueError::Chain("it has no certificate"))?;
        let own = certificates.last().is_some_and(is_root);
        let own = own.then(|| (certificates.pop(), pems.pop()));
        let (anchor, anchor_pem) = match (anchor, own) {
            (Some(given), Some((Some(end), _))) => {
                let given = root(given)?;
                if given.0 != end {
                    return Err(IssueError::Chain(
                        "the certificate in ca.crt is another one than the root that ends tls.crt",
                    ));
                }
                given
            }
            (Some(given), _) => root(given)?,
            (None, Some((Some(anchor), Some(pem)))) => (anchor, pem),
            (None, _) => {
                return Err(IssueError::Chain(
                    "the certificate that ends the chain and signed itself is neither in ca.crt nor the last one of tls.crt",
                ));
            }
        };
        let mut links = certificates.iter().chain([&anchor]);
        let mut below = links.next();
        for above in links {
            if below.is_some_and(|below| below.issuer != above.subject) {
                return Err(IssueError::Chain(
                    "a certificate was not signed by the one after it",
                ));
            }
            below = Some(above);
        }
        let ends = certificates.iter().map(|one| one.not_after);
        Ok(Self {
            chain_ends: ends
                .chain([anchor.not_after])
                .min()
                .unwrap_or(anchor.not_after),
            signer,
            anchor,
            anchor_pem,
            intermediates_pem: pems.concat(),
        })
    }

    /// Who signs.
    pub fn signer(&self) -> &CertificateInfo {
        &self.signer
    }

    /// Who is trusted.
    pub fn anchor(&self) -> &CertificateInfo {
        &self.anchor
    }

    /// The anchor, for `ca.crt`.
    pub fn anchor_pem(&self) -> &str {
        &self.anchor_pem
    }

    /// What follows a leaf in `tls.crt`: signer and intermediates; empty when the anchor signs.
    pub fn intermediates_pem(&self) -> &str {
        &self.intermediates_pem
    }

    /// The signer and what follows it up to the anchor: never empty.
    pub fn chain_pem(&self) -> &str {
        if self.intermediates_pem.is_empty() {
            &self.anchor_pem
        } else {
            &self.intermediates_pem
        }
    }

    /// When the first of them ends.
    pub fn ends(&self) -> Timestamp {
        self.chain_ends
    }
}

/// Whether it signed itself.
fn is_root(certificate: &CertificateInfo) -> bool {
    certificate.subject == certificate.issuer
}

/// The only certificate in it, which signed itself.
fn root(pem: &[u8]) -> Result<(CertificateInfo, String), IssueError> {
    let mut all = parse_all(pem)?;
    match (all.pop(), all.is_empty(), blocks(pem)?.pop()) {
        (Some(root), true, Some(text)) if is_root(&root) => Ok((root, text)),
        (Some(_), true, _) => Err(IssueError::Chain(
            "the certificate in ca.crt did not sign itself",
        )),
        _ => Err(IssueError::Chain("ca.crt has not exactly one certificate")),
    }
}

/// Each certificate as PEM of its own, without what is between them.
fn blocks(pem: &[u8]) -> Result<Vec<String>, ParseError> {
    Ok(ders(pem)?.iter().map(|der| to_pem(der.as_ref())).collect())
}

/// A certificate as PEM.
pub fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
