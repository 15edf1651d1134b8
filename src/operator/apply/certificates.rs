//! CAs and leaves: had from an issuer, and written into their Secrets, each in one write.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::Applier;
use crate::api::ANNOTATION_APPLIED;
use crate::api::v1alpha1::Issuer;
use crate::issuer::{IssuerError, NewCa, Order};
use crate::operator::error::Error;
use crate::operator::issuer::{self, stored::StoredCa};
use crate::operator::observe::secrets::{CA, CERTIFICATE, KEY, authority, is_vacant};
use crate::operator::revocation::{self, trial};
use crate::plan::action::Anchor;
use crate::plan::names::{Part, authority_secret};
use crate::plan::revocation::record::Record;
use crate::tls::authority::{Authority, IssueError};
use crate::tls::leaf::{LeafSpec, LeafUse};
use crate::tls::parse::parse_all;
use crate::tls::revocation::Pointers;

impl Applier<'_> {
    /// Signs the lists of what is revoked, and writes them with the record.
    pub(super) async fn publish_crl(
        &self,
        metadata: &ObjectMeta,
        version: Option<&String>,
        authorities: &[Anchor],
        record: &Record,
    ) -> Result<(), Error> {
        let mut signers = Vec::new();
        for anchor in authorities {
            // Of one whose key is elsewhere there is no list here.
            if let Some(own) = self.anchor(anchor, "signing the CRL").await?.own {
                signers.push((*own).clone());
            }
        }
        revocation::publish(self.objects, metadata, version, &signers, record).await
    }

    /// Where the leaves of a CA say that revoked ones are listed.
    fn pointers(&self, ca: &StoredCa) -> Option<Pointers> {
        let tls = self.resource.spec.tls.as_ref()?;
        let url = tls.revocation.as_ref()?.url.as_ref()?;
        let objects = self.objects;
        let serial = &ca.certificates.anchor().serial;
        Some(Pointers::below(
            url,
            objects.namespace(),
            objects.owner(),
            serial,
        ))
    }

    /// Has a CA of an issuer, and stores it where there is none.
    pub(super) async fn issue_ca(
        &self,
        metadata: &ObjectMeta,
        issuer: &Issuer,
        wanted: &NewCa,
    ) -> Result<(), Error> {
        let name = metadata.name.clone().unwrap_or_default();
        let made = self.authority_of(&name, issuer, wanted).await?;
        let made = stored(metadata, &made);
        let place: Option<Secret> = self.objects.get(&name).await?;
        let Some(place) = place.filter(|place| is_vacant(place, self.objects.owner())) else {
            return self.objects.create(&made).await.map(drop);
        };
        let patch = json!({
            "metadata": {
                "resourceVersion": place.metadata.resource_version,
                "annotations": made.metadata.annotations,
            },
            "data": made.data,
        });
        self.objects.merge::<Secret>(&name, &patch).await.map(drop)
    }

    /// A CA of an issuer, for the Secret of this name.
    async fn authority_of(
        &self,
        secret: &str,
        issuer: &Issuer,
        wanted: &NewCa,
    ) -> Result<StoredCa, Error> {
        let reached = issuer::named(self.context, self.objects, issuer).await?;
        let made = reached.authority(wanted).await;
        let made =
            made.map_err(|source| self.not_given(issuer, secret, "asking for the CA", source))?;
        self.context.issuers.given(&self.uid(), secret);
        let own = made.key.as_ref().map(|key| {
            let authority = Authority::stored(made.certificates.clone(), key.expose());
            authority.map(Arc::new)
        });
        let own = own.transpose().map_err(|error| {
            let name = issuer.choice().map(|choice| choice.to_string());
            let source = IssuerError::of_issue(&name.unwrap_or_default(), &error);
            self.not_given(issuer, secret, "taking up the CA", source)
        })?;
        Ok(StoredCa {
            issuer: issuer.clone(),
            certificates: made.certificates,
            own,
        })
    }

    /// Remembered, so that it is not asked for again at once, and everything else goes on meanwhile.
    fn not_given(&self, issuer: &Issuer, secret: &str, doing: &str, source: IssuerError) -> Error {
        let (namespace, name) = (self.objects.namespace(), self.objects.owner());
        self.context
            .metrics
            .not_issued(namespace, name, issuer, source.class);
        self.context.issuers.failed(&self.uid(), secret, &source);
        let doing = format!("{doing} for Secret {secret}");
        Error::NotIssued { doing, source }
    }

    fn uid(&self) -> String {
        self.resource.metadata.uid.clone().unwrap_or_default()
    }

    /// As its issuer has it now; another CA than a moment ago needs a rotation, and is not taken here.
    pub(super) async fn refresh_ca(
        &self,
        metadata: &ObjectMeta,
        anchor: &Anchor,
        issuer: &Issuer,
    ) -> Result<(), Error> {
        let present = self.anchor(anchor, "refreshing the CA").await?;
        // Of one that makes its CA there is nothing new but how it is reached.
        let asked = issuer::named(self.context, self.objects, issuer).await?;
        let certificates = asked.look().await;
        let certificates = certificates.map_err(|source| {
            self.not_given(issuer, &anchor.secret, "refreshing the CA", source)
        })?;
        let fresh = match certificates {
            None => StoredCa {
                issuer: issuer.clone(),
                ..present
            },
            Some(_) => {
                let wanted = NewCa {
                    common_name: String::new(),
                    duration: jiff::SignedDuration::ZERO,
                    now: Timestamp::now(),
                };
                let fresh = self.authority_of(&anchor.secret, issuer, &wanted).await?;
                if fresh.certificates.anchor() != present.certificates.anchor() {
                    return Err(Error::Gone(
                        "refreshing the CA: the issuer has another one now".to_owned(),
                    ));
                }
                fresh
            }
        };
        self.objects.put(&stored(metadata, &fresh)).await.map(drop)
    }

    /// One write: certificate and key change together, or not at all.
    pub(super) async fn promote_ca(
        &self,
        from: &Anchor,
        metadata: &ObjectMeta,
    ) -> Result<(), Error> {
        let ca = self.anchor(from, "replacing the CA").await?;
        self.keep_trial(from).await?;
        self.objects.put(&stored(metadata, &ca)).await.map(drop)
    }

    /// Something that the CA which goes has signed stays beside the next one, so that the ports can be seen to refuse it.
    async fn keep_trial(&self, next: &Anchor) -> Result<(), Error> {
        let objects = self.objects;
        let present = authority_secret(objects.owner());
        let stored: Option<Secret> = objects.get(&present).await?;
        let Some(Ok(going)) = stored.as_ref().map(authority) else {
            return Ok(());
        };
        let kept: Option<Secret> = objects.get(&next.secret).await?;
        if kept.is_some_and(|kept| trial::is_of(&kept, &going)) {
            return Ok(());
        }
        let name = Part::Client.common_name(objects.owner(), objects.namespace());
        let made = match trial::issue(&going, &name, true) {
            Ok(made) => made,
            // Nothing of it is accepted any more.
            Err(IssueError::AuthorityExpired(_)) => return Ok(()),
            Err(error) => return Err(Error::issue("making a certificate for a trial")(error)),
        };
        let patch = json!({"data": trial::data(&made)});
        objects
            .merge::<Secret>(&next.secret, &patch)
            .await
            .map(drop)
    }

    /// The CA of a Secret of ours, if it is the one that was decided on.
    async fn anchor(&self, anchor: &Anchor, doing: &str) -> Result<StoredCa, Error> {
        let name = &anchor.secret;
        self.objects.guard::<Secret>(name).await?;
        let stored: Option<Secret> = self.objects.get(name).await?;
        let stored = stored
            .ok_or_else(|| Error::Gone(format!("{doing}: the Secret {name} is not there")))?;
        let ca = StoredCa::read(&stored)
            .map_err(|why| Error::Malformed(format!("{doing}: Secret {name}: {why}")))?;
        match &anchor.serial {
            Some(serial) if *serial != ca.certificates.anchor().serial => Err(Error::Gone(
                format!("{doing}: the Secret {name} holds another CA than a moment ago"),
            )),
            _ => Ok(ca),
        }
    }

    /// The certificates of several CAs, one after the other.
    async fn trusted(&self, anchors: &[Anchor], doing: &str) -> Result<String, Error> {
        let mut trusted = String::new();
        for anchor in anchors {
            let ca = self.anchor(anchor, doing).await?;
            trusted.push_str(ca.certificates.anchor_pem());
            if !trusted.ends_with('\n') {
                trusted.push('\n');
            }
        }
        Ok(trusted)
    }

    /// Other CAs come beside a leaf that stays.
    pub(super) async fn trust_beside(
        &self,
        secret: &str,
        version: &str,
        trusted: &[Anchor],
    ) -> Result<(), Error> {
        let doing = format!("bringing other CAs into Secret {secret}");
        let trusted = self.trusted(trusted, &doing).await?;
        let patch = json!({
            "metadata": {"resourceVersion": version},
            "data": {CA: ByteString(trusted.into_bytes())},
        });
        self.objects.merge::<Secret>(secret, &patch).await.map(drop)
    }

    /// Has a leaf signed, and stores it with all that belongs to it.
    pub(super) async fn issue_leaf(
        &self,
        metadata: &ObjectMeta,
        from: &Anchor,
        beside: &[Anchor],
        spec: &LeafSpec,
    ) -> Result<(), Error> {
        let doing = format!("issuing the certificate {}", spec.common_name);
        let secret_name = metadata.name.clone().unwrap_or_default();
        let ca = self.anchor(from, &doing).await?;
        let mut trusted = ca.certificates.anchor_pem().to_owned();
        trusted.push_str(&self.trusted(beside, &doing).await?);
        let signer = issuer::signer(self.context, self.objects, &ca).await?;
        let order = Order {
            spec: spec.clone(),
            what_for: LeafUse::Both,
            anchor_pem: ca.certificates.anchor_pem().to_owned(),
            now: Timestamp::now(),
            pointers: self.pointers(&ca),
            number: None,
        };
        let leaf = signer.issue(&order).await;
        let leaf =
            leaf.map_err(|source| self.not_given(&ca.issuer, &secret_name, &doing, source))?;
        self.context.issuers.given(&self.uid(), &secret_name);
        let parsed = parse_all(leaf.certificate_pem.as_bytes());
        let serial = parsed
            .ok()
            .and_then(|all| Some(all.first()?.serial.clone()));
        let data = [
            (CA, trusted.into_bytes()),
            (CERTIFICATE, leaf.certificate_pem.into_bytes()),
            (KEY, leaf.key_pem.expose().to_vec()),
        ];
        // All three in one write: TiKV must never see a key beside another certificate (facts, TLS §2.1).
        let made = secret(metadata, &serial.unwrap_or_default(), data);
        self.objects.put(&made).await.map(drop)
    }
}

/// A CA as a Secret.
fn stored(metadata: &ObjectMeta, ca: &StoredCa) -> Secret {
    let mut metadata = metadata.clone();
    let notes = metadata.annotations.get_or_insert_default();
    notes.extend(ca.note());
    secret(&metadata, &ca.certificates.anchor().serial, ca.data())
}

/// With the serial of its certificate beside it: one that somebody else put there has another.
fn secret(
    metadata: &ObjectMeta,
    serial: &str,
    data: impl IntoIterator<Item = (&'static str, Vec<u8>)>,
) -> Secret {
    let mut metadata = metadata.clone();
    let notes = metadata.annotations.get_or_insert_default();
    if !serial.is_empty() {
        notes.insert(ANNOTATION_APPLIED.to_owned(), serial.to_owned());
    }
    let data = data.into_iter();
    let data = data.map(|(key, bytes)| (key.to_owned(), ByteString(bytes)));
    Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}
