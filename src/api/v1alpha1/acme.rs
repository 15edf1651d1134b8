//! A CA that is asked by ACME (RFC 8555): one of a company, because it has to check names that only the cluster has.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encryption::SecretKeyRef;

/// An ACME server. The key of each certificate is made by the operator and never leaves it. Its certificates must be for servers and for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcmeIssuer {
    /// URL of its directory: `https://ca.example.com/acme/tikv/directory`.
    #[schemars(length(max = 512), regex(pattern = "^https://[^?#\\s]+$"))]
    pub server: String,
    /// URL of a directory whose certificates are for clients alone. Absent: a `TikvClientCertificate` must ask for both usages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[^?#\\s]+$"))]
    pub client_server: Option<String>,
    /// The root that its certificates lead to, in PEM, in a Secret: ACME does not tell it. Another one there is a rotation of the CA.
    pub root_secret: SecretKeyRef,
    /// Certificates of the authorities that signed the server's own certificate, in PEM, in a Secret. Absent: `rootSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeyRef>,
    /// Whom the server may write to: `tikv@example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 254), regex(pattern = "^[^@\\s]+@[^@\\s]+$"))]
    pub email: Option<String>,
    /// Profile that is asked for, where the server has profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub profile: Option<String>,
    /// The account elsewhere that the server asks for (external account binding, RFC 8555 §7.3.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<AcmeExternalAccount>,
    /// Names that end with one of these are asked for, all others are left out of the certificates of the cluster. A name by which PD and TiKV are dialled must end
    /// with one of them. Addresses and `localhost` are never asked for.
    #[serde(default = "domains")]
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(min = 1, max = 253),
            regex(pattern = "^[0-9a-z]([0-9a-z-]*[0-9a-z])?(\\.[0-9a-z]([0-9a-z-]*[0-9a-z])?)*$")
        )
    )]
    pub domains: Vec<String>,
    /// How the server is shown that the names are ours. Exactly one.
    pub solver: AcmeSolver,
}

/// The names that a cluster has in every cluster, and those that stand for who somebody is.
fn domains() -> Vec<String> {
    vec!["svc".to_owned(), "tikv-security".to_owned()]
}

/// An account at the CA's own register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcmeExternalAccount {
    /// Name of its key.
    #[schemars(length(min = 1, max = 256))]
    pub key_id: String,
    /// Its HMAC key in base64url, as the CA gave it, in a Secret.
    pub key_secret: SecretKeyRef,
}

/// How names are shown to be ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.http01), has(self.dns01)].exists_one(one, one)").message("exactly one solver: write http01: {} or dns01"))]
pub struct AcmeSolver {
    /// The server fetches a file from port 80 of each name (RFC 8555 §8.3). It must find the operator there, by its own DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<AcmeHttp01>,
    /// The server looks for a TXT record under each name (RFC 8555 §8.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns01: Option<AcmeDns01>,
}

/// Nothing has to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcmeHttp01 {}

/// Where TXT records are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcmeDns01 {
    /// A name server that takes dynamic updates (RFC 2136): BIND, Knot, PowerDNS, Windows.
    pub rfc2136: Rfc2136,
}

/// A name server that takes dynamic updates, signed with a key that it knows (TSIG, RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rfc2136 {
    /// The primary server of the zones: `ns.example.com`, `10.0.0.53:5353`, `[2001:db8::53]:53`. Port 53 when none is named. TCP.
    #[schemars(
        length(max = 259),
        regex(pattern = "^([0-9A-Za-z.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$")
    )]
    pub server: String,
    /// Name of the key.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[0-9A-Za-z_-]+(\\.[0-9A-Za-z_-]+)*\\.?$")
    )]
    pub key_name: String,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The key in base64, in a Secret.
    pub key_secret: SecretKeyRef,
}

/// Algorithms of TSIG keys that are not broken (RFC 8945 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// hmac-sha256.
    #[default]
    HmacSha256,
    /// hmac-sha384.
    HmacSha384,
    /// hmac-sha512.
    HmacSha512,
}

/// The one solver that is named.
#[derive(Clone, Copy, Debug)]
pub enum AcmeSolverChoice<'a> {
    /// Files.
    Http01,
    /// TXT records.
    Dns01(&'a Rfc2136),
}

impl AcmeSolver {
    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub const fn choice(&self) -> Option<AcmeSolverChoice<'_>> {
        match (&self.http01, &self.dns01) {
            (Some(_), None) => Some(AcmeSolverChoice::Http01),
            (None, Some(dns)) => Some(AcmeSolverChoice::Dns01(&dns.rfc2136)),
            _ => None,
        }
    }
}

impl AcmeIssuer {
    /// Whether a name ends with one of the domains.
    pub fn asks_for(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| {
            let before = name.strip_suffix(domain.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}
