//! Certificates: which are made, when they are renewed, and whether the ports serve them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::acme;
use super::action::{Action, Anchor};
use super::ca::{self, Course, Source};
use super::desired::{Blocker, Desired};
use super::detect::Layouts;
use super::leaf::{dialled, leaf};
use super::mysql;
use super::names::{Part, authority_secret, next_authority_secret};
use super::objects::{annotation, is_ours, metadata};
use super::observed::{AuthorityFacts, IssuerLook, Observed, SecretContent};
use super::renewal::renewal;
use super::revocation;
use crate::api::v1alpha1::{CertificateStatus, DriftPolicy};
use crate::api::{
    ANNOTATION_APPLIED, ANNOTATION_EMERGENCY, ANNOTATION_ISSUED, ANNOTATION_ROTATION,
    ANNOTATION_SUBJECT,
};
use crate::tls::leaf::LeafSpec;
use crate::tls::parse::CertificateInfo;

/// Certificates to make now.
pub fn issue(
    observed: &Observed,
    desired: &Desired,
    layouts: &Layouts<'_>,
    now: Timestamp,
) -> Result<Vec<Action>, Blocker> {
    let name = observed.name();
    let authority = authority_secret(name);
    foreign(observed)?;
    let parts = observed.parts();
    let mut needed: BTreeSet<String> = parts
        .iter()
        .flat_map(|part| dialled(*part, layouts))
        .collect();
    // By these the operator itself dials.
    let dials = [
        Some(&layouts.tikv),
        Some(&layouts.pd),
        layouts.tidb.as_ref(),
    ];
    let dials = dials.into_iter().flatten();
    needed.extend(dials.map(|one| format!("{}.{}.svc", one.service(), observed.namespace())));
    acme::refuse(desired, &needed)?;
    let ca = present(observed, &authority)?;
    let course = ca.map(|ca| ca::course(observed, ca)).transpose()?;
    let signer = course.as_ref().map(Course::signer);
    if let Some(ended) = signer.filter(|ca| now >= ca.ends) {
        return Err(Blocker::new(
            "CaExpired",
            format!(
                "the CA in Secret {authority} ended on {}, and every certificate with it",
                ended.ends
            ),
            anew(observed),
        ));
    }
    let mut actions = Vec::new();
    let rotate = &observed.resource.spec.rotate;
    if ca.is_none() {
        if let IssuerLook::Refused { message, remedy } = &observed.issuer {
            return Err(Blocker::new(
                "IssuerUnusable",
                message.clone(),
                remedy.clone(),
            ));
        }
        awaited(observed, &authority, now)?;
        // What was asked for before there was a CA is answered by the first one.
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let notes = [
            (ANNOTATION_ROTATION, word(&rotate.ca)),
            (ANNOTATION_EMERGENCY, word(&rotate.ca_emergency)),
        ];
        actions.push(Action::IssueCa {
            metadata: Box::new(metadata(observed, &authority, "ca", &notes)),
            issuer: Box::new(desired.issuer.clone()),
            common_name: format!("{name}.{}.tikv-security CA", observed.namespace()),
            duration: desired.ca_duration,
        });
    }
    let rotation = rotate.certificates.clone().unwrap_or_default();
    let first = Anchor {
        secret: authority,
        serial: None,
    };
    let anchors = course.as_ref().map(Course::anchors);
    let (authority, beside) = anchors.unwrap_or((first, Vec::new()));
    if let Some(course) = &course {
        actions.extend(moved(observed, desired, course, &authority, now));
    }
    let signer = course.as_ref().map(|course| &course.signer().issuer);
    let issuer = signer.unwrap_or(&desired.issuer);
    for part in observed.parts() {
        let spec = leaf(observed, desired, part, layouts, issuer);
        let secret = part.secret(name);
        let need = course.as_ref().map_or(Need::Leaf, |course| {
            need(observed, desired, part, &spec, course, &rotation, now)
        });
        let failed = observed.not_issued.get(&secret);
        // Nothing may come to need a Secret that can not be had yet.
        if !matches!(content(observed, &secret), Some(SecretContent::Leaf { .. })) {
            awaited(observed, &secret, now)?;
        }
        if need == Need::Trust {
            let version = observed.secrets.get(&secret);
            let version = version.and_then(|secret| secret.metadata.resource_version.clone());
            actions.push(Action::TrustBeside {
                secret,
                version: version.unwrap_or_default(),
                trusted: [authority.clone()]
                    .into_iter()
                    .chain(beside.clone())
                    .collect(),
            });
        } else if need == Need::Leaf && failed.is_none_or(|failed| now >= failed.retry_at) {
            let mut notes = vec![(ANNOTATION_ROTATION, rotation.clone())];
            if part == Part::TidbServer {
                notes.push((ANNOTATION_ISSUED, now.to_string()));
            }
            notes.extend(subject_note(observed, &secret, &spec));
            actions.push(Action::IssueLeaf {
                metadata: Box::new(metadata(observed, &secret, part.name(), &notes)),
                authority: authority.clone(),
                beside: beside.clone(),
                spec,
            });
        }
    }
    Ok(actions)
}

