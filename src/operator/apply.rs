//! Carries out what was planned, one effect at a time; the first that fails ends the reconcile.
//!
//! # Guarantees
//! Each effect names what it was decided on (UID or resource version) or is harmless when repeated, so a crash
//! before, within or after it is mended by the next reconcile.

mod certificates;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::error::Error;
use super::master_key;
use super::objects::Objects;
use super::observe::secrets::{CA, CERTIFICATE, KEY, field};
use super::reconcile::Context;
use super::report;
use super::revocation::trial;
use crate::api::v1alpha1::TikvSecurity;
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_CA_ROTATION, ANNOTATION_ISSUER};
use crate::issuer::NewCa;
use crate::plan::action::{Action, Note};
use crate::plan::names::WRAPPED_KEY;
use crate::tikv::pd::{Maintenance, PdClient, PdError};

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
                self.told("TrustNotPublished", done).await;
            }
            Action::WithdrawTrust {
                namespace,
                name,
                uid,
            } => {
                let done = objects.within(namespace);
                let done = done.delete_exactly::<ConfigMap>(name, uid).await;
                self.told("TrustNotPublished", done).await;
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

    /// What failed and stops nothing else is told, and tried again by the next reconcile.
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
}

fn pd(doing: String) -> impl FnOnce(PdError) -> Error {
    move |source| Error::Pd { doing, source }
}
