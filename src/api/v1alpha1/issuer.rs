//! Who signs the certificates. Whoever has to know its kind matches on [`IssuerChoice`], exhaustively.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::AcmeIssuer;
use super::duration::GoDuration;
use super::encryption::{SecretKeyRef, SecretRef};
use super::kms_issuer::KmsIssuer;
use super::vault::VaultAuth;

/// Who signs the certificates. Another one is a rotation of the CA: both are trusted until every port serves certificates of
/// the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.selfSigned), has(self.caSecret), has(self.vault), has(self.certManager), has(self.acme), has(self.kms), has(self.pkcs11)].exists_one(one, one)").message("exactly one issuer: write one of selfSigned, caSecret, vault, certManager, acme, kms and pkcs11; issuer: {selfSigned: {}} needs nothing else"))]
pub struct Issuer {
    /// A CA made for this cluster; its key stays in a Secret that no pod mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
    /// A CA of your own, mostly an intermediate one of a company, in a Secret of the same namespace: `tls.crt` (its certificate, and
    /// after it the chain up to the root), `tls.key`, and the root in `ca.crt` where `tls.crt` does not end with it. What is put there later is noticed,
    /// and the CA is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretRef>,
    /// The PKI engine of HashiCorp Vault, or of OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultIssuer>,
    /// An `Issuer` or `ClusterIssuer` of cert-manager, by `CertificateRequest` objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerIssuer>,
    /// A CA of a company that speaks ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// A CA whose key never leaves a key management service, which signs each certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<KmsIssuer>,
    /// A CA whose key never leaves a hardware security module, which signs each certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs11: Option<Pkcs11Issuer>,
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

/// A role of the PKI engine of Vault or OpenBao. The key of each certificate is made by the operator and never leaves it; Vault signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultIssuer {
    /// URL of Vault, without a path: `https://vault.example.com:8200`.
    #[schemars(length(max = 512), regex(pattern = "^https://[^/?#\\s]+/?$"))]
    pub address: String,
    /// Certificates of the authorities that signed Vault's certificate, in PEM, in a Secret. Absent: those of the
    /// program's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeyRef>,
    /// Namespace of Vault Enterprise or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z._-]+(/[0-9A-Za-z._-]+)*$")
    )]
    pub namespace: Option<String>,
    /// Path at which the PKI engine is mounted.
    #[serde(default = "pki")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$")
    )]
    pub mount: String,
    /// Role of the engine. It must allow the names of the cluster, server and client use, and `tls.duration`.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*$")
    )]
    pub role: String,
    /// Role for certificates of clients alone (`client_flag=true`, `server_flag=false`). Absent: a `TikvClientCertificate` must ask for both usages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[0-9A-Za-z_-][0-9A-Za-z._-]*$")
    )]
    pub client_role: Option<String>,
    /// How the operator shows who it is. Exactly one. Of `kubernetes`, `operatorRole` is used, or `role` without it.
    pub auth: VaultAuth,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertManagerIssuer {
    /// Which one.
    pub issuer_ref: CertManagerRef,
    /// The root that its certificates lead to, in PEM, in a Secret. Absent: what the issuer tells with its first certificate, which those of
    /// kind ACME do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeyRef>,
}

/// A reference to an issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertManagerRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its kind: `Issuer`, `ClusterIssuer`, or that of an issuer that somebody else provides.
    #[serde(default = "issuer_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its API group.
    #[serde(default = "issuer_group")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

/// A CA whose key is in a hardware security module. The operator needs the image for HSMs, with the vendor's library in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pkcs11Issuer {
    /// Path of the vendor's library in the image: `/usr/lib/vendor/libpkcs11.so`.
    #[schemars(
        length(max = 512),
        regex(pattern = "^(/[0-9A-Za-z_+-][0-9A-Za-z._+-]*)+$")
    )]
    pub module: String,
    /// Label of the token (`CKA_LABEL`), as `pkcs11-tool --list-token-slots` shows it.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[ -~]*[!-~]$"))]
    pub token: String,
    /// Label of a key pair in the token (`CKA_LABEL`), on the curve P-256 or RSA of 2048 bits or more, whose private key may sign. Public and
    /// private key have this label, and no other key has it.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[ -~]*[!-~]$"))]
    pub key: String,
    /// PIN of the token's user, in a Secret.
    pub pin_secret: SecretKeyRef,
    /// Validity of the CA.
    #[serde(default = "ca_duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('262800h')").message("caDuration must be between 1h and 262800h; 87600h is usual"))]
    pub ca_duration: GoDuration,
}

