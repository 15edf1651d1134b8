//! The API: custom resources, what the operator tells the agents and what they answer. Types only.

pub mod compaction;
pub mod desired;
pub mod key_dict;
pub mod method;
pub mod report;
pub mod v1alpha1;
pub mod wrapped;

/// API group of all custom resources.
pub const GROUP: &str = "security.tikv.org";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Field manager of every server-side apply, and value of the managed-by label.
pub const MANAGER: &str = "tikv-security";
/// Label on every object made for a `TikvSecurity`; its value is that object's name.
pub const LABEL_NAME: &str = "security.tikv.org/name";
/// Label on the Secret of a `TikvClientCertificate`; its value is that object's name.
pub const LABEL_CLIENT: &str = "security.tikv.org/client-certificate";
/// Label on a ConfigMap of CA certificates in another namespace: the name of the `TikvSecurity`.
pub const LABEL_TRUST: &str = "security.tikv.org/trust";
/// Label on the same: the namespace of the `TikvSecurity`.
pub const LABEL_NAMESPACE: &str = "security.tikv.org/namespace";
/// Finalizer on `TikvSecurity`.
pub const FINALIZER: &str = "security.tikv.org/cleanup";
/// Finalizer on `TikvClientCertificate`: what was issued for it is revoked before it goes.
pub const FINALIZER_REVOKE: &str = "security.tikv.org/revoke";
/// Port of the agent's HTTPS server.
pub const AGENT_PORT: u16 = 20190;
/// The label that says who manages an object; its value is `MANAGER`.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label of the ConfigMap with files that ACME servers ask for.
pub const LABEL_ACME: &str = "security.tikv.org/acme";
/// Label on a Secret of ours: what it holds (`ca`, `tikv`, `pd`, `agent`, `client`, `tidb`, `tidb-server`, `tiflash`, `ticdc`, `master-key`).
pub const LABEL_PART: &str = "security.tikv.org/part";
/// Annotation on a derived ConfigMap: the ConfigMap that a person wrote.
pub const ANNOTATION_SOURCE: &str = "security.tikv.org/source";
/// Annotation on the Secrets of the CA and of leaves, and on the agents' ConfigMap: the rotation request that it answers.
pub const ANNOTATION_ROTATION: &str = "security.tikv.org/rotation";
/// Annotation on the agents' ConfigMap: since when its desired state holds. A pod made before has not tried it.
pub const ANNOTATION_SINCE: &str = "security.tikv.org/since";
/// Annotation on the Secret of the CA: the emergency rotation that it answers.
pub const ANNOTATION_EMERGENCY: &str = "security.tikv.org/emergency";
/// Annotation on the Secret of the next CA: the rotation that brings it, as `CaRotation`.
pub const ANNOTATION_CA_ROTATION: &str = "security.tikv.org/ca-rotation";
/// Annotation on the Secret of a CA that is not made here: whose it is, as `spec.tls.issuer` has it.
pub const ANNOTATION_ISSUER: &str = "security.tikv.org/issuer";
/// Annotation on a Secret with a certificate: the subject that was asked for beside the common name. Not every issuer gives it.
pub const ANNOTATION_SUBJECT: &str = "security.tikv.org/subject";
/// Annotation on a Secret with a wrapped master key: who wrapped it, for people.
pub const ANNOTATION_WRAPPED_BY: &str = "security.tikv.org/wrapped-by";
/// Annotation on the agents' ConfigMap: the master keys that the pods are configured with, and their rotation.
pub const ANNOTATION_MASTER_KEYS: &str = "security.tikv.org/master-keys";
/// Annotation on the agents' ConfigMap: since when which schedule of re-encryption holds.
pub const ANNOTATION_SCHEDULE: &str = "security.tikv.org/schedule";
/// Annotation on the agents' ConfigMap: the request for a verification that it answers.
pub const ANNOTATION_VERIFICATION: &str = "security.tikv.org/verification";
/// Annotation on the agents' ConfigMap: what moved `dataKeyNotBefore` last: `request`, `schedule` or `period`.
pub const ANNOTATION_CAUSE: &str = "security.tikv.org/cause";
/// Annotation on what this operator made and others might change: what it wrote. It has no effect; it is compared with what is there.
pub const ANNOTATION_APPLIED: &str = "security.tikv.org/applied";
/// Annotation on the Secret of the certificate of TiDB's MySQL port: since when it holds that certificate. A process that started before
/// serves another one.
pub const ANNOTATION_ISSUED: &str = "security.tikv.org/issued-at";
/// Key of the desired state in the agents' ConfigMap.
pub const DESIRED_KEY: &str = "desired.json";
/// Keys of the Secret with AWS credentials, named like the environment variables that they become. The last may be absent.
pub const AWS_KEYS: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
