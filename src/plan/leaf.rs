//! What the leaf of each part must say (facts, TLS §3.3–3.5).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::apps::v1::StatefulSet;

use super::acme;
use super::desired::Desired;
use super::detect::{Layout, Layouts, hosts, option};
use super::names::Part;
use super::observed::{Observed, WorkloadFacts};
use crate::api::v1alpha1::Issuer;
use crate::tikv::tikv_toml::text_at;
use crate::tls::leaf::LeafSpec;

/// What the leaf of a part must say, of whoever signs now.
pub fn leaf(
    observed: &Observed,
    desired: &Desired,
    part: Part,
    layouts: &Layouts<'_>,
    issuer: &Issuer,
) -> LeafSpec {
    let common_name = part.common_name(observed.name(), observed.namespace());
    let (mut dns, mut ips) = (dialled(part, layouts), BTreeSet::new());
    let others = other(observed, part);
    let set = match part {
        Part::Tikv | Part::Agent | Part::Client => Some(layouts.tikv.stateful_set),
        Part::Pd => Some(layouts.pd.stateful_set),
        _ => others
            .as_ref()
            .and_then(|(facts, ..)| facts.stateful_set.as_ref()),
    };
    if part == Part::Client {
        dns.insert(common_name.clone());
    } else {
        if let Some(set) = set {
            set_names(observed, set, &mut dns);
        }
        if let Some((_, name, services)) = &others {
            let services = services.iter().map(String::as_str).chain([*name]);
            let names = services.flat_map(|service| below(observed, service));
            dns.extend(names);
        }
        dns.insert("localhost".to_owned());
        ips.extend([
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]);
        if part == Part::TidbServer {
            dns.extend(desired.mysql_dns.iter().cloned());
            ips.extend(desired.mysql_ips.iter().copied());
        } else {
            dns.extend(desired.extra_dns.iter().cloned());
            ips.extend(desired.extra_ips.iter().copied());
        }
    }
    let spec = LeafSpec {
        subject: desired.subject.clone(),
        common_name,
        dns,
        ips,
        duration: desired.leaf_duration,
        key: desired.key_algorithm,
    };
    acme::asked(issuer, spec, set)
}

/// Names by which the processes of the cluster find each other, as their configuration says.
pub fn dialled(part: Part, layouts: &Layouts<'_>) -> BTreeSet<String> {
    let Layouts { tikv, pd, tidb } = layouts;
    let mut dns = BTreeSet::new();
    match part {
        Part::Tikv | Part::Agent => {
            let path = ["server", "advertise-addr"];
            dns.extend(said(tikv, &["--advertise-addr"], &path));
        }
        Part::Pd => {
            for flag in [
                "--advertise-client-urls",
                "--advertise-peer-urls",
                "--initial-cluster",
                "--join",
            ] {
                dns.extend(
                    option(&pd.words, &[flag])
                        .iter()
                        .flat_map(|list| hosts(list)),
                );
                let key = flag.trim_start_matches('-');
                let file = text_at(pd.toml(), &[key]).ok().flatten();
                dns.extend(file.iter().flat_map(|list| hosts(list)));
            }
            let dialled = option(&tikv.words, &["--pd-endpoints", "--pd"]);
            dns.extend(dialled.iter().flat_map(|list| hosts(list)));
            if let Some(tidb) = tidb {
                dns.extend(said(tidb, &["--path", "-path"], &["path"]));
            }
        }
        Part::Tidb | Part::TidbServer => {
            if let Some(tidb) = tidb {
                let flags = ["--advertise-address", "-advertise-address"];
                dns.extend(said(tidb, &flags, &["advertise-address"]));
            }
        }
        Part::Client | Part::Tiflash | Part::Ticdc => {}
    }
    dns
}

/// Hosts that a flag names, else the file.
fn said(layout: &Layout<'_>, flags: &[&str], path: &[&str]) -> BTreeSet<String> {
    let flag = option(&layout.words, flags);
    let file = text_at(layout.toml(), path).ok().flatten();
    flag.or(file).iter().flat_map(|list| hosts(list)).collect()
}

/// What is known of a workload that may not be there yet: facts, name, more Services.
fn other(observed: &Observed, part: Part) -> Option<(&WorkloadFacts, &str, &[String])> {
    let cluster = &observed.resource.spec.cluster;
    match part {
        Part::Tidb | Part::TidbServer => {
            let named = cluster.tidb.as_ref()?;
            let name = &named.stateful_set.name;
            Some((&observed.tidb, name, &named.services))
        }
        Part::Tiflash | Part::Ticdc => {
            let (facts, named) = if part == Part::Tiflash {
                (&observed.tiflash, cluster.tiflash.as_ref()?)
            } else {
                (&observed.ticdc, cluster.ticdc.as_ref()?)
            };
            Some((facts, &named.stateful_set.name, &named.services))
        }
        Part::Tikv | Part::Pd | Part::Agent | Part::Client => None,
    }
}

/// A StatefulSet by its own name, and its pods under its Service.
fn set_names(observed: &Observed, set: &StatefulSet, dns: &mut BTreeSet<String>) {
    let spec = set.spec.as_ref();
    let service = spec.and_then(|spec| spec.service_name.as_deref());
    let target = set.metadata.name.as_deref().unwrap_or_default();
    dns.extend(below(observed, target));
    if let Some(service) = service.filter(|service| !service.is_empty()) {
        dns.extend(below(observed, service));
        dns.extend(below(observed, &format!("*.{service}")));
    }
}

/// A name of a Service in all its lengths.
fn below(observed: &Observed, service: &str) -> [String; 4] {
    let namespace = observed.namespace();
    [
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}
