//! Whether the CA that is there is still the one of the issuer that the resource names.

use crate::api::v1alpha1::{Issuer, IssuerChoice};
use crate::plan::observed::{AuthorityFacts, IssuerLook, Observed};

/// What became of the issuer since a CA was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing, as far as is known.
    Current,
    /// It has the same anchor; it is reached in another way, or signs with another certificate below it.
    Moved,
    /// It has another CA, or it is another issuer.
    Another,
}

/// The issuer that is wanted; without TLS the agents alone have certificates, of a CA made here.
fn wanted(observed: &Observed) -> Issuer {
    let tls = observed.resource.spec.tls.as_ref();
    tls.map_or_else(Issuer::own, |tls| tls.issuer.clone())
}

/// Looks at one CA.
pub fn of(observed: &Observed, ca: &AuthorityFacts) -> Source {
    let wanted = wanted(observed);
    let (Some(now), Some(then)) = (wanted.choice(), ca.issuer.choice()) else {
        return Source::Current;
    };
    match &observed.issuer {
        IssuerLook::Offers { anchor, .. }
            if anchor.serial != ca.anchor.serial || anchor.public_key != ca.anchor.public_key =>
        {
            Source::Another
        }
        IssuerLook::Offers { signer, .. } => {
            if signer.serial == ca.signer.serial && wanted == ca.issuer {
                Source::Current
            } else {
                Source::Moved
            }
        }
        IssuerLook::Makes | IssuerLook::Refused { .. } if now.identity() != then.identity() => {
            Source::Another
        }
        // Where a key is reached is needed to sign. Of a CA that is made here alone there is nothing to know.
        IssuerLook::Makes if wanted != ca.issuer && !matches!(now, IssuerChoice::SelfSigned(_)) => {
            Source::Moved
        }
        IssuerLook::Makes | IssuerLook::Refused { .. } => Source::Current,
    }
}

/// How a person comes to another CA where none is made here; `None` where it only has to be asked for.
pub fn elsewhere(issuer: &Issuer) -> Option<String> {
    match issuer.choice()? {
        IssuerChoice::SelfSigned(_) | IssuerChoice::Kms(_) | IssuerChoice::Pkcs11(_) => None,
        IssuerChoice::CaSecret(secret) => Some(format!(
            "another CA in Secret {}: put its tls.crt, tls.key and ca.crt there in one write",
            secret.name
        )),
        IssuerChoice::Vault(vault) => Some(format!(
            "another default issuer in Vault's engine {}: bao write {}/root/rotate/internal, or import one",
            vault.mount, vault.mount
        )),
        IssuerChoice::Acme(acme) => Some(format!(
            "another root of the ACME server in Secret {}",
            acme.root_secret.name
        )),
        IssuerChoice::CertManager(issuer) => Some(format!(
            "another CA of {} {}",
            issuer.issuer_ref.kind, issuer.issuer_ref.name
        )),
    }
}
