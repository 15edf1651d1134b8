//! Issuers of the world: who signs, and who does not any more.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::World;
use crate::api::ANNOTATION_CA_ROTATION;
use crate::api::v1alpha1::Issuer;
use crate::plan::action::Anchor;
use crate::plan::observed::{AuthorityFacts, IssueFailure, IssuerLook, SecretContent};
use crate::tls::leaf::LeafSpec;
use crate::tls::parse::CertificateInfo;

impl World {
    /// What an issuer gives as its CA.
    pub(super) fn authority(
        &mut self,
        issuer: &Issuer,
        common_name: &str,
        duration: SignedDuration,
    ) -> SecretContent {
        let (anchor, signer) = match &self.seen.issuer {
            IssuerLook::Offers { anchor, signer } => ((**anchor).clone(), (**signer).clone()),
            IssuerLook::Makes => {
                let made = self.certificate(common_name, common_name, duration);
                (made.clone(), made)
            }
            IssuerLook::Refused { message, .. } => panic!("asked although it said {message}"),
        };
        SecretContent::Authority(Box::new(AuthorityFacts {
            ends: anchor.not_after.min(signer.not_after),
            anchor,
            signer,
            issuer: issuer.clone(),
        }))
    }

    /// The CA in a Secret.
    pub(super) fn ca(&self, anchor: &Anchor) -> AuthorityFacts {
        match &self.seen.secrets[&anchor.secret].content {
            SecretContent::Authority(ca) => {
                let serial = anchor.serial.as_ref();
                assert!(serial.is_none_or(|serial| *serial == ca.anchor.serial));
                (**ca).clone()
            }
            other => panic!("no CA: {other:?}"),
        }
    }

    /// Whether somebody signs for it: the key is here, or the issuer that has it now.
    pub(super) fn signs(&self, anchor: &Anchor) -> bool {
        let ca = self.ca(anchor);
        ca.key_is_here()
            || match &self.seen.issuer {
                IssuerLook::Offers { anchor, .. } => anchor.serial == ca.anchor.serial,
                IssuerLook::Makes => {
                    self.seen.resource.spec.tls.as_ref().unwrap().issuer == ca.issuer
                }
                IssuerLook::Refused { .. } => false,
            }
    }

    pub fn not_given(&mut self, secret: &str) {
        let failure = IssueFailure {
            message: "issuer x does not answer".to_owned(),
            retry_at: self.now + SignedDuration::from_secs(30),
        };
        self.seen.not_issued.insert(secret.to_owned(), failure);
    }

    pub(super) fn trust_beside(
        &mut self,
        secret: &str,
        version: &str,
        beside: Vec<CertificateInfo>,
    ) {
        self.serial += 1;
        let facts = self.seen.secrets.get_mut(secret).unwrap();
        assert_eq!(facts.metadata.resource_version.as_deref(), Some(version));
        facts.metadata.resource_version = Some(self.serial.to_string());
        let SecretContent::Leaf { trusts, root, .. } = &mut facts.content else {
            panic!("no leaf: {:?}", facts.content);
        };
        assert!(
            beside.iter().any(|ca| ca.serial == root.serial),
            "a leaf would be trusted by nobody"
        );
        *trusts = beside;
    }

    /// A leaf by whoever signs.
    pub(super) fn issue_leaf(
        &mut self,
        metadata: &ObjectMeta,
        authority: &Anchor,
        beside: &[Anchor],
        spec: &LeafSpec,
    ) {
        let name = metadata.name.clone().unwrap();
        if !self.signs(authority) {
            self.not_given(&name);
            return;
        }
        self.seen.not_issued.remove(&name);
        let signer = self.ca(authority).anchor;
        let others = beside.iter().map(|anchor| self.ca(anchor).anchor);
        let trusts = std::iter::once(signer.clone()).chain(others).collect();
        let (name, issuer) = (&spec.common_name, &signer.subject);
        let mut certificate = self.certificate(name, issuer, spec.duration);
        (certificate.dns, certificate.ips) = (spec.dns.clone(), spec.ips.clone());
        certificate.key_algorithm = Some(spec.key);
        let content = SecretContent::Leaf {
            certificate,
            trusts,
            root: Box::new(signer),
        };
        self.store(metadata, content);
    }

    /// The memory of a rotation of the CA.
    pub(super) fn record_rotation(&mut self, secret: &str, version: &str, memory: &str) {
        self.serial += 1;
        let written = self.serial.to_string();
        let metadata = &mut self.seen.secrets.get_mut(secret).unwrap().metadata;
        assert_eq!(
            metadata.resource_version.as_ref(),
            Some(&version.to_owned())
        );
        metadata.resource_version = Some(written);
        let notes = metadata.annotations.get_or_insert_default();
        notes.insert(ANNOTATION_CA_ROTATION.to_owned(), memory.to_owned());
    }
}
