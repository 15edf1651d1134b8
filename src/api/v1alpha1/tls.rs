//! Certificates.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::authority::CaRotationPolicy;
use super::clients::{ClientPolicy, Trust};
use super::duration::GoDuration;
use super::revocation::RevocationPolicy;

/// Mutual TLS between all parts of the cluster and its clients. ECDSA P-256 keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.issuer.selfSigned) || duration(self.issuer.selfSigned.caDuration) >= duration(self.duration) + duration(self.renewBefore)").message("caDuration must be at least duration and renewBefore together, otherwise certificates would end with their CA; with duration 720h write caDuration 87600h"))]
#[x_kube(validation = Rule::new("duration(self.renewBefore) < duration(self.duration)").message("renewBefore must be shorter than duration, otherwise each certificate would be renewed at once; with duration 720h write renewBefore 240h"))]
pub struct Tls {
    /// Who signs. Exactly one.
    pub issuer: Issuer,
    /// Validity of the leaf certificates. Longer than the longest outage of a store: a peer keeps trying with the
    /// certificate that it read before.
    #[serde(default = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('87600h')").message("duration must be between 10m and 87600h; 720h is usual"))]
    pub duration: GoDuration,
    /// How long before its end a leaf certificate is renewed. Nothing restarts for it.
    #[serde(default = "renew_before")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("renewBefore must be at least 1m"))]
    pub renew_before: GoDuration,
    /// How the CA is rotated. `rotate.ca` asks for it; near its end it happens by itself.
    #[serde(default)]
    pub ca: CaRotationPolicy,
    /// More DNS names and IP addresses for the certificates of TiKV and PD: Services, load balancers, other networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub extra_sans: Vec<String>,
    /// Common names, besides the cluster's own and that of the client certificate made here, that TiKV admits.
    /// TiKV 9 admits every name that contains one of them: write long ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 4, max = 64)))]
    pub allowed_names: Vec<String>,
    /// Who may have a certificate by a `TikvClientCertificate`. Absent: the namespace of this object alone, under every name that
    /// TiKV admits and for at most `duration`. An entry that names that namespace takes the place of this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub clients: Vec<ClientPolicy>,
    /// Who gets the certificates of the CA, to tell whom to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// How revoked certificates are published and cut off. Absent: as soon as one is revoked they are published, and their end is
    /// waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationPolicy>,
}

/// Who signs the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.selfSigned)").message("an issuer is needed; write issuer: {selfSigned: {}}"))]
pub struct Issuer {
    /// A CA made for this cluster; its key stays in a Secret that no pod mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
}

/// A CA made for this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfSigned {
    /// Validity of the CA.
    #[serde(default = "ca_duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('262800h')").message("caDuration must be between 1h and 262800h; 87600h is usual"))]
    pub ca_duration: GoDuration,
}

impl Default for SelfSigned {
    fn default() -> Self {
        Self {
            ca_duration: ca_duration(),
        }
    }
}

fn duration() -> GoDuration {
    GoDuration::hours(720)
}

fn renew_before() -> GoDuration {
    GoDuration::hours(240)
}

fn ca_duration() -> GoDuration {
    GoDuration::hours(87_600)
}
