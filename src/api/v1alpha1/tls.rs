//! Certificates.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::authority::CaRotationPolicy;
use super::clients::{ClientPolicy, Trust};
use super::duration::GoDuration;
use super::export::SetExport;
use super::issuer::{Issuer, KeyAlgorithm};
use super::revocation::RevocationPolicy;
use super::subject::Subject;

/// Mutual TLS between all parts of the cluster and its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.issuer.selfSigned) || duration(self.issuer.selfSigned.caDuration) >= duration(self.duration) + duration(self.renewBefore)").message("caDuration must be at least duration and renewBefore together, otherwise certificates would end with their CA; with duration 720h write caDuration 87600h"))]
#[x_kube(validation = Rule::new("!has(self.issuer.kms) || duration(self.issuer.kms.caDuration) >= duration(self.duration) + duration(self.renewBefore)").message("caDuration must be at least duration and renewBefore together, otherwise certificates would end with their CA; with duration 720h write caDuration 87600h"))]
#[x_kube(validation = Rule::new("!has(self.issuer.pkcs11) || duration(self.issuer.pkcs11.caDuration) >= duration(self.duration) + duration(self.renewBefore)").message("caDuration must be at least duration and renewBefore together, otherwise certificates would end with their CA; with duration 720h write caDuration 87600h"))]
#[x_kube(validation = Rule::new("duration(self.renewBefore) < duration(self.duration)").message("renewBefore must be shorter than duration, otherwise each certificate would be renewed at once; with duration 720h write renewBefore 240h"))]
pub struct Tls {
    /// Who signs. Exactly one.
    pub issuer: Issuer,
    /// Kind of the keys of all leaf certificates. Another one is a renewal of each; nothing restarts. P-384, P-521 and Ed25519 are not among them:
    /// TiKV refuses clients with the former two over TLS 1.2, and not every client knows the last.
    #[serde(default)]
    pub key_algorithm: KeyAlgorithm,
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
    /// What each certificate says of its owner beside the common name. Another one renews each; nothing restarts. An issuer may leave it out: Vault writes what
    /// its role says, ACME is not asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
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
    /// Copies of sets outside of the Kubernetes cluster, with their keys, that are kept in step. What goes wrong there holds up nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub export: Vec<SetExport>,
}

fn duration() -> GoDuration {
    GoDuration::hours(720)
}

fn renew_before() -> GoDuration {
    GoDuration::hours(240)
}
