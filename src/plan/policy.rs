//! Policies: what those who answer for several clusters demand of each of them. Admission says the same
//! (`charts/tikv-security/templates/admission.yaml`); here it is decided about objects that were there before.

use std::fmt::Display;

use super::desired::Blocker;
use super::observed::Observed;
use crate::api::v1alpha1::{
    Encryption, EncryptionPolicy, Export, GoDuration, MasterKeyKind, TikvSecurityPolicy, Tls,
    TlsPolicy,
};

/// The first violation, and how many there are.
pub fn satisfied(observed: &Observed) -> Result<(), Blocker> {
    let binding = observed
        .policies
        .iter()
        .filter(|policy| holds(policy, observed));
    let violations: Vec<String> = binding
        .flat_map(|policy| violations(policy, observed))
        .collect();
    let Some(first) = violations.first() else {
        return Ok(());
    };
    let more = match violations.len() {
        1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    Err(Blocker::new(
        "PolicyViolated",
        format!("{first}{more}"),
        "Change the spec, or ask whoever answers for the policy. What runs is left as it is, and certificates are renewed.",
    ))
}

/// Whether a policy holds in the namespace of the resource.
fn holds(policy: &TikvSecurityPolicy, observed: &Observed) -> bool {
    let mut wanted = policy.spec.namespace_labels.iter();
    wanted.all(|(key, value)| observed.namespace_labels.get(key) == Some(value))
}

fn violations(policy: &TikvSecurityPolicy, observed: &Observed) -> Vec<String> {
    let (spec, demands) = (&observed.resource.spec, &policy.spec);
    let mut found = Vec::new();
    found.extend(one_of(
        "environment",
        &spec.environment,
        demands.environments.as_deref(),
    ));
    if let Some(demands) = &demands.tls {
        found.extend(of_tls(spec.tls.as_ref(), demands));
    }
    if let Some(demands) = &demands.encryption {
        found.extend(of_encryption(spec.encryption.as_ref(), demands));
    }
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let named = |what| format!("TikvSecurityPolicy {name}: {what}");
    found.into_iter().map(named).collect()
}

fn of_tls(tls: Option<&Tls>, demands: &TlsPolicy) -> Vec<String> {
    let Some(tls) = tls else {
        let absent = || "spec.tls is required, and absent".to_owned();
        return demands.required.then(absent).into_iter().collect();
    };
    let issuer = tls.issuer.choice().map(|choice| choice.kind());
    let targets = tls.export.iter().map(Export::from);
    let targets = targets.filter_map(|export| export.choice().map(|choice| choice.kind()));
    let allowed = demands.export_targets.as_deref();
    let exported = targets.filter_map(|kind| one_of("tls.export", &kind, allowed));
    [
        at_most("tls.duration", tls.duration, demands.max_duration),
        issuer.and_then(|kind| one_of("tls.issuer", &kind, demands.issuers.as_deref())),
        one_of(
            "tls.keyAlgorithm",
            &tls.key_algorithm,
            demands.key_algorithms.as_deref(),
        ),
    ]
    .into_iter()
    .flatten()
    .chain(exported)
    .collect()
}

fn of_encryption(encryption: Option<&Encryption>, demands: &EncryptionPolicy) -> Vec<String> {
    let Some(encryption) = encryption else {
        let absent = || "spec.encryption is required, and absent".to_owned();
        return demands.required.then(absent).into_iter().collect();
    };
    [
        one_of(
            "encryption.method",
            &encryption.method,
            demands.methods.as_deref(),
        ),
        kind(encryption).and_then(|kind| {
            one_of(
                "encryption.masterKey",
                &kind,
                demands.master_keys.as_deref(),
            )
        }),
        at_most(
            "encryption.dataKeyRotationPeriod",
            encryption.data_key_rotation_period,
            demands.max_data_key_rotation_period,
        ),
        one_of(
            "encryption.reencryption.policy",
            &encryption.reencryption.policy,
            demands.reencryption_policies.as_deref(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The kind of the master key; that there is exactly one was parsed before.
fn kind(encryption: &Encryption) -> Option<MasterKeyKind> {
    encryption.master_key.choice().map(|choice| choice.kind())
}

fn one_of<T: Display + PartialEq>(field: &str, found: &T, allowed: Option<&[T]>) -> Option<String> {
    let allowed = allowed.filter(|allowed| !allowed.contains(found))?;
    let words: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let words = if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    };
    Some(format!("spec.{field} is {found}, allowed: {words}"))
}

fn at_most(field: &str, found: GoDuration, limit: Option<GoDuration>) -> Option<String> {
    let limit = limit.filter(|limit| found > *limit)?;
    Some(format!("spec.{field} is {found}, allowed: at most {limit}"))
}
