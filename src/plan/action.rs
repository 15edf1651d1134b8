//! What a plan asks for: one effect each, in order, each harmless when done twice.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::export::Job;
use super::revocation::record::Record;
use crate::api::v1alpha1::{Issuer, TikvSecurityStatus, TikvVolume};
use crate::tls::leaf::LeafSpec;

/// The decision of one reconcile.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The status must be stored before the first action: it names what could not be found again after a crash.
    pub persist_first: bool,
    /// Effects in order. The first that fails ends the reconcile.
    pub actions: Vec<Action>,
    /// Copies outside of the cluster that are to be looked at, when all else is done.
    pub exports: Vec<Job>,
    /// Status to store; the same as before means no write.
    pub status: TikvSecurityStatus,
    /// Volume objects to apply (specification and status); those of the same label that are not here are to be deleted.
    pub volumes: Vec<TikvVolume>,
    /// What a person following along should read.
    pub events: Vec<Note>,
    /// When to look again if nothing happens before.
    pub requeue: SignedDuration,
}

/// One effect.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a handful of them in a plan"
)]
pub enum Action {
    /// The finalizer goes onto the resource.
    AddFinalizer,
    /// A CA is made and stored as a Secret of type `kubernetes.io/tls`. Created or put into an emptied one, never overwritten.
    IssueCa {
        /// Name, labels and owner of the Secret.
        metadata: Box<ObjectMeta>,
        /// Whose CA it is.
        issuer: Box<Issuer>,
        /// Common name of the CA, where it is made here.
        common_name: String,
        /// Validity, where it is made here.
        duration: SignedDuration,
    },
    /// The CA in a Secret is written anew as its issuer has it now, if the certificate that is trusted is the same.
    RefreshCa {
        /// Name, labels and annotations of the Secret.
        metadata: Box<ObjectMeta>,
        /// What it holds.
        anchor: Anchor,
        /// Whose CA it is.
        issuer: Box<Issuer>,
    },
    /// The CA in one Secret takes the place of that in another, in one write.
    PromoteCa {
        /// Where it is.
        from: Anchor,
        /// Name, labels and annotations of the Secret whose CA it becomes.
        metadata: Box<ObjectMeta>,
    },
    /// The step of a rotation is written down, if the Secret of the next CA is as it was looked at.
    RecordCaRotation {
        /// Name of that Secret.
        secret: String,
        /// Its version.
        version: String,
        /// The annotation `ANNOTATION_CA_ROTATION`.
        memory: String,
    },
    /// The Secret of the next CA is emptied, if it is as it was looked at. Not deleted: an operator that may not delete
    /// Secrets can lose none.
    VacateCa {
        /// Its name.
        secret: String,
        /// Its version.
        version: String,
    },
    /// A leaf is signed by a CA and stored with `ca.crt` in one write.
    IssueLeaf {
        /// Name, labels, annotations and owner of the Secret.
        metadata: Box<ObjectMeta>,
        /// The CA that signs. It is trusted.
        authority: Anchor,
        /// The other CAs that are trusted.
        beside: Vec<Anchor>,
        /// What the leaf must say.
        spec: LeafSpec,
    },
    /// Other CAs come beside a leaf that stays, if its Secret is as it was looked at.
    TrustBeside {
        /// Its name.
        secret: String,
        /// Its version.
        version: String,
        /// The CA that signed it, and the others.
        trusted: Vec<Anchor>,
    },
    /// A master key is made, wrapped by the provider that the resource names, and its wrapped form stored as a Secret that
    /// can not be changed. Created, never overwritten.
    WrapMasterKey {
        /// Name, labels and annotations of the Secret.
        metadata: Box<ObjectMeta>,
    },
    /// Server-side apply of a ConfigMap of ours. Refused when the one of this name is not ours.
    ApplyConfigMap(Box<ConfigMap>),
    /// A JSON merge patch (RFC 7386) with `metadata.resourceVersion` in it, so that it fits what was looked at or fails.
    /// One atomic write: server-side apply can not replace a probe's handler that somebody else owns.
    PatchStatefulSet {
        /// Name of the StatefulSet.
        name: String,
        /// The patch.
        patch: Value,
    },
    /// A PD member's peer URLs in etcd (facts, TLS §1.5).
    UpdatePdPeerUrls {
        /// Name of the member.
        name: String,
        /// Its etcd identifier.
        member_id: u64,
        /// The new URLs.
        urls: Vec<String>,
    },
    /// PD's leadership goes to the named member.
    TransferPdLeader {
        /// Name of the member.
        to: String,
    },
    /// `max-store-down-time`, in PD's notation.
    SetMaxStoreDownTime(String),
    /// Leaders leave the store.
    EvictLeaders {
        /// The store.
        store: u64,
    },
    /// Leaders may come back.
    StopEvicting {
        /// The store.
        store: u64,
    },
    /// PD's maintenance lock is taken, where PD has one (facts, TLS §4.5). Fails when somebody else holds it.
    TakeMaintenance {
        /// As whom.
        id: String,
        /// For whoever finds it taken.
        description: String,
    },
    /// PD's maintenance lock is given back.
    ReleaseMaintenance {
        /// As whom it was taken.
        id: String,
    },
    /// A pod is deleted, if it is still the one with this UID.
    DeletePod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Why.
        reason: String,
    },
    /// A derived ConfigMap that nothing mounts any more is deleted, if it is still the one with this UID.
    DeleteConfigMap {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The record of what is revoked is written, with a CRL of each of these CAs, if the ConfigMap is as it was looked at. What
    /// prevents it stops nothing.
    PublishCrl {
        /// Name and labels of the ConfigMap.
        metadata: Box<ObjectMeta>,
        /// Its version; `None`: it is created.
        version: Option<String>,
        /// The CAs that are trusted, the one that signs first.
        authorities: Vec<Anchor>,
        /// The record, with number and times of the CRLs.
        record: Box<Record>,
    },
    /// `ca.crt` of the Secret `from` goes into a ConfigMap of another namespace. What others prevent there stops nothing here.
    PublishTrust {
        /// Name, namespace and labels of the ConfigMap.
        metadata: Box<ObjectMeta>,
        /// The Secret.
        from: String,
    },
    /// The ConfigMap of a namespace that is not to have it any more is deleted, if it is still the one with this UID.
    WithdrawTrust {
        /// The namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The finalizer goes; the resource is gone then.
    RemoveFinalizer,
}

/// A CA in a Secret, as it was when something was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Name of the Secret.
    pub secret: String,
    /// Its serial number: another one is not used. `None` for one that is made in the same plan.
    pub serial: Option<String>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// True for a warning.
    pub warning: bool,
    /// Stable word, `CamelCase`.
    pub reason: String,
    /// What was done or is the matter.
    pub message: String,
}

