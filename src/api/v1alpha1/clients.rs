//! Who may have client certificates, and who gets the CA's certificates.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

/// `TikvClientCertificate` objects of some namespaces that are answered with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.namespaces) || has(self.namespaceLabels)").message("an entry of tls.clients names nobody; write namespaces: [shop], or namespaceLabels: {tikv-client: 'true'}"))]
pub struct ClientPolicy {
    /// Names of namespaces; `*` for every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels that a namespace must have, all of them; another way to name namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub namespace_labels: BTreeMap<String, String>,
    /// Common names that may be asked for, `*` standing for any characters; each must be in `tls.allowedNames` as well. Absent:
    /// only the one that all clients of the cluster share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 64)))]
    pub common_names: Vec<String>,
    /// Longest validity that may be asked for. Absent: `tls.duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m')").message("maxDuration must be at least 10m, the shortest validity of a certificate; 720h is usual"))]
    pub max_duration: Option<GoDuration>,
    /// True: the certificate may be used by a server as well, under names of its own namespace.
    #[serde(default)]
    pub server_auth: bool,
}

/// The certificates of the CA in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustStatus {
    /// The namespace.
    pub namespace: String,
    /// True when the ConfigMap there has what clients are to trust now.
    pub current: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Who gets the certificates of the CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trust {
    /// Namespaces that get a ConfigMap `X-ca-bundle` with `ca.crt`, which follows the CA through its rotations. It is taken away where
    /// the namespace is not named any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
}
