//! Client certificates: whether one is issued, when it is renewed, and what is said of it.
//!
//! A `TikvClientCertificate` never changes the cluster: a name that TiKV does not admit is refused, not put onto the list, because
//! that would restart stores at the wish of an application.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;

mod export;
pub mod policy;
pub mod request;
pub mod revoke;
pub mod status;
#[cfg(test)]
mod tests;

use super::action::Note;
use super::desired::Blocker;
use super::export::{Exports, Job, Known};
use super::names::{Part, authority_secret};
use super::objects::annotation;
use super::observed::{AuthorityFacts, SecretContent, SecretFacts, same_ca};
use super::renewal::renewal;
use super::revocation::record::{Entry, Stored};
use super::trust::same;
use crate::api::v1alpha1::{TikvClientCertificate, TikvClientCertificateStatus, TikvSecurity, Tls};
use crate::api::{
    ANNOTATION_APPLIED, ANNOTATION_SUBJECT, LABEL_CLIENT, LABEL_MANAGED_BY, LABEL_NAME, MANAGER,
};
use crate::tls::leaf::{LeafSpec, LeafUse};
use crate::tls::parse::CertificateInfo;
use request::Request;

/// Everything that is looked at for one `TikvClientCertificate`.
#[derive(Clone, Debug)]
pub struct ClientObserved {
    /// The resource.
    pub resource: TikvClientCertificate,
    /// Labels of its namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// The `TikvSecurity` that it refers to; `None` where there is none that this operator looks after.
    pub security: Option<TikvSecurity>,
    /// The CA that signs now, and the name of its Secret: the one that signed the operator's own set, where one did.
    pub authority: Option<(String, SecretFacts)>,
    /// The operator's own set of that cluster: its `ca.crt` is what clients are to trust now.
    pub cluster: Option<SecretFacts>,
    /// The Secret of the name that is asked for, whoever made it.
    pub secret: Option<ClientSecret>,
    /// The password for PKCS#12.
    pub password: PasswordState,
    /// What is revoked of that cluster's certificates.
    pub revoked: Stored,
    /// What is remembered of copies outside of the Kubernetes cluster, by place.
    pub exports: BTreeMap<String, Known>,
}

/// The Secret of a client certificate, without what is secret in it.
#[derive(Clone, Debug)]
pub struct ClientSecret {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it holds.
    pub content: ClientContent,
}

/// What the Secret of a client certificate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it in a reconcile"
)]
pub enum ClientContent {
    /// Key and certificate belong together, and the cluster's `ca.crt` vouches for them now.
    Valid {
        /// The certificate.
        certificate: CertificateInfo,
        /// The certificates of its `ca.crt`.
        trusts: Vec<CertificateInfo>,
        /// True when the CA that signs now signed it.
        by_present_authority: bool,
        /// PKCS#12 beside it.
        stores: Stores,
    },
    /// Something else; what is wrong with it, in words that give nothing away.
    Unusable(String),
}

/// PKCS#12 in the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// None.
    Absent,
    /// They open under the password and hold what the PEM files hold.
    Fit,
    /// They do not.
    Differ,
}

/// The password for PKCS#12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordState {
    /// There is one, one is to be made, or none is needed.
    Usable,
    /// The Secret that is named can not be used; why.
    Unusable(String),
}

/// The decision about one `TikvClientCertificate`.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// Whether the object is to be held, or let go, before it is deleted.
    pub hold: Option<bool>,
    /// Certificates that are revoked, before anything else is written.
    pub revoke: Vec<Entry>,
    /// What is written, if anything.
    pub action: Option<ClientAction>,
    /// Copies outside of the Kubernetes cluster that are to be looked at, when all else is done.
    pub exports: Vec<Job>,
    /// Status to store; the same as before means no write.
    pub status: TikvClientCertificateStatus,
    /// What a person following along should read.
    pub events: Vec<Note>,
    /// When to look again if nothing happens before.
    pub requeue: SignedDuration,
}

/// A write of the Secret: all of it at once.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAction {
    /// Name, labels and owner of the Secret.
    pub metadata: ObjectMeta,
    /// Resource version of what was looked at; `None`: it is created.
    pub replaces: Option<String>,
    /// The subject that is asked for, or was, with the certificate in the Secret; what [`ANNOTATION_SUBJECT`] is to say.
    pub subject: String,
    /// The certificate to issue; `None`: the one in the Secret stays, and what is beside it is brought to what it should be.
    pub issue: Option<(LeafSpec, LeafUse)>,
    /// Secret of the CA.
    pub authority: String,
    /// Secret whose `ca.crt` clients are to trust.
    pub trust: String,
    /// PKCS#12 too.
    pub pkcs12: bool,
    /// Where a new certificate says that revoked ones are listed.
    pub revocation_url: Option<String>,
}