impl Action {
    /// Name for logs, metrics and errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "AddFinalizer",
            Self::IssueCa { .. } => "IssueCa",
            Self::RefreshCa { .. } => "RefreshCa",
            Self::TrustBeside { .. } => "TrustBeside",
            Self::PromoteCa { .. } => "PromoteCa",
            Self::RecordCaRotation { .. } => "RecordCaRotation",
            Self::VacateCa { .. } => "VacateCa",
            Self::IssueLeaf { .. } => "IssueLeaf",
            Self::WrapMasterKey { .. } => "WrapMasterKey",
            Self::ApplyConfigMap(_) => "ApplyConfigMap",
            Self::PatchStatefulSet { .. } => "PatchStatefulSet",
            Self::UpdatePdPeerUrls { .. } => "UpdatePdPeerUrls",
            Self::TransferPdLeader { .. } => "TransferPdLeader",
            Self::SetMaxStoreDownTime(_) => "SetMaxStoreDownTime",
            Self::EvictLeaders { .. } => "EvictLeaders",
            Self::StopEvicting { .. } => "StopEvicting",
            Self::TakeMaintenance { .. } => "TakeMaintenance",
            Self::ReleaseMaintenance { .. } => "ReleaseMaintenance",
            Self::DeletePod { .. } => "DeletePod",
            Self::DeleteConfigMap { .. } => "DeleteConfigMap",
            Self::PublishCrl { .. } => "PublishCrl",
            Self::PublishTrust { .. } => "PublishTrust",
            Self::WithdrawTrust { .. } => "WithdrawTrust",
            Self::RemoveFinalizer => "RemoveFinalizer",
        }
    }
}
