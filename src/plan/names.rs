//! Names of everything made for a `TikvSecurity`; see the table in ARCHITECTURE.md.

use crate::api::AGENT_PORT;
use crate::api::v1alpha1::Cluster;

/// A part of the cluster that has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// TiKV.
    Tikv,
    /// Placement Driver.
    Pd,
    /// The agents.
    Agent,
    /// The operator, and whoever else is a client.
    Client,
    /// TiDB among the parts of the cluster.
    Tidb,
    /// TiDB towards MySQL clients.
    TidbServer,
    /// TiFlash.
    Tiflash,
    /// TiCDC.
    Ticdc,
}

impl Part {
    /// Those that every cluster has.
    pub const CORE: [Self; 4] = [Self::Tikv, Self::Pd, Self::Agent, Self::Client];

    /// Those that a cluster has. TiDB's set among the parts of the cluster comes before the one whose renewal restarts it, so that it
    /// starts with both.
    pub fn of(cluster: &Cluster) -> Vec<Self> {
        let mut parts = Self::CORE.to_vec();
        if cluster.tidb.is_some() {
            parts.extend([Self::Tidb, Self::TidbServer]);
        }
        parts.extend(cluster.tiflash.as_ref().map(|_| Self::Tiflash));
        parts.extend(cluster.ticdc.as_ref().map(|_| Self::Ticdc));
        parts
    }

    /// The word in names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tikv => "tikv",
            Self::Pd => "pd",
            Self::Agent => "agent",
            Self::Client => "client",
            Self::Tidb => "tidb",
            Self::TidbServer => "tidb-server",
            Self::Tiflash => "tiflash",
            Self::Ticdc => "ticdc",
        }
    }

    /// Ports on which its certificate is to be seen (facts, TLS §1.1). TiKV's 20180 is not among them: it changes its certificate only
    /// after a failed handshake (§2.2). TiCDC has one of the two.
    pub const fn ports(self) -> &'static [u16] {
        match self {
            Self::Tikv => &[20160],
            Self::Pd => &[2379, 2380],
            Self::Agent => &[AGENT_PORT],
            Self::Client => &[],
            Self::Tidb => &[TIDB_STATUS_PORT],
            Self::TidbServer => &[MYSQL_PORT],
            Self::Tiflash => &[3930, 20170],
            Self::Ticdc => &[8300, 8301],
        }
    }

    /// Name of its Secret.
    pub fn secret(self, resource: &str) -> String {
        format!("{resource}-{}-tls", self.name())
    }

    /// Common name of its certificate.
    pub fn common_name(self, resource: &str, namespace: &str) -> String {
        format!("{}.{resource}.{namespace}.tikv-security", self.name())
    }
}

/// Name of the CA's Secret.
pub fn authority_secret(resource: &str) -> String {
    format!("{resource}-ca")
}

/// Name of the Secret of the CA that is to come, while a rotation lasts.
pub fn next_authority_secret(resource: &str) -> String {
    format!("{resource}-ca-next")
}

/// Name of the ConfigMap with the CA's certificates in other namespaces.
pub fn bundle_config(resource: &str) -> String {
    format!("{resource}-ca-bundle")
}

/// Name of the ConfigMap with the CRLs and the record of what is revoked.
pub fn crl_config(resource: &str) -> String {
    format!("{resource}-crl")
}

/// As whom PD's maintenance lock is taken. The same after each start, so that a lock that a crash left is known as ours.
pub fn maintenance(resource: &str, namespace: &str) -> String {
    format!("{resource}.{namespace}.tikv-security")
}

/// Name of the Secret with a wrapped master key.
pub fn wrapped_secret(resource: &str, id: &str) -> String {
    format!("{resource}-master-key-{id}")
}

/// Volume with a wrapped master key and what unwraps it.
pub fn volume_wrapped(id: &str) -> String {
    format!("tikv-security-wrapped-{id}")
}

/// Name of the agents' ConfigMap.
pub fn agent_config(resource: &str) -> String {
    format!("{resource}-agent")
}

/// Name of the agent's container.
pub const AGENT_CONTAINER: &str = "tikv-security-agent";
/// Directory of the agent's Secret in the agent's container.
pub const AGENT_TLS: &str = "/var/lib/tikv-security/tls";
/// Directory of the desired state in the agent's container.
pub const AGENT_CONFIG: &str = "/etc/tikv-security";
/// The agent's run directory.
pub const AGENT_RUN: &str = "/run/tikv-security";
/// Directory of the TiKV leaf.
pub const TIKV_TLS: &str = "/var/lib/tikv-tls";
/// Directory of the PD leaf.
pub const PD_TLS: &str = "/var/lib/pd-tls";
/// Directory of TiDB's leaf among the parts of the cluster.
pub const TIDB_TLS: &str = "/var/lib/tidb-tls";
/// Directory of the leaf of TiDB's MySQL port.
pub const TIDB_SERVER_TLS: &str = "/var/lib/tidb-server-tls";
/// TiDB's port for MySQL clients.
pub const MYSQL_PORT: u16 = 4000;
/// TiDB's status port.
pub const TIDB_STATUS_PORT: u16 = 10080;
/// Directory in memory of the master keys that the agent unwrapped, where TiKV and the agent see it.
pub const UNWRAPPED: &str = "/var/lib/tikv-security/keys";
/// Directory of the wrapped master keys in the agent's container; a directory for each.
pub const WRAPPED: &str = "/var/lib/tikv-security/wrapped";
/// Key of a wrapped master key in its Secret, and name of its file.
pub const WRAPPED_KEY: &str = "wrapped";
/// What a Secret with a wrapped master key is for, as a label.
pub const PART_MASTER_KEY: &str = "master-key";
/// Volume in memory of the master keys that the agent unwrapped.
pub const VOLUME_UNWRAPPED: &str = "tikv-security-keys";
/// Directory of the configuration of a vendor's PKCS#11 library in the agent's container, and in the operator's.
pub const HSM_CONFIG: &str = "/var/lib/tikv-security/hsm";
/// Volume of that configuration.
pub const VOLUME_HSM: &str = "tikv-security-hsm";
/// Volumes that are added to the pod template.
pub const VOLUME_TLS: &str = "tikv-security-tls";
/// Volume of the leaf of TiDB's MySQL port.
pub const VOLUME_SERVER_TLS: &str = "tikv-security-server-tls";
/// Volume of the agent's leaf.
pub const VOLUME_AGENT_TLS: &str = "tikv-security-agent-tls";
/// Volume of the desired state.
pub const VOLUME_AGENT_CONFIG: &str = "tikv-security-desired";
/// Volume of the agent's run directory.
pub const VOLUME_RUN: &str = "tikv-security-run";