/// What a request comes to.
struct Decision {
    request: Request,
    action: Option<ClientAction>,
    /// What is valid now.
    certificate: Option<CertificateInfo>,
    renew_at: Option<Timestamp>,
    /// Why TiKV does not admit the name yet.
    not_yet: Option<String>,
}

/// Decides.
pub fn plan(observed: &ClientObserved, now: Timestamp) -> ClientPlan {
    if observed.resource.metadata.deletion_timestamp.is_some() {
        return leave(observed, now);
    }
    let decided = decide(observed, now);
    let exports = export::decide(observed, Some(decided.as_ref()), now);
    let status = status::status(observed, decided.as_ref(), &exports, now);
    let events = status::events(observed, decided.as_ref(), &status);
    let requeue = match &decided {
        Ok(decision) if decision.action.is_some() => SignedDuration::from_secs(1),
        Ok(decision) if decision.not_yet.is_some() => SignedDuration::from_secs(15),
        Ok(decision) => {
            let next = revoke::next(observed, now);
            let times = decision.renew_at.into_iter().chain(next);
            until(times.min(), now)
        }
        // What is missing is in objects that are watched, but for namespaces and their labels.
        Err(_) => SignedDuration::from_mins(1),
    };
    let requeue = exports
        .next
        .map_or(requeue, |at| requeue.min(until(Some(at), now)));
    let revoke = revoke::due(observed, now);
    let issued = decided.is_ok() || !revoke::valid(observed, now).is_empty();
    ClientPlan {
        hold: (issued && !revoke::is_held(&observed.resource)).then_some(true),
        revoke,
        action: decided.ok().and_then(|decision| decision.action),
        exports: exports.jobs,
        status,
        events,
        requeue,
    }
}

/// An object that is being deleted: what was issued for it is revoked, then it goes, and its Secret with it.
fn leave(observed: &ClientObserved, now: Timestamp) -> ClientPlan {
    let mut plan = ClientPlan {
        hold: None,
        revoke: Vec::new(),
        action: None,
        exports: Vec::new(),
        status: observed.resource.status.clone().unwrap_or_default(),
        events: Vec::new(),
        requeue: SignedDuration::from_mins(1),
    };
    if !revoke::is_held(&observed.resource) {
        return plan;
    }
    let Exports {
        jobs,
        statuses,
        next,
        ..
    } = export::decide(observed, None, now);
    plan.exports = jobs;
    plan.requeue = next.map_or(plan.requeue, |at| plan.requeue.min(until(Some(at), now)));
    match revoke::farewell(observed, now) {
        revoke::Farewell::Go(entries) => {
            plan.revoke = entries;
            // Copies that are to go with it go first: nobody would know of them any more.
            plan.hold = statuses.is_empty().then_some(false);
        }
        revoke::Farewell::Wait(why) => plan.events.push(Note {
            warning: true,
            reason: "NotRevoked".to_owned(),
            message: format!(
                "It is not deleted yet, because its certificates would stay valid: {why}"
            ),
        }),
    }
    plan
}

/// Until the renewal, and ten minutes at most: what a watch missed is found then.
fn until(renew_at: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let longest = SignedDuration::from_mins(10);
    let left = renew_at.map_or(longest, |at| at.duration_since(now));
    left.clamp(SignedDuration::from_secs(1), longest)
}

