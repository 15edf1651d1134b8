//! `TikvClientCertificate`: a certificate for an application, in its own namespace.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::encryption::SecretKeyRef;
use super::export::{Export, ExportStatus};
use super::issuer::KeyAlgorithm;
use super::revocation::RevocationReason;
use super::subject::Subject;

/// A certificate with which an application is a client of a TiKV cluster, in a Secret of the application's namespace,
/// renewed for as long as this object exists. `tls.clients` of the `TikvSecurity` says who may have one.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "security.tikv.org",
    version = "v1alpha1",
    kind = "TikvClientCertificate",
    plural = "tikvclientcertificates",
    shortname = "tkcc",
    category = "tikv",
    namespaced,
    status = "TikvClientCertificateStatus",
    derive = "PartialEq",
    doc = "A certificate with which an application is a client of a TiKV cluster.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name must have at most 63 characters, because it becomes part of a name in the certificate"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.securityRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secret"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.notAfter"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewAt", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.renewBefore) || duration(self.renewBefore) < duration(self.duration)").message("renewBefore must be shorter than duration, otherwise the certificate would be renewed at once; leave it out for a third of duration"),
    validation = Rule::new("has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == oldSelf.secretName)").message("secretName can not be changed, because the Secret of the old name would stay with a valid key in it; make another TikvClientCertificate, and delete this one when nothing mounts its Secret"),
    validation = Rule::new("self.usages.exists(usage, usage == 'clientAuth')").message("a client certificate without clientAuth is refused by TiKV and PD; write usages: [clientAuth], or [clientAuth, serverAuth]")
)]
pub struct TikvClientCertificateSpec {
    /// The `TikvSecurity` of the cluster.
    pub security_ref: SecurityRef,
    /// Validity. At most what `tls.clients` of the `TikvSecurity` allows.
    #[serde(default = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('87600h')").message("duration must be between 10m and 87600h; 720h is usual"))]
    pub duration: GoDuration,
    /// Kind of its key.
    #[serde(default)]
    pub key_algorithm: KeyAlgorithm,
    /// How long before its end the certificate is renewed; up to a tenth earlier, so that certificates that were made
    /// together are not renewed together. Absent: a third of `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("renewBefore must be at least 1m"))]
    pub renew_before: Option<GoDuration>,
    /// The common name, by which TiKV admits a caller. Absent: `client.X.NAMESPACE.tikv-security`, which TiKV admits from the
    /// start, so that no store restarts for a new client. A name of its own must stand in `tls.allowedNames` of the
    /// `TikvSecurity` first; stores restart one by one when it is put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')").message("commonName may have letters, digits, '.', '-' and '_', and begins and ends with a letter or digit; write one like orders.shop.example"))]
    pub common_name: Option<String>,
    /// What the certificate says of its owner beside the common name. Another one is a renewal. An issuer may leave it out: Vault writes what its role says, ACME
    /// is not asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// More DNS names; `NAME.NAMESPACE.client.tikv-security` is always there. With `serverAuth` only names of Services and
    /// pods of this namespace: `X.NAMESPACE`, `X.NAMESPACE.svc`, `X.NAMESPACE.svc.cluster.local`, and `localhost`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,
    /// IP addresses. With `serverAuth` only `127.0.0.1` and `::1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 45)))]
    pub ip_addresses: Vec<String>,
    /// What the certificate is for. `serverAuth` is for a client that is a server too, as TiDB is.
    #[serde(default = "usages")]
    #[schemars(length(min = 1, max = 2))]
    pub usages: Vec<Usage>,
    /// Name of the Secret, in this namespace: `tls.crt`, `tls.key`, `ca.crt`. A Secret of this name that is there already
    /// is never written over. Absent: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// The same as PKCS#12 too, which Java reads: `keystore.p12` and `truststore.p12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12>,
    /// Copies of certificate, key and CA outside of the Kubernetes cluster, in PEM, that are kept in step. What goes wrong there holds up nothing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub export: Vec<Export>,
    /// Why this client may not use the cluster any more: every certificate that was issued for it is revoked, and it gets none while this
    /// is written here. Taking it away is a new certificate, not the old one back. Deleting this object revokes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<RevocationReason>,
    /// How long after a renewal the certificate from before is revoked: time for the application to read its Secret anew. Absent: it
    /// is not revoked, and ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m')").message("revokeSupersededAfter must be at least 5m, because the kubelet takes up to two minutes to bring a renewed Secret"))]
    pub revoke_superseded_after: Option<GoDuration>,
}

/// A `TikvSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Its namespace. Absent: that of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// PKCS#12 beside PEM. AES-256 and HMAC-SHA-256, as Java 8u301 and later write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pkcs12 {
    /// Where the password of both stores is, in a Secret of this namespace: at least 6 characters. Absent: one is made, and
    /// stands as `password` in the certificate's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKeyRef>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Usage {
    /// To call.
    ClientAuth,
    /// To be called.
    ServerAuth,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientAuth => "clientAuth",
            Self::ServerAuth => "serverAuth",
        })
    }
}

/// What is true of a `TikvClientCertificate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TikvClientCertificateStatus {
    /// Generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: a valid certificate is in the Secret, and TiKV admits its name. `Exported`, where copies are asked for: each holds what the
    /// Secret holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The Secret, once a certificate is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Common name of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Serial number, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// First moment of validity.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Last moment of validity.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When it is renewed.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// Since when every store admits this common name, as far as this operator has seen it.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_since: Option<Timestamp>,
    /// PD's addresses, as PD itself tells them to clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pd_endpoints: Vec<String>,
    /// Certificates that were issued for this object and have not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<IssuedCertificate>,
    /// Copies outside of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportStatus>,
    /// The certificate that is about to be in the Secret. Written before the Secret is, so that nothing is handed out that could not
    /// be revoked; however often the writing of the Secret fails, it has this serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<IssuedCertificate>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCertificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Serial number of the CA that signed it.
    pub authority: String,
    /// Common name.
    pub common_name: String,
    /// Last moment of validity.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub not_after: Timestamp,
}

fn duration() -> GoDuration {
    GoDuration::hours(720)
}

fn usages() -> Vec<Usage> {
    vec![Usage::ClientAuth]
}
