//! What a `TikvClientCertificate` asks for, parsed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use jiff::SignedDuration;

use crate::api::v1alpha1::{TikvClientCertificate, Usage};
use crate::plan::desired::{Blocker, SUBJECT, is_dns};
use crate::plan::names::Part;
use crate::tls::leaf::{LeafSpec, LeafUse};

/// The `TikvSecurity` that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A request without an invalid case.
#[derive(Clone, Debug)]
pub struct Request {
    /// True when the common name is the one that all clients of the cluster share.
    pub shared_name: bool,
    /// The certificate.
    pub leaf: LeafSpec,
    /// What it is for.
    pub what_for: LeafUse,
    /// How long before its end it is renewed.
    pub renew_before: SignedDuration,
    /// Name of the Secret.
    pub secret: String,
    /// PKCS#12 too.
    pub pkcs12: bool,
}

/// Name of the Secret that a resource asks for.
pub fn secret_name(resource: &TikvClientCertificate) -> String {
    let name = resource.metadata.name.as_ref();
    let wanted = resource.spec.secret_name.as_ref().or(name);
    wanted.cloned().unwrap_or_default()
}

/// The `TikvSecurity` that a resource refers to.
pub fn reference(resource: &TikvClientCertificate) -> Reference {
    let wanted = &resource.spec.security_ref;
    let own = resource.metadata.namespace.as_ref();
    Reference {
        namespace: wanted
            .namespace
            .as_ref()
            .or(own)
            .cloned()
            .unwrap_or_default(),
        name: wanted.name.clone(),
    }
}

/// The common name that TiKV admits from the start.
pub fn shared_name(security: &Reference) -> String {
    Part::Client.common_name(&security.name, &security.namespace)
}

/// Parses; repeats what admission checks, because rules can be missing there.
pub fn parse(resource: &TikvClientCertificate) -> Result<Request, Blocker> {
    let spec = &resource.spec;
    let invalid = |what: String, next: &str| Blocker::new("InvalidSpec", what, next);
    let name = resource.metadata.name.as_deref().unwrap_or_default();
    let namespace = resource.metadata.namespace.as_deref().unwrap_or_default();
    if name.len() > 63 {
        return Err(invalid(
            "the name has more than 63 characters".to_owned(),
            "Make another TikvClientCertificate with a shorter name.",
        ));
    }
    let duration = spec.duration.get();
    let renew_before = spec
        .renew_before
        .map_or(duration / 3, |before| before.get());
    if renew_before >= duration || renew_before.is_zero() {
        return Err(invalid(
            "renewBefore is not shorter than duration".to_owned(),
            "Leave renewBefore out for a third of duration.",
        ));
    }
    let shared = shared_name(&reference(resource));
    let common_name = spec.common_name.clone().unwrap_or_else(|| shared.clone());
    if !is_common_name(&common_name) {
        return Err(invalid(
            format!("{common_name:?} is no common name for a certificate"),
            "Write 4 to 64 letters, digits, '.', '-' and '_', as in orders.shop.example; or leave commonName out.",
        ));
    }
    let what_for = match (
        spec.usages.contains(&Usage::ClientAuth),
        spec.usages.contains(&Usage::ServerAuth),
    ) {
        (false, _) => {
            return Err(invalid(
                "usages lacks clientAuth, without which TiKV and PD refuse a client".to_owned(),
                "Write usages: [clientAuth].",
            ));
        }
        (true, false) => LeafUse::Client,
        (true, true) => LeafUse::Both,
    };
    let subject = spec.subject.clone().unwrap_or_default();
    let checked = subject.check();
    checked.map_err(|what| invalid(format!("spec.{what}"), SUBJECT))?;
    let mut dns: BTreeSet<String> = BTreeSet::new();
    for wanted in &spec.dns_names {
        if !is_dns(wanted) {
            return Err(invalid(
                format!("dnsNames has {wanted:?}, which is no DNS name"),
                "Write names without scheme and port; addresses go into ipAddresses.",
            ));
        }
        if what_for == LeafUse::Both && !is_served_in(wanted, namespace) {
            return Err(invalid(
                format!(
                    "dnsNames has {wanted}, which is no name of namespace {namespace}; with serverAuth this certificate could pass for somebody else"
                ),
                "Write names of Services of this namespace, as in orders.NAMESPACE.svc; or take serverAuth out of usages.",
            ));
        }
        dns.insert(wanted.clone());
    }
    dns.insert(format!("{name}.{namespace}.client.tikv-security"));
    let mut ips = BTreeSet::new();
    for wanted in &spec.ip_addresses {
        let Ok(ip) = wanted.parse::<IpAddr>() else {
            return Err(invalid(
                format!("ipAddresses has {wanted:?}, which is no IP address"),
                "Write addresses without port; names go into dnsNames.",
            ));
        };
        if what_for == LeafUse::Both && !ip.is_loopback() {
            return Err(invalid(
                format!(
                    "ipAddresses has {ip}; with serverAuth this certificate could pass for somebody else"
                ),
                "Write 127.0.0.1 and ::1 only; or take serverAuth out of usages.",
            ));
        }
        ips.insert(ip);
    }
    Ok(Request {
        shared_name: common_name == shared,
        leaf: LeafSpec {
            subject,
            common_name,
            dns,
            ips,
            duration,
            key: spec.key_algorithm,
        },
        what_for,
        renew_before,
        secret: secret_name(resource),
        pkcs12: spec.pkcs12.is_some(),
    })
}

fn is_common_name(text: &str) -> bool {
    let outer = |letter: Option<char>| letter.is_some_and(|one| one.is_ascii_alphanumeric());
    (4..=64).contains(&text.len())
        && outer(text.chars().next())
        && outer(text.chars().last())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a name can only belong to Services and pods of the namespace.
fn is_served_in(name: &str, namespace: &str) -> bool {
    // As the end of a short name these would be the end of every Service's name.
    let ambiguous = ["svc", "cluster", "local"].contains(&namespace);
    let mut ends = vec![
        format!(".{namespace}.svc"),
        format!(".{namespace}.svc.cluster.local"),
    ];
    if !ambiguous {
        ends.push(format!(".{namespace}"));
    }
    name == "localhost" || ends.iter().any(|end| name.ends_with(end))
}