fn decide(observed: &ClientObserved, now: Timestamp) -> Result<Decision, Blocker> {
    let resource = &observed.resource;
    let wanted = request::reference(resource);
    let (security, tls) = security(observed, &wanted)?;
    let request = request::parse(resource)?;
    if let Some(reason) = resource.spec.revoked {
        return Err(Blocker::new(
            "Revoked",
            format!(
                "spec.revoked is {reason:?}: every certificate that was issued is revoked, and none is issued{}",
                revoke::told(observed)
            ),
            "Take spec.revoked away for a new certificate, or delete this object.",
        ));
    }
    policy::permitted(&request, observed, security, tls)?;
    policy::admitted_name(&request, tls)?;
    policy::not_withdrawn(&request, security, &revoke::record(observed))?;
    own(observed, &request)?;
    if let PasswordState::Unusable(why) = &observed.password {
        return Err(Blocker::new(
            "PasswordUnusable",
            format!("the password for PKCS#12 can not be used: {why}"),
            "Correct the Secret that spec.pkcs12.passwordSecret names, or leave passwordSecret out: then a password is made.",
        ));
    }
    let (signer, ca, trusts) = authority(observed, &wanted)?;
    let secret = observed.secret.as_ref();
    let valid = secret.and_then(|secret| match &secret.content {
        ClientContent::Valid { certificate, .. } => Some(certificate.clone()),
        ClientContent::Unusable(_) => None,
    });
    let revoked = is_revoked(observed);
    let renew_at = valid.as_ref().map(|one| renewal(one, request.renew_before));
    let issue = due(secret, &request, ca, renew_at, now) || revoked;
    let complete = secret.is_some_and(|secret| lacks(&secret.content, &request, trusts));
    let action = (issue || complete).then(|| ClientAction {
        metadata: metadata(resource, &request.secret),
        replaces: secret.and_then(|secret| secret.metadata.resource_version.clone()),
        subject: request.leaf.subject.to_string(),
        issue: issue.then(|| (request.leaf.clone(), request.what_for)),
        authority: signer.to_owned(),
        trust: Part::Client.secret(&wanted.name),
        pkcs12: request.pkcs12,
        revocation_url: tls.revocation.as_ref().and_then(|one| one.url.clone()),
    });
    Ok(Decision {
        not_yet: not_yet(&request, resource, security),
        request,
        action,
        certificate: valid.filter(|_| !revoked),
        renew_at,
    })
}

/// The `TikvSecurity`, which must give its cluster TLS.
fn security<'a>(
    observed: &'a ClientObserved,
    wanted: &request::Reference,
) -> Result<(&'a TikvSecurity, &'a Tls), Blocker> {
    let security = observed.security.as_ref().ok_or_else(|| {
        Blocker::new(
            "SecurityNotFound",
            format!("there is no TikvSecurity {wanted} that this operator looks after"),
            "Correct spec.securityRef: name, and namespace when it is another than this one's.",
        )
    })?;
    let tls = security.spec.tls.as_ref().ok_or_else(|| {
        Blocker::new(
            "TlsNotRequested",
            format!(
                "TikvSecurity {wanted} asks for no TLS, so there is no CA and nothing to log in to"
            ),
            "Whoever answers for that cluster adds spec.tls.",
        )
    })?;
    Ok((security, tls))
}

/// Refuses when the Secret is somebody else's.
fn own(observed: &ClientObserved, request: &Request) -> Result<(), Blocker> {
    let uid = observed.resource.metadata.uid.as_deref();
    let foreign = observed.secret.as_ref().filter(|secret| {
        let owners = secret.metadata.owner_references.as_deref();
        let mut owners = owners.unwrap_or_default().iter();
        let ours = |owner: &OwnerReference| {
            owner.controller == Some(true) && Some(owner.uid.as_str()) == uid
        };
        !owners.any(ours)
    });
    if foreign.is_none() {
        return Ok(());
    }
    Err(Blocker::new(
        "ForeignObject",
        format!(
            "Secret {} exists and was not made for this TikvClientCertificate",
            request.secret
        ),
        "Rename or delete it, or make another TikvClientCertificate with another spec.secretName.",
    ))
}

