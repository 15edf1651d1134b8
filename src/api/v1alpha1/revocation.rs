//! Revocation: what is published of it, and how a revoked certificate is kept from being accepted.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

/// How revoked certificates are published, and how the cluster is made to refuse them. TiKV and PD read neither CRL nor OCSP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevocationPolicy {
    /// Where others reach the operator's revocation port, without a path. Certificates that are issued from then on name it, as
    /// CRL distribution point and OCSP responder. Absent: they name none, and both are served all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^http://[A-Za-z0-9.:-]+$')").message("url must be like http://tikv-security-revocation.tikv-system.svc:8082: http, because whoever checks a certificate can not be made to check another first, and no path"))]
    pub url: Option<String>,
    /// Validity of a CRL. It is signed anew at half of it.
    #[serde(default = "crl_validity")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('2160h')").message("crlValidity must be between 10m and 2160h; 168h is usual"))]
    pub crl_validity: GoDuration,
    /// How a revoked certificate is kept from being accepted by the cluster before it ends.
    #[serde(default)]
    pub cut: Cut,
    /// Certificates of this cluster's own CA that no `TikvClientCertificate` stands for: copies of the operator's set, or what was
    /// issued by hand. Taking one off the list does not make it valid again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub certificates: Vec<RevokedCertificate>,
}

impl Default for RevocationPolicy {
    fn default() -> Self {
        Self {
            url: None,
            crl_validity: crl_validity(),
            cut: Cut::default(),
            certificates: Vec::new(),
        }
    }
}

fn crl_validity() -> GoDuration {
    GoDuration::hours(168)
}

/// How a revoked certificate is kept from being accepted by the cluster before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cut {
    /// Not at all: its end is waited for, and nothing restarts.
    #[default]
    Expiry,
    /// Its common name is taken from the list of TiKV, whose stores restart one by one. Every certificate with that name is refused
    /// then. Where the name is the one that all clients share its end is waited for. PD does not look at names.
    AllowedNames,
    /// The CA that signed it is replaced as in an emergency: PD and TiKV restart one by one, and clients get new certificates.
    CaRotation,
}

/// A certificate that is revoked by its serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokedCertificate {
    /// Serial number, hexadecimal in lower case without leading zeros, as `certificate inspect` shows it.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9a-f][0-9a-f]*$')").message("serial must be hexadecimal in lower case without leading zeros and colons, as tikv-security certificate inspect shows it"))]
    pub serial: String,
    /// Why.
    #[serde(default)]
    pub reason: RevocationReason,
}

/// Why a certificate is revoked (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevocationReason {
    /// Not told.
    #[default]
    Unspecified,
    /// Somebody else has or may have the key.
    KeyCompromise,
    /// Whoever has it belongs elsewhere now.
    AffiliationChanged,
    /// Another one has taken its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// Whoever has it may not use the cluster any more.
    PrivilegeWithdrawn,
}

/// A revoked certificate, and whether the cluster still accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationStatus {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Serial number of the CA that signed it.
    pub authority: String,
    /// Namespace and name of the `TikvClientCertificate` that it was issued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Why.
    pub reason: RevocationReason,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub revoked_at: Timestamp,
    /// Its end; nobody accepts it after that.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub not_after: Timestamp,
    /// Where it stands.
    pub phase: RevocationPhase,
    /// Whether the cluster still accepts it, and until when; or by what it is known that it does not.
    pub message: String,
    /// Since when it is known to be refused.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Timestamp>,
    /// By what that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<RefusalProof>,
}

/// Where a revocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevocationPhase {
    /// Written down; the next CRL will name it.
    Recorded,
    /// In the CRL and in answers of OCSP. The cluster accepts it until its end.
    Published,
    /// The cluster is being made to refuse it, and accepts it until that is proven.
    CuttingOff,
    /// The cluster refuses it, by the proof that is told.
    Refused,
    /// It has ended.
    Expired,
}

impl RevocationPhase {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Recorded,
        Self::Published,
        Self::CuttingOff,
        Self::Refused,
        Self::Expired,
    ];

    /// The word in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "Recorded",
            Self::Published => "Published",
            Self::CuttingOff => "CuttingOff",
            Self::Refused => "Refused",
            Self::Expired => "Expired",
        }
    }
}

/// By what it is known that a certificate is refused. The operator has no key of a revoked certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefusalProof {
    /// A certificate of the same CA, or of the same name, that was made for this trial alone was shown to the ports, and refused.
    Tried,
    /// The CA that signed it is gone, every port serves a certificate under another, and what had read the old one restarted.
    CaGone,
}
