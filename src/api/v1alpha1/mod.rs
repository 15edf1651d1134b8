//! The custom resources `TikvSecurity`, `TikvSecurityPolicy`, `TikvVolume` and `TikvClientCertificate`, version `v1alpha1`.

mod acme;
mod authority;
mod client_certificate;
mod clients;
mod cluster;
mod duration;
mod encryption;
mod export;
mod issuer;
mod kms_issuer;
mod master_key;
mod pkcs11;
mod policy;
mod revocation;
mod rollout;
mod rotation;
mod security;
mod status;
mod subject;
mod tls;
mod vault;
mod verification;
mod volume;

pub use acme::{
    AcmeDns01, AcmeExternalAccount, AcmeHttp01, AcmeIssuer, AcmeSolver, AcmeSolverChoice, Rfc2136,
    TsigAlgorithm,
};
pub use authority::{CaPhase, CaRotation, CaRotationPolicy, CaStep, CertificateAuthorityStatus};
pub use client_certificate::{
    IssuedCertificate, Pkcs12, SecurityRef, TikvClientCertificate, TikvClientCertificateSpec,
    TikvClientCertificateStatus, Usage,
};
pub use clients::{ClientPolicy, Trust, TrustStatus};
pub use cluster::{
    Cluster, ConfigMapRef, NamedSet, OtherWorkload, SqlWorkload, StatefulSetRef, Workload,
};
pub use duration::{GoDuration, InvalidDuration};
pub use encryption::{
    AwsKms, AzureKeyVault, Encryption, FileMasterKey, GcpKms, GcpVendor, MasterKey, Reencryption,
    ReencryptionLimits, ReencryptionMode, ReencryptionPolicy, SecretKeyRef, SecretRef,
};
pub use export::{
    AwsSecretsManager, DeletionPolicy, Export, ExportStatus, ExportedSet, SetExport, TargetChoice,
    TargetKind, VaultKv,
};
pub use issuer::{
    CertManagerIssuer, CertManagerRef, Issuer, IssuerChoice, IssuerKind, KeyAlgorithm,
    Pkcs11Issuer, SelfSigned, VaultIssuer,
};
pub use kms_issuer::{AzureSigningKey, GcpSigningKey, KmsIssuer, SigningKeyChoice};
pub use master_key::MasterKeyChoice;
pub use pkcs11::Pkcs11;
pub use policy::{
    EncryptionPolicy, MasterKeyKind, TikvSecurityPolicy, TikvSecurityPolicySpec, TlsPolicy,
};
pub use revocation::{
    Cut, RefusalProof, RevocationPhase, RevocationPolicy, RevocationReason, RevocationStatus,
    RevokedCertificate,
};
pub use rollout::{Rollout, Rotate};
pub use rotation::{KeyRing, RingKey, RotationPhase, RotationStatus, Spared};
pub use security::{DriftPolicy, Environment, TikvSecurity, TikvSecuritySpec};
pub use status::{
    CertificateStatus, DriftAnswer, DriftRecord, EncryptionStatus, MasterKeyStatus, Phase,
    RolloutPhase, RolloutStatus, RotationKind, RotationRecord, TikvSecurityStatus, condition,
    reason,
};
pub use subject::Subject;
pub use tls::Tls;
pub use vault::{VaultAppRole, VaultAuth, VaultAuthChoice, VaultKubernetes, VaultTransit};
pub use verification::{Cron, Verification};
pub use volume::{
    Attempt, ServedCertificate, TikvVolume, TikvVolumeSpec, TikvVolumeStatus, VolumePhase,
};