/// The CA that signs now, which clients are told to trust, and all whom they are told to trust.
fn authority<'a>(
    observed: &'a ClientObserved,
    wanted: &request::Reference,
) -> Result<(&'a str, &'a AuthorityFacts, &'a [CertificateInfo]), Blocker> {
    let wait = |what: String| {
        let next = format!(
            "It is tried again; kubectl --namespace {} describe tikvsecurity {} says more.",
            wanted.namespace, wanted.name
        );
        Blocker::new("CaNotReady", what, next)
    };
    let missing = authority_secret(&wanted.name);
    let signer = observed.authority.as_ref();
    let name = signer.map_or(missing.as_str(), |(name, _)| name.as_str());
    let ours = |facts: &&SecretFacts| {
        let labels = facts.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|all| all.get(key)).map(String::as_str);
        label(LABEL_MANAGED_BY) == Some(MANAGER) && label(LABEL_NAME) == Some(&wanted.name)
    };
    let facts = signer.map(|(_, facts)| facts).filter(ours);
    let Some(SecretContent::Authority(ca)) = facts.map(|facts| &facts.content) else {
        return Err(wait(format!(
            "TikvSecurity {wanted} has no CA that can sign (Secret {name})"
        )));
    };
    let made = facts.and_then(|facts| annotation(&facts.metadata, ANNOTATION_APPLIED));
    if made.is_some_and(|made| made != ca.anchor.serial) {
        return Err(wait(format!(
            "Secret {name} of TikvSecurity {wanted} holds another CA than the one that was made"
        )));
    }
    let cluster = observed.cluster.as_ref().filter(ours);
    let Some(SecretContent::Leaf { trusts, .. }) = cluster.map(|facts| &facts.content) else {
        let secret = Part::Client.secret(&wanted.name);
        return Err(wait(format!(
            "what clients of TikvSecurity {wanted} are to trust is not known (Secret {secret})"
        )));
    };
    if !trusts.iter().any(|one| same_ca(one, &ca.anchor)) {
        return Err(wait(format!(
            "the CA in Secret {name} is not among those that the cluster of TikvSecurity {wanted} trusts"
        )));
    }
    let name = signer.map(|(name, _)| name.as_str());
    Ok((name.unwrap_or_default(), ca, trusts))
}

/// Whether a new certificate is needed. One that is valid and as asked for stays until its renewal.
fn due(
    secret: Option<&ClientSecret>,
    request: &Request,
    ca: &AuthorityFacts,
    renew_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let Some(secret) = secret else {
        return true;
    };
    let ClientContent::Valid {
        certificate,
        by_present_authority,
        ..
    } = &secret.content
    else {
        return true;
    };
    // One that ends with its CA can not be made to last longer.
    let can_last_longer = certificate.not_after < ca.ends;
    let another = annotation(&secret.metadata, ANNOTATION_APPLIED)
        .is_some_and(|serial| serial != certificate.serial);
    let leaf = &request.leaf;
    (renew_at.is_none_or(|at| now >= at) && can_last_longer)
        || certificate.key_algorithm != Some(leaf.key)
        || !by_present_authority
        || another
        || certificate.common_name.as_deref() != Some(leaf.common_name.as_str())
        // By what was asked for: not every issuer gives it.
        || annotation(&secret.metadata, ANNOTATION_SUBJECT).unwrap_or_default()
            != leaf.subject.to_string()
        || certificate.dns != leaf.dns
        || certificate.ips != leaf.ips
        || certificate.server_auth != (request.what_for == LeafUse::Both)
}

/// Whether the certificate in the Secret is revoked: by an object of this name that is gone, or before `revoked` was taken away.
fn is_revoked(observed: &ClientObserved) -> bool {
    let secret = observed.secret.as_ref();
    secret.is_some_and(|secret| match &secret.content {
        ClientContent::Valid { certificate, .. } => {
            revoke::record(observed).revokes(&certificate.serial)
        }
        ClientContent::Unusable(_) => false,
    })
}

/// Whether what is beside a valid certificate is other than it should be.
fn lacks(content: &ClientContent, request: &Request, trusted: &[CertificateInfo]) -> bool {
    let ClientContent::Valid { trusts, stores, .. } = content else {
        return false;
    };
    let wanted = if request.pkcs12 {
        Stores::Fit
    } else {
        Stores::Absent
    };
    *stores != wanted || !same(trusts, trusted)
}

/// Why TiKV does not admit the name yet; once it did, it does.
fn not_yet(
    request: &Request,
    resource: &TikvClientCertificate,
    security: &TikvSecurity,
) -> Option<String> {
    let before = resource.status.as_ref();
    let known = before.filter(|status| {
        status.allowed_since.is_some()
            && status.common_name.as_ref() == Some(&request.leaf.common_name)
    });
    if known.is_some() {
        return None;
    }
    policy::in_force(request, security).err()
}

fn metadata(resource: &TikvClientCertificate, name: &str) -> ObjectMeta {
    let owner = resource.metadata.name.clone().unwrap_or_default();
    let labels = [(LABEL_MANAGED_BY, MANAGER), (LABEL_CLIENT, owner.as_str())];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: resource.metadata.namespace.clone(),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        owner_references: Some(vec![OwnerReference {
            api_version: TikvClientCertificate::api_version(&()).into_owned(),
            kind: TikvClientCertificate::kind(&()).into_owned(),
            name: owner,
            uid: resource.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            // Nothing has to be done before the owner may go, and a right less is needed.
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}
