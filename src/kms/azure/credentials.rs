//! Who asks: an application in Entra ID, by a certificate or by a secret. TiKV knows no other way (facts, encryption
//! at rest §1.2).

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p12_keystore::{CertificateBag, Pkcs12Archive};
use serde_json::json;
use zeroize::Zeroizing;

use super::Settings;
use crate::crypto::rng;
use crate::crypto::secret::SecretBytes;
use crate::kms::error::Class;
use crate::kms::jwt::Signer;
use crate::kms::oauth::{Token, exchange, now};
use crate::kms::rest::Failure;

/// Who gives tokens.
pub const AUTHORITY: &str = "https://login.microsoftonline.com";

/// How an application shows who it is.
pub enum Credential {
    /// Certificate and key in a PKCS#12 file, read at each use.
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// Its password; empty without one.
        password: Zeroizing<String>,
    },
    /// The content of such a file.
    Certificate {
        /// PKCS#12.
        content: SecretBytes,
        /// Its password; empty without one.
        password: Zeroizing<String>,
    },
    /// A secret.
    Secret(Zeroizing<String>),
}

impl Credential {
    /// PKCS#12 as TiKV's configuration holds it. What is no base64 is no PKCS#12 either, which is told when it is used.
    pub fn certificate_in_base64(text: &str, password: Zeroizing<String>) -> Self {
        let content = STANDARD.decode(text.trim()).unwrap_or_default();
        Self::Certificate {
            content: SecretBytes::new(content),
            password,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateFile { path, .. } => write!(f, "CertificateFile({})", path.display()),
            Self::Certificate { .. } => f.write_str("Certificate(..)"),
            Self::Secret(_) => f.write_str("Secret(..)"),
        }
    }
}

/// A new token for `scope`.
pub(super) async fn token(settings: &Settings, scope: &str) -> Result<Token, Failure> {
    let authority = settings.authority.trim_end_matches('/');
    let url = format!("{authority}/{}/oauth2/v2.0/token", settings.tenant_id);
    let assertion;
    let mut pairs = vec![
        ("grant_type", "client_credentials"),
        ("client_id", settings.client_id.as_str()),
        ("scope", scope),
    ];
    match &settings.credential {
        Credential::Secret(secret) => pairs.push(("client_secret", secret)),
        Credential::Certificate { content, password } => {
            assertion = assert(settings, &url, content.expose(), password)?;
            pairs.extend(asserted(&assertion));
        }
        Credential::CertificateFile { path, password } => {
            let content = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
                let message = format!("the certificate file {}: {error}", path.display());
                Failure::new(Class::Denied, message)
            })?;
            assertion = assert(settings, &url, &content, password)?;
            pairs.extend(asserted(&assertion));
        }
    }
    exchange(&url, &pairs).await
}

fn asserted(assertion: &str) -> [(&'static str, &str); 2] {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    [
        ("client_assertion_type", kind),
        ("client_assertion", assertion),
    ]
}

/// A statement of the application about itself, signed by its certificate's key, for the next minutes.
fn assert(
    settings: &Settings,
    url: &str,
    pkcs12: &[u8],
    password: &str,
) -> Result<Zeroizing<String>, Failure> {
    let malformed = |message: &str| Failure::new(Class::Malformed, message);
    let archive = Pkcs12Archive::from_pkcs12(pkcs12, password)
        .map_err(|_| malformed("its client certificate is no PKCS#12, or has another password"))?;
    let key = archive.keys.first();
    let key =
        key.ok_or_else(|| malformed("its client certificate has no private key beside it"))?;
    // The leaf carries the mark of the key; a file with neither mark has the leaf first.
    let marked = |bag: &&CertificateBag| {
        let mark = key.local_key_id.as_ref().map(|mark| mark.0.as_slice());
        mark.is_some() && bag.local_key_id.as_deref() == mark
    };
    let leaf = archive.certs.iter().find(marked).or(archive.certs.first());
    let leaf =
        leaf.ok_or_else(|| malformed("the key of its client certificate has no certificate"))?;
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf.cert.as_der());
    let others = archive.certs.iter().filter(|bag| bag.cert != leaf.cert);
    let certificates: Vec<String> = std::iter::once(leaf)
        .chain(others)
        .map(|bag| STANDARD.encode(bag.cert.as_der()))
        .collect();
    let header = json!({
        "alg": "RS256",
        "typ": "JWT",
        "x5t": URL_SAFE_NO_PAD.encode(thumbprint),
        "x5c": certificates,
    });
    let id = rng::bytes::<16>().map_err(|error| malformed(&error.to_string()))?;
    let now = now();
    let claims = json!({
        "aud": url,
        "iss": settings.client_id,
        "sub": settings.client_id,
        "jti": URL_SAFE_NO_PAD.encode(id),
        "nbf": now,
        "iat": now,
        "exp": now + 300,
    });
    Signer::from_pkcs8(key.key.as_der())?.sign(&header, &claims)
}