/// The CA that is there, if it is the one that was made; none before anything was issued.
fn present<'a>(
    observed: &'a Observed,
    authority: &str,
) -> Result<Option<&'a AuthorityFacts>, Blocker> {
    let name = observed.name();
    let present = observed.secrets.get(authority);
    let ca = match present.map(|secret| &secret.content) {
        Some(SecretContent::Authority(facts)) => Some(&**facts),
        Some(_) => {
            return Err(Blocker::new(
                "CaUnusable",
                format!("Secret {authority} does not hold a CA certificate and its key"),
                "Restore it from a backup; a new CA would not be trusted by what runs.",
            ));
        }
        None if observed
            .parts()
            .iter()
            .any(|part| observed.secrets.contains_key(&part.secret(name))) =>
        {
            return Err(Blocker::new(
                "CaLost",
                format!("Secret {authority} is gone, but certificates signed by it are in use"),
                "Restore it from a backup. To start anew with an outage, delete the Secrets whose names end with -tls as well.",
            ));
        }
        None => None,
    };
    let made = present.and_then(|secret| annotation(&secret.metadata, ANNOTATION_APPLIED));
    if let (Some(ca), Some(made)) = (ca, made)
        && made != ca.anchor.serial
    {
        return Err(Blocker::new(
            "CaReplaced",
            format!(
                "Secret {authority} holds another CA (serial {}) than the one that was made (serial {made}), and what runs does not trust it",
                ca.anchor.serial
            ),
            "Restore it from a backup; nothing is issued meanwhile.",
        ));
    }
    Ok(ca)
}

/// Refuses while something that nothing can go on without is not to be asked for again yet.
fn awaited(observed: &Observed, secret: &str, now: Timestamp) -> Result<(), Blocker> {
    let failed = observed.not_issued.get(secret);
    let Some(failed) = failed.filter(|failed| now < failed.retry_at) else {
        return Ok(());
    };
    Err(Blocker::new(
        "NotIssued",
        format!(
            "what Secret {secret} is to hold was not given: {}",
            failed.message
        ),
        format!("It is asked for again at {}.", failed.retry_at),
    ))
}

/// Writes down how the CA is reached now, when only that has changed.
fn moved(
    observed: &Observed,
    desired: &Desired,
    course: &Course<'_>,
    anchor: &Anchor,
    now: Timestamp,
) -> Option<Action> {
    let failed = observed.not_issued.get(&anchor.secret);
    let waits = failed.is_some_and(|failed| now < failed.retry_at);
    let still =
        !waits && course.step().is_none() && ca::source(observed, course.signer()) == Source::Moved;
    let secret = observed.secrets.get(&anchor.secret)?;
    let note = |key| {
        annotation(&secret.metadata, key)
            .unwrap_or_default()
            .to_owned()
    };
    let notes = [ANNOTATION_ROTATION, ANNOTATION_EMERGENCY].map(|key| (key, note(key)));
    still.then(|| Action::RefreshCa {
        metadata: Box::new(metadata(observed, &anchor.secret, "ca", &notes)),
        anchor: anchor.clone(),
        issuer: Box::new(desired.issuer.clone()),
    })
}

