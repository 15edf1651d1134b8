//! The certificate authority and its rotation (facts, TLS §2.5, §9.3).
//!
//! ```text
//! Bundle  ->  Leaves  ->  Drop       -> (the new CA alone)
//!   |            |        point of no return
//! Withdraw <-  Return
//! (the CA from before alone)
//! ```
//! | step | signs | trusted | before the next step |
//! |---|---|---|---|
//! | Bundle | present | both | every port serves it, PD restarted since, the overlap is over |
//! | Leaves | next | both | the same with TiKV restarted since, so that nobody shows a certificate of the old CA |
//! | Drop | next, which is the present one now | it alone | every port serves it, PD restarted since |
//! | Return | present | both | every port serves it, TiKV restarted since, the overlap is over |
//! | Withdraw | present | it alone | every port serves it; what had loaded both restarted since |
//!
//! # Guarantees
//! The next CA is stored before anything is signed by it, with the memory of the rotation in the same Secret. Each step is one
//! write to one Secret, and what it means for the leaves is derived from that, so a crash anywhere is mended by the next look.
//! Each step issues every leaf anew: a port that serves the new one has read the whole set, trust included (§2.1), where it
//! reads trust without a restart at all. No step begins while a store is not well: one that was away while trust changed
//! would be stranded (§9.3).
//!
//! A CA whose key is elsewhere need not sign for its end: its leaves stay while the next CA comes beside them, or goes again, and TiKV
//! restarts where PD does.

mod begin;
mod evidence;
mod guests;
mod restarts;
mod source;
mod told;
mod turn;

use super::action::Anchor;
use super::desired::Blocker;
use super::names::{authority_secret, next_authority_secret};
use super::objects::annotation;
use super::observed::{AuthorityFacts, Observed, SecretContent, same_ca};
use crate::api::v1alpha1::{CaRotation, CaStep};
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_CA_ROTATION};
use crate::tls::parse::CertificateInfo;

pub use evidence::suits;
pub use restarts::{RESTART, Restarts};
pub use source::{Source, elsewhere, of as source};
pub use turn::{Moment, Turn, turn};

/// Which CA signs, and which are trusted.
#[derive(Clone, Debug)]
pub struct Course<'a> {
    resource: &'a str,
    /// The CA in its own Secret.
    present: &'a AuthorityFacts,
    /// The rotation that is under way.
    rotation: Option<Rotation<'a>>,
}

/// A rotation that is under way.
#[derive(Clone, Debug)]
struct Rotation<'a> {
    next: &'a AuthorityFacts,
    memory: CaRotation,
    version: &'a str,
}

/// The memory of the rotation that is under way, where it can be read.
pub fn memory(observed: &Observed) -> Option<CaRotation> {
    let secret = observed
        .secrets
        .get(&next_authority_secret(observed.name()))?;
    let text = annotation(&secret.metadata, ANNOTATION_CA_ROTATION)?;
    serde_json::from_str(text).ok()
}

/// The CA in a Secret.
pub fn authority<'a>(observed: &'a Observed, secret: &str) -> Option<&'a AuthorityFacts> {
    match &observed.secrets.get(secret)?.content {
        SecretContent::Authority(facts) => Some(facts),
        SecretContent::Leaf { .. } | SecretContent::Wrapped | SecretContent::Unusable(_) => None,
    }
}

/// Looks where a rotation stands. `present` is the CA in its own Secret.
pub fn course<'a>(
    observed: &'a Observed,
    present: &'a AuthorityFacts,
) -> Result<Course<'a>, Blocker> {
    let resource = observed.name();
    let name = next_authority_secret(resource);
    let mut course = Course {
        resource,
        present,
        rotation: None,
    };
    let Some(secret) = observed.secrets.get(&name) else {
        lost(observed, present)?;
        return Ok(course);
    };
    let unusable = |what: &str| {
        Blocker::new(
            "NextCaUnusable",
            format!("Secret {name} {what}, and a rotation of the CA is under way"),
            "Restore it from a backup. While status.certificateAuthority.phase is Bundle nothing was signed by it yet: then delete it, and the rotation begins anew.",
        )
    };
    let next = authority(observed, &name)
        .ok_or_else(|| unusable("does not hold a CA certificate and its key"))?;
    let made = annotation(&secret.metadata, ANNOTATION_APPLIED);
    if made.is_some_and(|made| made != next.anchor.serial) {
        return Err(unusable("holds another CA than the one that was made"));
    }
    let memory = memory(observed)
        .ok_or_else(|| unusable("has no readable annotation security.tikv.org/ca-rotation"))?;
    if memory.step == CaStep::Drop && present.anchor.serial != next.anchor.serial {
        return Err(Blocker::new(
            "CaReplaced",
            format!(
                "Secret {} holds the CA from before (serial {}) again, but it was dropped for the one in Secret {name}",
                authority_secret(resource),
                present.anchor.serial
            ),
            format!(
                "Restore the former from a backup made since, or copy tls.crt and tls.key of {name} into it."
            ),
        ));
    }
    course.rotation = Some(Rotation {
        next,
        memory,
        version: secret
            .metadata
            .resource_version
            .as_deref()
            .unwrap_or_default(),
    });
    Ok(course)
}

