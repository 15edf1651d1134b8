//! What a certificate can say when its names are checked by ACME: names of domains that the CA can look at, and nothing else.

use k8s_openapi::api::apps::v1::StatefulSet;

use super::desired::{Blocker, Desired};
use crate::api::v1alpha1::{AcmeIssuer, AcmeSolverChoice, Issuer, IssuerChoice};
use crate::tls::leaf::LeafSpec;

/// The certificate as its issuer can give it. Whoever signs now decides, not who is to sign later.
pub fn asked(issuer: &Issuer, mut spec: LeafSpec, set: Option<&StatefulSet>) -> LeafSpec {
    let Some(IssuerChoice::Acme(acme)) = issuer.choice() else {
        return spec;
    };
    spec.ips.clear();
    // A common name is a name that is checked like others.
    spec.dns.insert(spec.common_name.clone());
    spec.dns.retain(|name| acme.asks_for(name));
    if let Some(AcmeSolverChoice::Http01) = acme.solver.choice() {
        // Wildcards are not to be had by files (RFC 8555 §8.3): each pod is named.
        let wildcards: Vec<String> = spec
            .dns
            .iter()
            .filter(|name| name.starts_with("*."))
            .cloned()
            .collect();
        for wildcard in wildcards {
            spec.dns.remove(&wildcard);
            let pods = set.map(pods).unwrap_or_default().into_iter();
            spec.dns
                .extend(pods.map(|pod| wildcard.replacen('*', &pod, 1)));
        }
    }
    spec
}

/// Refuses what can not be in such a certificate and is needed. `dialled` are names by which the cluster's processes find each other.
pub fn refuse<'a>(
    desired: &Desired,
    dialled: impl IntoIterator<Item = &'a String>,
) -> Result<(), Blocker> {
    let Some(IssuerChoice::Acme(acme)) = desired.issuer.choice() else {
        return Ok(());
    };
    let Some(solver) = acme.solver.choice() else {
        return Err(Blocker::new(
            "InvalidSpec",
            "tls.issuer.acme.solver does not name exactly one solver",
            "Write http01: {} or dns01.",
        ));
    };
    let written = [
        ("tls.extraSans", &desired.extra_dns, &desired.extra_ips),
        (
            "cluster.tidb.mysqlSans",
            &desired.mysql_dns,
            &desired.mysql_ips,
        ),
    ];
    for (field, names, addresses) in written {
        let refused = |what: String, next: &str| {
            Err(Blocker::new(
                "InvalidSpec",
                format!("{field} has {what}"),
                next,
            ))
        };
        if let Some(ip) = addresses.first() {
            return refused(
                format!("{ip}, and the ACME issuer is not asked for addresses"),
                "Take it out, and let clients dial a name.",
            );
        }
        if let Some(name) = names.iter().find(|name| !acme.asks_for(name)) {
            return refused(
                format!("{name}, which is in no domain of tls.issuer.acme.domains"),
                "Add its domain there, if the CA can check it, or take the name out.",
            );
        }
        let wildcard = names.iter().find(|name| name.starts_with("*."));
        if let (AcmeSolverChoice::Http01, Some(name)) = (solver, wildcard) {
            return refused(
                format!("{name}, and wildcards are not to be had by http01"),
                "Use the solver dns01, or name each host.",
            );
        }
    }
    match dialled.into_iter().find(|name| !reached(acme, name)) {
        None => Ok(()),
        Some(name) => Err(Blocker::new(
            "NameNotAskedFor",
            format!(
                "{name} is dialled within the cluster, and it is in no domain of tls.issuer.acme.domains, so no certificate would have it"
            ),
            "Add its domain there, if the CA can check it, or let PD and TiKV advertise and dial names that end with .svc.",
        )),
    }
}

/// Within a domain, or its wildcard.
fn reached(acme: &AcmeIssuer, name: &str) -> bool {
    acme.asks_for(name.trim_start_matches("*."))
}

/// Names of the pods that there are to be.
fn pods(set: &StatefulSet) -> Vec<String> {
    let spec = set.spec.as_ref();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let ordinals = spec.and_then(|spec| spec.ordinals.as_ref());
    let start = ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0);
    let name = set.metadata.name.as_deref().unwrap_or_default();
    (start..start.saturating_add(replicas))
        .map(|ordinal| format!("{name}-{ordinal}"))
        .collect()
}