/// The CA's end, when it is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityEnd {
    /// True when leaves can not be renewed in time any more.
    pub pressing: bool,
    /// When, what follows, what to do.
    pub text: String,
}

/// Whether the CA ends within the life of the next leaf. Leaves end with their CA, never after it.
pub fn authority_end(
    observed: &Observed,
    desired: Option<&Desired>,
    now: Timestamp,
) -> Option<AuthorityEnd> {
    let authority = authority_secret(observed.name());
    let present = ca::authority(observed, &authority)?;
    // Once the next one signs, the end of this one is no matter.
    let course = ca::course(observed, present).ok();
    let ca = course.as_ref().map_or(present, Course::signer);
    let desired = desired?;
    let left = ca.ends.duration_since(now);
    let near = desired.leaf_duration.saturating_add(desired.renew_before);
    let pressing = left <= desired.renew_before;
    let follows = if pressing {
        "no certificate can be renewed beyond that, and all connections end then"
    } else {
        "certificates end with it, the next ones earlier than asked for"
    };
    (left <= near).then(|| AuthorityEnd {
        pressing,
        text: format!(
            "The CA in Secret {authority} ends on {}: {follows}. {}",
            ca.ends,
            ca::elsewhere(&ca.issuer).map_or_else(
                || format!(
                    "Its rotation should have begun by itself: see status.certificateAuthority.waitsFor. Where it can not: {}",
                    anew(observed)
                ),
                |what| format!("What is needed is {what}."),
            )
        ),
    })
}

/// How to come to a new CA.
fn anew(observed: &Observed) -> String {
    let name = observed.name();
    let parts = observed.parts();
    let leaves: Vec<String> = parts.iter().map(|part| part.secret(name)).collect();
    let others = if parts.len() > Part::CORE.len() {
        ", and of what else is named in cluster"
    } else {
        ""
    };
    format!(
        "In a maintenance window (no service for some minutes) delete the Secrets {} and {}; when they are back, delete all pods of PD and TiKV{others}, and give clients the new Secret {}.",
        authority_secret(name),
        leaves.join(", "),
        Part::Client.secret(name)
    )
}

/// Certificates as the status shows them.
pub fn statuses(observed: &Observed, desired: Option<&Desired>) -> Vec<CertificateStatus> {
    let name = observed.name();
    let authority = authority_secret(name);
    let mut all = Vec::new();
    if let Some(SecretContent::Authority(ca)) = content(observed, &authority) {
        all.push(CertificateStatus {
            name: authority,
            serial: ca.anchor.serial.clone(),
            not_after: ca.ends,
            renew_at: None,
            served: None,
            not_served: Vec::new(),
        });
    }
    for part in observed.parts() {
        let secret = part.secret(name);
        let Some(SecretContent::Leaf { certificate, .. }) = content(observed, &secret) else {
            continue;
        };
        let mut status = CertificateStatus {
            name: secret,
            serial: certificate.serial.clone(),
            not_after: certificate.not_after,
            renew_at: desired.map(|desired| renewal(certificate, desired.renew_before)),
            served: None,
            not_served: Vec::new(),
        };
        prove(observed, part, certificate, &mut status);
        all.push(status);
    }
    all
}

