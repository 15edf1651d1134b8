//! A CA in a Secret of ours: `tls.crt` is the signer and its chain, `ca.crt` the root where another certificate signs, `tls.key` the key
//! where the cluster keeps it, and an annotation whose CA it is.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::ANNOTATION_ISSUER;
use crate::api::v1alpha1::{Issuer, IssuerChoice};
use crate::operator::observe::secrets::{CA, CERTIFICATE, KEY, field};
use crate::plan::observed::AuthorityFacts;
use crate::tls::anchor::CaCertificates;
use crate::tls::authority::Authority;

/// What a Secret has of a CA.
#[derive(Clone)]
pub(in crate::operator) struct StoredCa {
    /// Whose it is.
    pub issuer: Issuer,
    /// Its certificates.
    pub certificates: CaCertificates,
    /// What signs, where the key is in the Secret.
    pub own: Option<Arc<Authority>>,
}

impl StoredCa {
    /// Reads a Secret; what is wrong with it, in words that give nothing away.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let note = annotation(&secret.metadata);
        let issuer = note.map_or_else(|| Ok(Issuer::own()), serde_json::from_str);
        let issuer =
            issuer.map_err(|_| format!("its annotation {ANNOTATION_ISSUER} names no issuer"))?;
        let certificate = field(secret, CERTIFICATE)?;
        let anchor = field(secret, CA).ok().filter(|bytes| !bytes.is_empty());
        let certificates = CaCertificates::parse(certificate, anchor);
        let certificates = certificates.map_err(|error| error.to_string())?;
        let here = matches!(
            issuer.choice(),
            Some(IssuerChoice::SelfSigned(_) | IssuerChoice::CaSecret(_))
        );
        let own = if here {
            let authority = Authority::stored(certificates.clone(), field(secret, KEY)?);
            Some(Arc::new(authority.map_err(|error| error.to_string())?))
        } else {
            None
        };
        Ok(Self {
            issuer,
            certificates,
            own,
        })
    }

    /// What a plan may see.
    pub fn facts(&self) -> AuthorityFacts {
        AuthorityFacts {
            anchor: self.certificates.anchor().clone(),
            signer: self.certificates.signer().clone(),
            ends: self.certificates.ends(),
            issuer: self.issuer.clone(),
        }
    }

    /// As a Secret has it.
    pub fn data(&self) -> Vec<(&'static str, Vec<u8>)> {
        let key = self.own.as_ref().and_then(|own| own.key_pem());
        let key = key.map(|key| key.expose().to_vec());
        // All of them each time: one CA takes the place of another, and nothing of that one may stay.
        vec![
            (
                CERTIFICATE,
                self.certificates.chain_pem().as_bytes().to_vec(),
            ),
            (KEY, key.unwrap_or_default()),
            (CA, self.certificates.anchor_pem().as_bytes().to_vec()),
        ]
    }

    /// What names the issuer. A CA of an older release has none, and was made here.
    pub fn note(&self) -> Option<(String, String)> {
        let text = serde_json::to_string(&self.issuer).ok()?;
        Some((ANNOTATION_ISSUER.to_owned(), text))
    }
}

fn annotation(metadata: &ObjectMeta) -> Option<&str> {
    let notes = metadata.annotations.as_ref()?;
    notes.get(ANNOTATION_ISSUER).map(String::as_str)
}
