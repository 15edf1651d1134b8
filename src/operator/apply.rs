//! Carries out what was planned, one effect at a time; the first that fails ends the reconcile.
//!
//! # Guarantees
//! Each effect names what it was decided on (UID or resource version) or is harmless when repeated, so a crash
//! before, within or after it is mended by the next reconcile.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::error::Error;
use super::issuer::stored::StoredCa;
use super::objects::Objects;
use super::observe::secrets::{CA, CERTIFICATE, KEY, authority, field, is_vacant};
use super::reconcile::Context;
use super::report;
use super::revocation::{self, trial};
use super::{issuer, master_key};
use crate::api::v1alpha1::{Issuer, TikvSecurity};
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_CA_ROTATION, ANNOTATION_ISSUER};
use crate::issuer::{IssuerError, NewCa, Order};
use crate::plan::action::{Action, Anchor, Note};
use crate::plan::names::{Part, WRAPPED_KEY, authority_secret};
use crate::plan::revocation::record::Record;
use crate::tikv::pd::{Maintenance, PdClient, PdError};
use crate::tls::authority::{Authority, IssueError};
use crate::tls::leaf::{LeafSpec, LeafUse};
use crate::tls::parse::parse_all;
use crate::tls::revocation::Pointers;

/// What an action is carried out with.
pub(super) struct Applier<'a> {
    /// Objects of the `TikvSecurity`.
    pub objects: &'a Objects,
    /// PD as it was reached when it was looked at.
    pub pd: &'a PdClient,
    /// What every reconcile has at hand.
    pub context: &'a Context,
    /// What is wanted.
    pub resource: &'a TikvSecurity,
}