/// The one issuer that is named.
#[derive(Clone, Copy, Debug)]
pub enum IssuerChoice<'a> {
    /// A CA made here.
    SelfSigned(&'a SelfSigned),
    /// A CA that a person put into a Secret.
    CaSecret(&'a SecretRef),
    /// Vault.
    Vault(&'a VaultIssuer),
    /// cert-manager.
    CertManager(&'a CertManagerIssuer),
    /// An ACME server.
    Acme(&'a AcmeIssuer),
    /// A key in a KMS.
    Kms(&'a KmsIssuer),
    /// A key in an HSM.
    Pkcs11(&'a Pkcs11Issuer),
}

impl Issuer {
    /// A CA made here.
    pub fn own() -> Self {
        Self {
            self_signed: Some(SelfSigned::default()),
            ..Self::default()
        }
    }

    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub fn choice(&self) -> Option<IssuerChoice<'_>> {
        let Self {
            self_signed,
            ca_secret,
            vault,
            cert_manager,
            acme,
            kms,
            pkcs11,
        } = self;
        let mut named = [
            self_signed.as_ref().map(IssuerChoice::SelfSigned),
            ca_secret.as_ref().map(IssuerChoice::CaSecret),
            vault.as_ref().map(IssuerChoice::Vault),
            cert_manager.as_ref().map(IssuerChoice::CertManager),
            acme.as_ref().map(IssuerChoice::Acme),
            kms.as_ref()
                .filter(|kms| kms.choice().is_some())
                .map(IssuerChoice::Kms),
            pkcs11.as_ref().map(IssuerChoice::Pkcs11),
        ]
        .into_iter()
        .flatten();
        named.next().filter(|_| named.next().is_none())
    }
}

impl IssuerChoice<'_> {
    /// Validity of a CA that is made here; `None` where somebody else makes it.
    pub const fn ca_duration(&self) -> Option<GoDuration> {
        match self {
            Self::SelfSigned(own) => Some(own.ca_duration),
            Self::Kms(kms) => Some(kms.ca_duration),
            Self::Pkcs11(hsm) => Some(hsm.ca_duration),
            Self::CaSecret(_) | Self::Vault(_) | Self::CertManager(_) | Self::Acme(_) => None,
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> IssuerKind {
        match self {
            Self::SelfSigned(_) => IssuerKind::SelfSigned,
            Self::CaSecret(_) => IssuerKind::CaSecret,
            Self::Vault(_) => IssuerKind::Vault,
            Self::CertManager(_) => IssuerKind::CertManager,
            Self::Acme(_) => IssuerKind::Acme,
            Self::Kms(_) => IssuerKind::Kms,
            Self::Pkcs11(_) => IssuerKind::Pkcs11,
        }
    }

    /// What tells a CA that is made here from another: with another key there is another CA. Of others, what they sign with tells.
    pub fn identity(&self) -> [&str; 4] {
        match self {
            Self::SelfSigned(_) => ["selfSigned", "", "", ""],
            Self::Kms(kms) => kms.identity(),
            Self::Pkcs11(hsm) => ["pkcs11", &hsm.token, &hsm.key, ""],
            Self::CaSecret(_) => ["caSecret", "", "", ""],
            Self::Vault(_) => ["vault", "", "", ""],
            Self::Acme(_) => ["acme", "", "", ""],
            Self::CertManager(issuer) => {
                let CertManagerRef { name, kind, group } = &issuer.issuer_ref;
                ["certManager", name, kind, group]
            }
        }
    }
}

impl fmt::Display for IssuerChoice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned(_) => f.write_str("selfSigned"),
            Self::CaSecret(secret) => write!(f, "caSecret {}", secret.name),
            Self::Vault(vault) => write!(
                f,
                "vault {}/{} at {}",
                vault.mount, vault.role, vault.address
            ),
            Self::CertManager(issuer) => {
                let CertManagerRef { name, kind, .. } = &issuer.issuer_ref;
                write!(f, "certManager {kind} {name}")
            }
            Self::Acme(acme) => write!(f, "acme {}", acme.server),
            Self::Kms(kms) => kms.fmt(f),
            Self::Pkcs11(hsm) => write!(f, "pkcs11 {} in token {}", hsm.key, hsm.token),
        }
    }
}

/// Kinds of issuers, by the names of the fields that ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IssuerKind {
    /// A CA made here.
    SelfSigned,
    /// A CA in a Secret.
    CaSecret,
    /// Vault or OpenBao.
    Vault,
    /// cert-manager.
    CertManager,
    /// An ACME server.
    Acme,
    /// A key in a KMS.
    Kms,
    /// A key in an HSM.
    Pkcs11,
}

impl fmt::Display for IssuerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "selfSigned",
            Self::CaSecret => "caSecret",
            Self::Vault => "vault",
            Self::CertManager => "certManager",
            Self::Acme => "acme",
            Self::Kms => "kms",
            Self::Pkcs11 => "pkcs11",
        })
    }
}

/// Kind of the keys of leaf certificates: what every version of TiKV and PD takes (facts, TLS §3.2, §9.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256: the quickest handshakes.
    #[default]
    EcdsaP256,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyAlgorithm {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::EcdsaP256, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "EcdsaP256",
            Self::Rsa2048 => "Rsa2048",
            Self::Rsa3072 => "Rsa3072",
            Self::Rsa4096 => "Rsa4096",
        })
    }
}

pub(super) fn ca_duration() -> GoDuration {
    GoDuration::hours(87_600)
}

fn pki() -> String {
    "pki".to_owned()
}

fn issuer_kind() -> String {
    "Issuer".to_owned()
}

fn issuer_group() -> String {
    "cert-manager.io".to_owned()
}
