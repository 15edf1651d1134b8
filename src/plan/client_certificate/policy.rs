//! Who may have which client certificate, and whether TiKV admits its name.

use super::ClientObserved;
use super::request::{self, Request};
use crate::api::v1alpha1::{ClientPolicy, GoDuration, TikvSecurity, Tls, condition};
use crate::plan::desired::Blocker;
use crate::plan::revocation::record::Record;
use crate::plan::revocation::withdrawn;
use crate::tls::leaf::LeafUse;

/// End of the names that the cluster's own parts have.
const RESERVED: &str = ".tikv-security";

/// Whether `tls.clients` of the `TikvSecurity` lets this namespace have this.
pub fn permitted(
    request: &Request,
    observed: &ClientObserved,
    security: &TikvSecurity,
    tls: &Tls,
) -> Result<(), Blocker> {
    let namespace = observed.resource.metadata.namespace.as_deref();
    let namespace = namespace.unwrap_or_default();
    let wanted = request::reference(&observed.resource);
    let mut entries: Vec<&ClientPolicy> = tls
        .clients
        .iter()
        .filter(|entry| applies(entry, namespace, observed))
        .collect();
    let home = ClientPolicy {
        common_names: vec!["*".to_owned()],
        server_auth: true,
        ..ClientPolicy::default()
    };
    if entries.is_empty() && security.metadata.namespace.as_deref() == Some(namespace) {
        entries.push(&home);
    }
    let mut objections = entries
        .iter()
        .map(|entry| objection(entry, request, tls.duration));
    let Some(first) = objections.next() else {
        return Err(Blocker::new(
            "NotPermitted",
            format!(
                "namespace {namespace} may have no client certificates of TikvSecurity {wanted}"
            ),
            format!(
                "Whoever answers for that cluster adds {{namespaces: [{namespace}]}} to its spec.tls.clients."
            ),
        ));
    };
    // One entry that permits all of it is enough.
    let Some(first) = first else { return Ok(()) };
    if objections.any(|one| one.is_none()) {
        return Ok(());
    }
    let (what, next) = first;
    Err(Blocker::new(
        "NotPermitted",
        format!(
            "spec.tls.clients of TikvSecurity {wanted} does not let namespace {namespace} have {what}"
        ),
        next,
    ))
}

fn applies(entry: &ClientPolicy, namespace: &str, observed: &ClientObserved) -> bool {
    let named = |one: &String| one == "*" || one == namespace;
    let labels = &entry.namespace_labels;
    let labelled =
        |(key, value): (&String, &String)| observed.namespace_labels.get(key) == Some(value);
    entry.namespaces.iter().any(named) || (!labels.is_empty() && labels.iter().all(labelled))
}

/// What an entry does not let one have, and what to write instead.
fn objection(
    entry: &ClientPolicy,
    request: &Request,
    usual: GoDuration,
) -> Option<(String, String)> {
    let name = &request.leaf.common_name;
    let longest = entry.max_duration.unwrap_or(usual);
    if !request.shared_name && !entry.common_names.iter().any(|one| matches(one, name)) {
        let may = if entry.common_names.is_empty() {
            "Leave spec.commonName out: all clients of the cluster share one then.".to_owned()
        } else {
            format!(
                "Write a spec.commonName like {}, or leave it out.",
                entry.common_names.join(" or ")
            )
        };
        return Some((format!("the common name {name}"), may));
    }
    if request.leaf.duration > longest.get() {
        return Some((
            "a certificate that is valid for so long".to_owned(),
            format!("Write spec.duration: {longest}, or less."),
        ));
    }
    if request.what_for == LeafUse::Both && !entry.server_auth {
        return Some((
            "a certificate for a server".to_owned(),
            "Take serverAuth out of spec.usages; or whoever answers for that cluster writes serverAuth: true.".to_owned(),
        ));
    }
    None
}

/// Whether the name is on the list that TiKV gets. That list is never changed for a client.
pub fn admitted_name(request: &Request, tls: &Tls) -> Result<(), Blocker> {
    let name = &request.leaf.common_name;
    if request.shared_name {
        return Ok(());
    }
    if name.ends_with(RESERVED) {
        return Err(Blocker::new(
            "NameReserved",
            format!(
                "names that end with {RESERVED} are those of the clusters' own parts, so {name} could pass for one"
            ),
            "Write another spec.commonName, or leave it out.",
        ));
    }
    // On TiKV 9 a listed part of a name is enough; up to 8.5 it is not (facts, TLS §1.2).
    if tls.allowed_names.iter().any(|one| one == name) {
        return Ok(());
    }
    Err(Blocker::new(
        "NameNotAllowed",
        format!(
            "TiKV would refuse the common name {name}: it is not in spec.tls.allowedNames of the TikvSecurity"
        ),
        format!(
            "Leave spec.commonName out: the name that all clients share is admitted already. Or whoever answers for that cluster adds {name} there, which restarts its stores one by one."
        ),
    ))
}

/// Refuses a name that was taken off TiKV's list with a revoked certificate: every certificate with it is refused.
pub fn not_withdrawn(
    request: &Request,
    security: &TikvSecurity,
    record: &Record,
) -> Result<(), Blocker> {
    let name = &request.leaf.common_name;
    if !withdrawn(security, record).contains(name) {
        return Ok(());
    }
    Err(Blocker::new(
        "NameRevoked",
        format!(
            "TiKV refuses the common name {name}, because a certificate with it is revoked and tls.revocation.cut is AllowedNames"
        ),
        "Write another spec.commonName; whoever answers for that cluster adds it to spec.tls.allowedNames of the TikvSecurity.",
    ))
}

/// Whether every store runs with a list that has the name; otherwise what is awaited.
///
/// The shared name is on the list from the moment on when TiKV speaks TLS; another one since the last change of the
/// specification was rolled out.
pub fn in_force(request: &Request, security: &TikvSecurity) -> Result<(), String> {
    let status = security.status.clone().unwrap_or_default();
    let current = status.observed_generation == security.metadata.generation;
    let needed: &[&str] = if request.shared_name {
        &[condition::CERTIFICATES_READY]
    } else {
        &[
            condition::CERTIFICATES_READY,
            condition::CONFIGURATION_CURRENT,
            condition::ROLLOUT_COMPLETE,
        ]
    };
    if !request.shared_name && !current {
        return Err("the TikvSecurity's last change has not been looked at yet".to_owned());
    }
    for kind in needed {
        let found = status.conditions.iter().find(|one| one.type_ == *kind);
        if found.is_none_or(|one| one.status != "True") {
            let why = found.map_or("not known yet", |one| one.message.as_str());
            return Err(format!(
                "the TikvSecurity's condition {kind} is not True: {why}"
            ));
        }
    }
    Ok(())
}

/// `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, wanted) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*", "anything", true),
            ("*.shop", "orders.shop", true),
            ("*.shop", "orders.shop.evil", false),
            ("orders.*", "orders.x", true),
            ("orders.*", "xorders.x", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("ab*ba", "aba", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