impl Applier<'_> {
    /// Carries out one action.
    #[allow(
        clippy::too_many_lines,
        reason = "one arm an action, and none left out"
    )]
    pub async fn apply(&self, action: &Action) -> Result<(), Error> {
        let objects = self.objects;
        match action {
            Action::AddFinalizer => objects.set_finalizer(true).await,
            Action::RemoveFinalizer => objects.set_finalizer(false).await,
            Action::IssueCa {
                metadata,
                issuer,
                common_name,
                duration,
            } => {
                let wanted = NewCa {
                    common_name: common_name.clone(),
                    duration: *duration,
                    now: Timestamp::now(),
                };
                self.issue_ca(metadata, issuer, &wanted).await
            }
            Action::RefreshCa {
                metadata,
                anchor,
                issuer,
            } => self.refresh_ca(metadata, anchor, issuer).await,
            Action::TrustBeside {
                secret,
                version,
                trusted,
            } => self.trust_beside(secret, version, trusted).await,
            Action::IssueLeaf {
                metadata,
                authority,
                beside,
                spec,
            } => self.issue_leaf(metadata, authority, beside, spec).await,
            Action::PromoteCa { from, metadata } => self.promote_ca(from, metadata).await,
            Action::RecordCaRotation {
                secret,
                version,
                memory,
            } => {
                let patch = json!({"metadata": {
                    "resourceVersion": version,
                    "annotations": {ANNOTATION_CA_ROTATION: memory},
                }});
                objects.merge::<Secret>(secret, &patch).await.map(drop)
            }
            Action::VacateCa { secret, version } => {
                let patch = json!({
                    "metadata": {
                        "resourceVersion": version,
                        "annotations": {
                            ANNOTATION_CA_ROTATION: null,
                            ANNOTATION_APPLIED: null,
                            ANNOTATION_ISSUER: null,
                        },
                    },
                    "data": {
                        CERTIFICATE: "",
                        KEY: "",
                        CA: null,
                        trial::CERTIFICATE: null,
                        trial::KEY: null,
                    },
                });
                objects.merge::<Secret>(secret, &patch).await.map(drop)
            }
            Action::WrapMasterKey { metadata } => self.wrap_master_key(metadata).await,
            Action::ApplyConfigMap(map) => objects.put::<ConfigMap>(map).await.map(drop),
            Action::PatchStatefulSet { name, patch } => {
                objects.merge::<StatefulSet>(name, patch).await.map(drop)
            }
            Action::UpdatePdPeerUrls {
                name,
                member_id,
                urls,
            } => {
                let sent = self.pd.set_peer_urls(&member_id.to_string(), urls).await;
                sent.map_err(pd(format!("setting the peer URLs of PD member {name}")))
            }
            Action::TransferPdLeader { to } => {
                let sent = self.pd.transfer_leader(to).await;
                sent.map_err(pd(format!("giving PD's leadership to {to}")))
            }
            Action::SetMaxStoreDownTime(value) => {
                let sent = self.pd.set_max_store_down_time(value).await;
                sent.map_err(pd(format!("setting PD's max-store-down-time to {value}")))
            }
            Action::EvictLeaders { store } => {
                let sent = self.pd.add_evict_leader(*store).await;
                sent.map_err(pd(format!("evicting leaders from store {store}")))
            }
            Action::StopEvicting { store } => {
                let sent = self.pd.remove_evict_leader(*store).await;
                sent.map_err(pd(format!("letting leaders back to store {store}")))
            }
            Action::TakeMaintenance { id, description } => {
                let doing = "taking PD's maintenance lock".to_owned();
                match self.pd.take_maintenance(id, description).await {
                    Ok(Maintenance::Held | Maintenance::Unsupported) => Ok(()),
                    Ok(Maintenance::Busy(holder)) => Err(Error::Busy { doing, holder }),
                    Err(source) => Err(Error::Pd { doing, source }),
                }
            }
            Action::ReleaseMaintenance { id } => {
                let sent = self.pd.release_maintenance(id).await;
                sent.map_err(pd("giving PD's maintenance lock back".to_owned()))
            }
            Action::DeletePod { name, uid, .. } => objects.delete_pod(name, uid).await,
            Action::PublishCrl { .. }
            | Action::PublishTrust { .. }
            | Action::WithdrawTrust { .. } => {
                self.beside(action).await;
                Ok(())
            }
            Action::DeleteConfigMap { name, uid } => {
                objects.delete_exactly::<ConfigMap>(name, uid).await
            }
        }
    }

    /// What stops nothing when it fails.
    async fn beside(&self, action: &Action) {
        let objects = self.objects;
        match action {
            Action::PublishCrl {
                metadata,
                version,
                authorities,
                record,
            } => {
                let done = self.publish_crl(metadata, version.as_ref(), authorities, record);
                let done = done.await;
                self.told("CrlNotPublished", done).await;
            }
            Action::PublishTrust { metadata, from } => {
                let done = self.publish_trust(metadata, from).await;
                self.elsewhere(metadata.namespace.as_deref(), done).await;
            }
            Action::WithdrawTrust {
                namespace,
                name,
                uid,
            } => {
                let done = objects.within(namespace);
                let done = done.delete_exactly::<ConfigMap>(name, uid).await;
                self.elsewhere(Some(namespace), done).await;
            }
            _ => {}
        }
    }

    async fn publish_trust(&self, metadata: &ObjectMeta, from: &str) -> Result<(), Error> {
        let stored: Option<Secret> = self.objects.get(from).await?;
        let stored = stored.ok_or_else(|| Error::Gone(format!("Secret {from} is not there")))?;
        let bundle =
            field(&stored, CA).map_err(|why| Error::Malformed(format!("Secret {from}: {why}")))?;
        let map = ConfigMap {
            metadata: metadata.clone(),
            data: Some([(CA.to_owned(), String::from_utf8_lossy(bundle).into_owned())].into()),
            ..ConfigMap::default()
        };
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let objects = self.objects.within(namespace);
        let name = metadata.name.as_deref().unwrap_or_default();
        match objects.get::<ConfigMap>(name).await? {
            None => objects.create(&map).await.map(drop),
            Some(found) => {
                let patch = json!({
                    "metadata": {"resourceVersion": found.metadata.resource_version},
                    "data": map.data,
                });
                objects.merge::<ConfigMap>(name, &patch).await.map(drop)
            }
        }
    }

    /// What failed in a namespace of somebody else is told, and tried again by the next reconcile.
    async fn elsewhere(&self, namespace: Option<&str>, done: Result<(), Error>) {
        tracing::debug!(?namespace, "CA certificates in another namespace");
        self.told("TrustNotPublished", done).await;
    }

    /// What failed and stops nothing else.
    async fn told(&self, reason: &str, done: Result<(), Error>) {
        let Err(error) = done else { return };
        tracing::warn!(reason, %error, "goes on without");
        let note = Note {
            warning: true,
            reason: reason.to_owned(),
            message: error.to_string(),
        };
        report::events(&self.context.recorder, self.resource, &[note]).await;
    }

    async fn publish_crl(
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

    async fn wrap_master_key(&self, metadata: &ObjectMeta) -> Result<(), Error> {
        let wrapped = master_key::wrap(self.context, self.objects, self.resource).await?;
        let secret = Secret {
            metadata: metadata.clone(),
            type_: Some("Opaque".to_owned()),
            // From now on data is under it: nobody may change it, by mistake or otherwise.
            immutable: Some(true),
            data: Some([(WRAPPED_KEY.to_owned(), ByteString(wrapped))].into()),
            ..Secret::default()
        };
        self.objects.create(&secret).await.map(drop)
    }

    async fn issue_ca(
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
        let made = made.map_err(|source| self.not_given(secret, "asking for the CA", source))?;
        self.context.issuers.given(&self.uid(), secret);
        let own = made.key.as_ref().map(|key| {
            let authority = Authority::stored(made.certificates.clone(), key.expose());
            authority.map(Arc::new)
        });
        let own = own.transpose().map_err(|error| {
            let name = issuer.choice().map(|choice| choice.to_string());
            let source = IssuerError::of_issue(&name.unwrap_or_default(), &error);
            self.not_given(secret, "taking up the CA", source)
        })?;
        Ok(StoredCa {
            issuer: issuer.clone(),
            certificates: made.certificates,
            own,
        })
    }

    /// Remembered, so that it is not asked for again at once, and everything else goes on meanwhile.
    fn not_given(&self, secret: &str, doing: &str, source: IssuerError) -> Error {
        self.context.issuers.failed(&self.uid(), secret, &source);
        let doing = format!("{doing} for Secret {secret}");
        Error::NotIssued { doing, source }
    }

    fn uid(&self) -> String {
        self.resource.metadata.uid.clone().unwrap_or_default()
    }

    /// As its issuer has it now; another CA than a moment ago needs a rotation, and is not taken here.
    async fn refresh_ca(
        &self,
        metadata: &ObjectMeta,
        anchor: &Anchor,
        issuer: &Issuer,
    ) -> Result<(), Error> {
        let present = self.anchor(anchor, "refreshing the CA").await?;
        // Of one that makes its CA there is nothing new but how it is reached.
        let asked = issuer::named(self.context, self.objects, issuer).await?;
        let certificates = asked.look().await;
        let certificates = certificates
            .map_err(|source| self.not_given(&anchor.secret, "refreshing the CA", source))?;
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
    async fn promote_ca(&self, from: &Anchor, metadata: &ObjectMeta) -> Result<(), Error> {
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

    async fn trust_beside(
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

    async fn issue_leaf(
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
        let leaf = leaf.map_err(|source| self.not_given(&secret_name, &doing, source))?;
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

fn pd(doing: String) -> impl FnOnce(PdError) -> Error {
    move |source| Error::Pd { doing, source }
}
