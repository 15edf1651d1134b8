//! Which workloads form the cluster.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The workloads that form one TiKV cluster, all in the namespace of the `TikvSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// TiKV.
    pub tikv: Workload,
    /// Placement Driver.
    pub pd: Workload,
    /// TiDB. Absent: it has no certificates of this operator, and is not restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tidb: Option<SqlWorkload>,
    /// TiFlash. It gets certificates; its configuration and its restarts stay with you, and its data is not encrypted by this operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiflash: Option<OtherWorkload>,
    /// TiCDC. It gets certificates; its configuration and its restarts stay with you.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticdc: Option<OtherWorkload>,
}

/// A workload that gets certificates and is otherwise only looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtherWorkload {
    /// The StatefulSet that runs it. It is never changed.
    pub stateful_set: NamedSet,
    /// Services of this namespace by which it is reached, besides the StatefulSet's own and one that is called like the StatefulSet.
    /// Their names go into its certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 63),
            regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub services: Vec<String>,
}

/// A StatefulSet, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedSet {
    /// Name of the StatefulSet.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// TiDB. Its ports must be 4000 and 10080.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlWorkload {
    /// The StatefulSet that runs it. Its `updateStrategy` becomes `OnDelete`: only the operator restarts its pods.
    pub stateful_set: StatefulSetRef,
    /// Services of this namespace by which TiDB is reached, besides the StatefulSet's own and one that is called like the StatefulSet.
    /// Their names go into the certificates of both its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 63),
            regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub services: Vec<String>,
    /// More DNS names and IP addresses by which MySQL clients reach port 4000: load balancers, other networks. They go into the
    /// certificate of that port alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub mysql_sans: Vec<String>,
}

/// One workload of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// The StatefulSet that runs it. Its `updateStrategy` becomes `OnDelete`: only the operator restarts its pods.
    pub stateful_set: StatefulSetRef,
}

/// A StatefulSet, and what can not be detected in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatefulSetRef {
    /// Name of the StatefulSet. It can not be changed: the certificates and the volumes belong to this one.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the StatefulSet of a TikvSecurity can not be changed; delete this TikvSecurity (the cluster keeps running) and create another"))]
    pub name: String,
    /// Name of the container. Detected: the only container, or the one called or running `tikv`, `pd` or `tidb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The ConfigMap that holds the TOML. Detected from `--config` and the mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapRef>,
    /// Data directory. Detected from `--data-dir`, then from `storage.data-dir` (TiKV) or `data-dir` (PD) in the TOML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = "^/"))]
    pub data_dir: Option<String>,
}

/// A ConfigMap with TOML in it. It is only read; a changed copy is mounted in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key whose value is the TOML. Detected: the file that `--config` names, or the only key that ends with `.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}
