//! How the cluster comes to refuse what is revoked, and by what that is known.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::record::{Entry, Record, Refused};
use super::{known, policy, whole_seconds};
use crate::api::v1alpha1::{
    CaStep, Cut, RefusalProof, RevocationReason, TikvSecurity, TikvSecurityStatus, condition,
};
use crate::plan::ca::Course;
use crate::plan::names::Part;
use crate::plan::observed::Observed;
use crate::plan::pods::{replicas, views};

/// A certificate that was made for this alone was shown to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which certificate.
    pub of: Tried,
    /// The pod.
    pub pod: String,
    /// The port.
    pub port: u16,
    /// Whether it was refused, while the operator's own was not; `Err` tells why that is not known.
    pub refused: Result<bool, String>,
}

/// What a trial stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The CA that was there before the present one: a certificate that it signed before it went.
    FormerCa,
    /// A common name: a certificate of the present CA that carries it.
    Name(String),
}

fn cut(observed: &Observed) -> Cut {
    policy(observed)
        .map(|policy| policy.cut)
        .unwrap_or_default()
}

/// Whether the CA with this serial number is to be replaced, because the cluster is to refuse what it signed.
pub fn demands(observed: &Observed, authority: &str, now: Timestamp) -> bool {
    let has_tls = observed.resource.spec.tls.is_some();
    let record = known(observed).filter(|_| has_tls && cut(observed) == Cut::CaRotation);
    let entries = record.iter().flat_map(|record| &record.entries);
    // What is not in the record yet is there after the next write.
    entries
        .into_iter()
        .any(|entry| entry.authority == authority && entry.is_open(now))
}

/// The entry's name, where it is one that can be taken off TiKV's list.
pub(super) fn own_name<'a>(security: &TikvSecurity, entry: &'a Entry) -> Option<&'a String> {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let metadata = &security.metadata;
    let shared = Part::Client.common_name(&of(&metadata.name), &of(&metadata.namespace));
    let tls = security.spec.tls.as_ref()?;
    let name = entry.common_name.as_ref()?;
    (*name != shared && tls.allowed_names.contains(name)).then_some(name)
}

/// Names that are left out of TiKV's list. They stay out for as long as the specification has them, so that no store restarts to
/// let one in again.
pub fn withdrawn(security: &TikvSecurity, record: &Record) -> BTreeSet<String> {
    let tls = security.spec.tls.as_ref();
    let policy = tls.and_then(|tls| tls.revocation.as_ref());
    if policy.is_none_or(|policy| policy.cut != Cut::AllowedNames) {
        return BTreeSet::new();
    }
    let entries = record.entries.iter();
    let revoked = entries.filter(|entry| entry.reason != RevocationReason::Superseded);
    revoked
        .filter_map(|entry| own_name(security, entry).cloned())
        .collect()
}

/// Names that are to be tried: they are off the list, and it is not known yet that the stores refuse them.
pub fn to_try(observed: &Observed, now: Timestamp) -> BTreeSet<String> {
    let record = known(observed).unwrap_or_default();
    let withdrawn = withdrawn(&observed.resource, &record);
    let open = record.entries.iter().filter(|entry| entry.is_open(now));
    open.filter_map(|entry| own_name(&observed.resource, entry))
        .filter(|name| withdrawn.contains(*name))
        .cloned()
        .collect()
}

/// Entries that the cluster refuses now, and by what that is known.
pub(super) fn refused(
    observed: &Observed,
    course: &Course<'_>,
    record: &Record,
    status: &TikvSecurityStatus,
    now: Timestamp,
) -> Vec<(String, Refused)> {
    let at = whole_seconds(now);
    let holds = |kind: &str| {
        let mut all = status.conditions.iter();
        all.any(|one| one.type_ == kind && one.status == "True")
    };
    let settled = holds(condition::CONFIGURATION_CURRENT) && holds(condition::ROLLOUT_COMPLETE);
    let certified = holds(condition::CERTIFICATES_READY);
    let mut refused = Vec::new();
    for entry in record.entries.iter().filter(|one| one.is_open(now)) {
        let proof = if !course.trusts(&entry.authority) {
            match course.step() {
                Some(CaStep::Drop) => all_refuse(observed, &Tried::FormerCa).map(|ports| {
                    (
                        RefusalProof::Tried,
                        format!(
                            "a certificate that its CA signed for this trial was refused by {ports}"
                        ),
                    )
                }),
                None if certified => Some((
                    RefusalProof::CaGone,
                    format!(
                        "its CA is gone, and every port serves a certificate under the CA with serial {} alone",
                        course.signer().anchor.serial
                    ),
                )),
                _ => None,
            }
        } else if let Some(name) = own_name(&observed.resource, entry).filter(|_| settled) {
            let tried = Tried::Name(name.clone());
            let ports = all_refuse(observed, &tried).filter(|_| every_store(observed, &tried));
            ports.map(|ports| {
                let how = format!(
                    "a certificate with its common name {name}, made for this trial, was refused by {ports}; PD, whose client port looks at no names, accepts it until {}",
                    entry.not_after
                );
                (RefusalProof::Tried, how)
            })
        } else {
            None
        };
        if let Some((proof, how)) = proof {
            refused.push((entry.serial.clone(), Refused { at, proof, how }));
        }
    }
    refused
}

/// The ports that a trial was made at, when all of them refused.
pub(super) fn all_refuse(observed: &Observed, tried: &Tried) -> Option<String> {
    let trials: Vec<&Trial> = trials(observed, tried).collect();
    let all = !trials.is_empty() && trials.iter().all(|one| one.refused == Ok(true));
    let ports = trials.iter().map(|one| format!("{}:{}", one.pod, one.port));
    all.then(|| ports.collect::<Vec<_>>().join(", "))
}

/// Whether the trial was made at every store.
fn every_store(observed: &Observed, tried: &Tried) -> bool {
    let pods = views(observed, &observed.tikv);
    let tried = |pod: &str| trials(observed, tried).any(|one| one.pod == pod);
    pods.len() >= replicas(&observed.tikv) && pods.iter().all(|pod| tried(pod.name))
}

/// The trials of one kind.
pub(super) fn trials<'a>(
    observed: &'a Observed,
    tried: &'a Tried,
) -> impl Iterator<Item = &'a Trial> {
    observed.trials.iter().filter(move |one| one.of == *tried)
}

/// What the last step of a rotation of the CA waits for: that every port refuses what the CA before signed. Where nothing was made
/// to try that with, nothing.
pub fn still_accepted(observed: &Observed) -> Option<String> {
    let mut trials = trials(observed, &Tried::FormerCa);
    let first = trials.find(|one| one.refused != Ok(true))?;
    let why = match &first.refused {
        Ok(_) => "it is still accepted".to_owned(),
        Err(why) => why.clone(),
    };
    Some(format!(
        "{}:{} to refuse a certificate of the CA before ({why})",
        first.pod, first.port
    ))
}
