//! What tidb-operator calls things: Secrets with certificates, and the names that these must carry (facts, TLS §3.5–3.7). Version 1 has a
//! `TidbCluster`, version 2 a group for each component.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A component of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Placement Driver.
    Pd,
    /// TiKV.
    Tikv,
    /// TiDB among the parts of the cluster.
    Tidb,
    /// TiFlash.
    Tiflash,
    /// TiCDC.
    Ticdc,
    /// TiProxy.
    Tiproxy,
    /// Pump; version 1 alone has it.
    Pump,
}

impl Component {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Pd,
        Self::Tikv,
        Self::Tidb,
        Self::Tiflash,
        Self::Ticdc,
        Self::Tiproxy,
        Self::Pump,
    ];

    /// The word in names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pd => "pd",
            Self::Tikv => "tikv",
            Self::Tidb => "tidb",
            Self::Tiflash => "tiflash",
            Self::Ticdc => "ticdc",
            Self::Tiproxy => "tiproxy",
            Self::Pump => "pump",
        }
    }
}

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the `TidbCluster`; in version 2 that of the component's group.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// `spec.clusterDomain`, or in version 2 the domain of the DNS mode FQDN.
    pub domain: Option<&'a str>,
}

/// Names that a certificate must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub ips: BTreeSet<IpAddr>,
}

impl Owner<'_> {
    /// Secret with the set of a component. Its name is fixed, its keys are `ca.crt`, `tls.crt` and `tls.key`.
    pub fn secret(&self, component: Component) -> String {
        format!("{}-{}-cluster-secret", self.name, component.name())
    }

    /// Secret with the set that TiDB shows to MySQL clients.
    pub fn mysql_secret(&self) -> String {
        format!("{}-tidb-server-secret", self.name)
    }

    /// Secret with which tidb-operator's own MySQL client comes.
    pub fn mysql_client_secret(&self) -> String {
        format!("{}-tidb-client-secret", self.name)
    }

    /// Names of a component among the parts of the cluster.
    pub fn names(&self, component: Component) -> Names {
        let service = format!("{}-{}", self.name, component.name());
        let mut names = loopback();
        if component == Component::Pump {
            names.dns.extend(self.below(&format!("*.{service}")));
            return names;
        }
        let peer = format!("{service}-peer");
        for one in [service, peer.clone(), format!("*.{peer}")] {
            names.dns.extend(self.below(&one));
        }
        names
    }

    /// Names of TiDB towards MySQL clients.
    pub fn mysql_names(&self) -> Names {
        let service = format!("{}-tidb", self.name);
        let mut names = loopback();
        for one in [
            service.clone(),
            format!("*.{service}"),
            format!("*.{service}-peer"),
        ] {
            names.dns.extend(self.below(&one));
        }
        names
    }

    /// Short, with the namespace, and as a Service; with the domain where one is set. gRPC never matches the short form of a wildcard, Go does
    /// (§3.4).
    fn below(&self, service: &str) -> Vec<String> {
        let namespace = self.namespace;
        let mut all = vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
        ];
        all.extend(
            self.domain
                .map(|domain| format!("{service}.{namespace}.svc.{domain}")),
        );
        all
    }
}

/// Secret with which tidb-operator, backups and `pd-ctl` come; by the name of the `TidbCluster`, or in version 2 of the `Cluster`.
pub fn client_secret(cluster: &str) -> String {
    format!("{cluster}-cluster-client-secret")
}

/// Names that version 2 adds to those of a group: of PD, where several groups share a Service, and of pods in one subdomain of the cluster.
pub fn shared_names(cluster: &str, namespace: &str, domain: Option<&str>) -> Names {
    let owner = Owner {
        name: cluster,
        namespace,
        domain,
    };
    let mut names = Names::default();
    names.dns.extend(owner.below(&format!("{cluster}-pd")));
    names
        .dns
        .extend(owner.below(&format!("*.{cluster}-cluster")));
    names
}

fn loopback() -> Names {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Names {
        dns: BTreeSet::new(),
        ips: [v4, IpAddr::V6(Ipv6Addr::LOCALHOST)].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASIC: Owner<'static> = Owner {
        name: "basic",
        namespace: "db",
        domain: None,
    };

    fn list(names: &Names) -> Vec<&str> {
        names.dns.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_component_of_version_1_has_the_nine_names_of_its_documentation() {
        let names = BASIC.names(Component::Tikv);
        let wanted = [
            "*.basic-tikv-peer",
            "*.basic-tikv-peer.db",
            "*.basic-tikv-peer.db.svc",
            "basic-tikv",
            "basic-tikv-peer",
            "basic-tikv-peer.db",
            "basic-tikv-peer.db.svc",
            "basic-tikv.db",
            "basic-tikv.db.svc",
        ];
        assert_eq!(list(&names), wanted);
        let ips: Vec<String> = names.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["127.0.0.1", "::1"]);
    }

    /// What each side dials (§3.5): TiKV the short name of PD, PD and TiKV what they advertise, tidb-operator names without `svc`.
    #[test]
    fn what_is_dialled_is_covered() {
        let pd = BASIC.names(Component::Pd);
        for name in ["basic-pd", "basic-pd.db", "*.basic-pd-peer.db.svc"] {
            assert!(pd.dns.contains(name), "{name}");
        }
        let tikv = BASIC.names(Component::Tikv);
        assert!(tikv.dns.contains("*.basic-tikv-peer.db"));
    }

    #[test]
    fn a_domain_adds_the_whole_names() {
        let owner = Owner {
            domain: Some("cluster.example"),
            ..BASIC
        };
        let names = owner.names(Component::Pd);
        assert_eq!(names.dns.len(), 12);
        assert!(names.dns.contains("*.basic-pd-peer.db.svc.cluster.example"));
    }

    #[test]
    fn pump_has_pods_alone_and_mysql_the_service_of_tidb() {
        let pump = BASIC.names(Component::Pump);
        assert_eq!(
            list(&pump),
            ["*.basic-pump", "*.basic-pump.db", "*.basic-pump.db.svc"]
        );
        let mysql = BASIC.mysql_names();
        for name in ["basic-tidb", "*.basic-tidb.db.svc", "*.basic-tidb-peer.db"] {
            assert!(mysql.dns.contains(name), "{name}");
        }
        assert!(!mysql.dns.contains("basic-tidb-peer"));
    }

    #[test]
    fn secrets_are_called_as_tidb_operator_looks_for_them() {
        assert_eq!(BASIC.secret(Component::Tikv), "basic-tikv-cluster-secret");
        assert_eq!(
            BASIC.secret(Component::Tiproxy),
            "basic-tiproxy-cluster-secret"
        );
        assert_eq!(BASIC.mysql_secret(), "basic-tidb-server-secret");
        assert_eq!(BASIC.mysql_client_secret(), "basic-tidb-client-secret");
        assert_eq!(client_secret("basic"), "basic-cluster-client-secret");
    }

    #[test]
    fn version_2_has_the_names_of_the_group_and_what_groups_share() {
        let group = Owner {
            name: "kv1",
            ..BASIC
        };
        assert_eq!(group.secret(Component::Tikv), "kv1-tikv-cluster-secret");
        assert!(
            group
                .names(Component::Tikv)
                .dns
                .contains("*.kv1-tikv-peer.db")
        );
        let shared = shared_names("basic", "db", None);
        for name in ["basic-pd.db", "*.basic-cluster.db.svc"] {
            assert!(shared.dns.contains(name), "{name}");
        }
    }
}