/// Refuses when the Secret of the next CA is gone, and certificates that it signed are in use.
fn lost(observed: &Observed, present: &AuthorityFacts) -> Result<(), Blocker> {
    let parts = observed.parts();
    let mut orphans = parts.iter().filter(|part| {
        let secret = observed.secrets.get(&part.secret(observed.name()));
        secret.is_some_and(|secret| match &secret.content {
            SecretContent::Leaf {
                certificate,
                trusts,
                root,
            } => {
                let ours = annotation(&secret.metadata, ANNOTATION_APPLIED)
                    == Some(certificate.serial.as_str());
                let beside = trusts.iter().any(|one| same_ca(one, &present.anchor));
                ours && beside && !same_ca(root, &present.anchor)
            }
            _ => false,
        })
    });
    orphans.next().map_or(Ok(()), |part| {
        Err(Blocker::new(
            "CaLost",
            format!(
                "Secret {} is gone, but the certificate in Secret {} was signed by its CA",
                next_authority_secret(observed.name()),
                part.secret(observed.name())
            ),
            "Restore it from a backup, annotations included. To start anew with an outage, delete the Secrets whose names end with -tls.",
        ))
    })
}

impl Course<'_> {
    /// The step; `None` when nothing is under way.
    pub fn step(&self) -> Option<CaStep> {
        let rotation = self.rotation.as_ref()?;
        Some(
            if rotation.next.anchor.serial == self.present.anchor.serial {
                CaStep::Drop
            } else {
                rotation.memory.step
            },
        )
    }

    /// The CA that signs.
    pub fn signer(&self) -> &AuthorityFacts {
        match (&self.rotation, self.step()) {
            (Some(rotation), Some(CaStep::Leaves)) => rotation.next,
            _ => self.present,
        }
    }

    /// Whether the key of the CA with this serial number is in the cluster, so that its revoked certificates are listed here.
    pub fn lists(&self, serial: &str) -> bool {
        let next = self.rotation.as_ref().map(|rotation| rotation.next);
        let mut all = [Some(self.present), next].into_iter().flatten();
        all.any(|ca| ca.anchor.serial == serial && ca.key_is_here())
    }

    /// Whether the CA with this serial number is to be trusted by every port.
    pub fn trusts(&self, serial: &str) -> bool {
        let (signer, beside) = self.anchors();
        let mut all = std::iter::once(&signer).chain(&beside);
        all.any(|one| one.serial.as_deref() == Some(serial))
    }

    /// Whether another set of CAs comes beside a leaf that stays: who signed it may be out of reach, and what leaves an issuer must not
    /// need it. That a process has read it is known of those alone that are younger.
    pub fn leaf_stays(&self) -> bool {
        let waits = matches!(self.step(), Some(CaStep::Bundle | CaStep::Withdraw));
        waits && !self.present.key_is_here()
    }

    /// Whether a leaf that is to stay is one of the CA that signs.
    pub fn signed(&self, root: &CertificateInfo) -> bool {
        same_ca(root, &self.signer().anchor)
    }

    fn both(&self) -> bool {
        let both = [CaStep::Bundle, CaStep::Leaves, CaStep::Return];
        self.step().is_some_and(|step| both.contains(&step))
    }

    /// The CA that signs, and the others that are trusted, by their Secrets.
    pub fn anchors(&self) -> (Anchor, Vec<Anchor>) {
        let anchor = |secret: String, ca: &AuthorityFacts| Anchor {
            secret,
            serial: Some(ca.anchor.serial.clone()),
        };
        let present = anchor(authority_secret(self.resource), self.present);
        let next = self
            .rotation
            .as_ref()
            .map(|rotation| anchor(next_authority_secret(self.resource), rotation.next));
        match (next, self.step()) {
            (Some(next), Some(CaStep::Leaves)) => (next, vec![present]),
            (Some(next), _) if self.both() => (present, vec![next]),
            _ => (present, Vec::new()),
        }
    }

    /// Whether a leaf is signed by the right CA and comes with the right ones. Between rotations a `ca.crt` may hold more: it
    /// may have been left by an older release.
    pub fn suits(&self, root: &CertificateInfo, trusts: &[CertificateInfo]) -> bool {
        let signer = &self.signer().anchor;
        let has = |ca: &CertificateInfo| trusts.iter().any(|one| same_ca(one, ca));
        let Some(rotation) = &self.rotation else {
            return has(signer);
        };
        let wanted = if self.both() { 2 } else { 1 };
        same_ca(root, signer)
            && has(signer)
            && trusts.len() == wanted
            && (!self.both() || has(&self.present.anchor) && has(&rotation.next.anchor))
    }
}