fn prove(
    observed: &Observed,
    part: Part,
    certificate: &CertificateInfo,
    status: &mut CertificateStatus,
) {
    let ports = part.ports();
    if ports.is_empty() {
        return;
    }
    let mut total = 0;
    for served in observed
        .served
        .iter()
        .filter(|served| ports.contains(&served.port))
    {
        total += 1;
        let as_it_should = served
            .result
            .as_ref()
            .is_ok_and(|leaf| leaf.serial == certificate.serial && leaf.trusted);
        if !as_it_should {
            let what = match &served.result {
                Ok(leaf) => format!("serves {}", leaf.serial),
                Err(error) => error.clone(),
            };
            status
                .not_served
                .push(format!("{}:{}: {what}", served.pod, served.port));
        }
    }
    if total > 0 {
        status.served = Some(format!("{}/{total}", total - status.not_served.len()));
    }
}

/// What a leaf lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Other CAs beside it.
    Trust,
    /// Another leaf.
    Leaf,
}

fn need(
    observed: &Observed,
    desired: &Desired,
    part: Part,
    spec: &LeafSpec,
    course: &Course<'_>,
    rotation: &str,
    now: Timestamp,
) -> Need {
    let Some(secret) = observed.secrets.get(&part.secret(observed.name())) else {
        return Need::Leaf;
    };
    let SecretContent::Leaf {
        certificate,
        trusts,
        root,
    } = &secret.content
    else {
        return Need::Leaf;
    };
    // A leaf that ends with its CA can not be made to last longer.
    let can_last_longer = certificate.not_after < course.signer().ends;
    let suits = course.suits(root, trusts);
    let revoked = || {
        let record = revocation::known(observed);
        record.is_some_and(|record| record.revokes(&certificate.serial))
    };
    let due = |one: &CertificateInfo| now >= renewal(one, desired.renew_before) && can_last_longer;
    let other = due(certificate)
        || mysql::follows(observed, part, due)
        || revoked()
        || certificate.key_algorithm != Some(spec.key)
        || certificate.common_name.as_deref() != Some(spec.common_name.as_str())
        || !spec.dns.is_subset(&certificate.dns)
        || !spec.ips.is_subset(&certificate.ips)
        // By what was asked for: not every issuer gives it.
        || annotation(&secret.metadata, ANNOTATION_SUBJECT).unwrap_or_default()
            != spec.subject.to_string()
        || annotation(&secret.metadata, ANNOTATION_ROTATION).unwrap_or_default() != rotation
        || (observed.resource.spec.drift == DriftPolicy::Correct
            && annotation(&secret.metadata, ANNOTATION_APPLIED)
                .is_some_and(|serial| serial != certificate.serial));
    match (suits, other) {
        (true, false) => Need::Nothing,
        (false, false) if course.leaf_stays() && course.signed(root) => Need::Trust,
        _ => Need::Leaf,
    }
}

/// The subject that is asked for, to be written beside the certificate. A note that is there already is emptied where none is.
fn subject_note(
    observed: &Observed,
    secret: &str,
    spec: &LeafSpec,
) -> Option<(&'static str, String)> {
    let subject = spec.subject.to_string();
    let there = observed.secrets.get(secret);
    let noted = there.is_some_and(|one| annotation(&one.metadata, ANNOTATION_SUBJECT).is_some());
    (noted || !subject.is_empty()).then_some((ANNOTATION_SUBJECT, subject))
}

/// Objects of our names that somebody else made are never written over.
fn foreign(observed: &Observed) -> Result<(), Blocker> {
    let authorities = [authority_secret, next_authority_secret];
    let ours = authorities
        .map(|name| name(observed.name()))
        .into_iter()
        .chain(
            observed
                .parts()
                .into_iter()
                .map(|part| part.secret(observed.name())),
        );
    for name in ours {
        if let Some(secret) = observed.secrets.get(&name)
            && !is_ours(observed, &secret.metadata)
        {
            return Err(Blocker::new(
                "ForeignObject",
                format!("Secret {name} exists and was not made for this TikvSecurity"),
                "Rename or delete it, or give the TikvSecurity another name.",
            ));
        }
    }
    Ok(())
}

fn content<'a>(observed: &'a Observed, secret: &str) -> Option<&'a SecretContent> {
    observed.secrets.get(secret).map(|secret| &secret.content)
}
