//! The specification, parsed: what is left to decide knows no invalid case.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU64};

use jiff::SignedDuration;

use super::clock::{self, Clock};
use super::compaction;
use super::names::{
    AZURE_CERTIFICATE, CREDENTIALS, GOOGLE_CREDENTIALS, MASTER_KEY, MASTER_KEY_FILE, Part,
};
use super::observed::Observed;
use super::wrapped::{self, Wrapped};
use crate::api::desired::{RunLimits, Verification};
use crate::api::method::Method;
use crate::api::v1alpha1::{
    AwsKms, AzureKeyVault, Environment, GcpKms, GcpVendor, MasterKey, MasterKeyChoice,
    ReencryptionLimits, ReencryptionPolicy, SelfSigned,
};
use crate::tikv::tikv_toml::{AzureConfig, EncryptionConfig, MasterKeyConfig};

/// Why nothing may be touched, and what a person must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Reason of the condition.
    pub reason: &'static str,
    /// Object and cause.
    pub message: String,
    /// What to do next.
    pub next: String,
}

impl Blocker {
    /// A blocker.
    pub fn new(reason: &'static str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            next: next.into(),
        }
    }

    /// As one text.
    pub fn text(&self) -> String {
        format!("{}. {}", self.message, self.next)
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Whether the cluster speaks TLS.
    pub tls: bool,
    /// Validity of the CA.
    pub ca_duration: SignedDuration,
    /// Validity of leaves.
    pub leaf_duration: SignedDuration,
    /// How long before their end they are renewed.
    pub renew_before: SignedDuration,
    /// More DNS names.
    pub extra_dns: BTreeSet<String>,
    /// More addresses.
    pub extra_ips: BTreeSet<IpAddr>,
    /// Common names that TiKV admits.
    pub allowed_names: Vec<String>,
    /// Encryption at rest.
    pub encryption: Option<EncryptionDesired>,
}

/// Encryption that is wanted.
#[derive(Clone, Debug)]
pub struct EncryptionDesired {
    /// What TiKV's file says.
    pub config: EncryptionConfig,
    /// Secret with AWS credentials.
    pub credentials: Option<String>,
    /// Credentials file of TiKV's client for the KMS.
    pub credentials_file: Option<SecretFile>,
    /// Secret and key of the file master key.
    pub key_secret: Option<(String, String)>,
    /// A master key that the agent unwraps.
    pub wrapped: Option<Wrapped>,
    /// How long a data key is used.
    pub rotation_period: SignedDuration,
    /// When existing files are rewritten.
    pub policy: ReencryptionPolicy,
    /// How rewritten files are proven.
    pub verification: Verification,
    /// What a run may take.
    pub limits: RunLimits,
    /// Mode Compaction, and how many threads of TiKV one may use.
    pub compaction: Option<NonZeroU8>,
    /// What is done by the clock.
    pub clock: Clock,
}

/// One key of a Secret as a file in the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
    /// Name of the file in the directory of its volume.
    pub file: &'static str,
}

/// Parses; repeats what admission checks, because rules can be missing there.
#[allow(
    clippy::too_many_lines,
    reason = "one field after the other, in the order of the resource"
)]
pub fn parse(observed: &Observed) -> Result<Desired, Blocker> {
    let spec = &observed.resource.spec;
    let invalid = |what: &str, next: &str| Blocker::new("InvalidSpec", what, next);
    let (mut extra_dns, mut extra_ips) = (BTreeSet::new(), BTreeSet::new());
    let (mut leaf_duration, mut renew_before) = (
        SignedDuration::from_hours(720),
        SignedDuration::from_hours(240),
    );
    let mut authority = SelfSigned::default();
    let (name, namespace) = (observed.name(), observed.namespace());
    let mut allowed_names: Vec<String> = Part::ALL
        .iter()
        .map(|part| part.common_name(name, namespace))
        .collect();
    if let Some(long) = allowed_names.iter().find(|name| name.len() > 64) {
        return Err(invalid(
            &format!(
                "the common name {long} has more than the 64 characters that a certificate allows"
            ),
            "Choose a shorter name for the TikvSecurity.",
        ));
    }
    if let Some(tls) = &spec.tls {
        leaf_duration = tls.duration.get();
        renew_before = tls.renew_before.get();
        authority = tls.issuer.self_signed.clone().ok_or_else(|| {
            invalid(
                "tls.issuer names no issuer",
                "Write issuer: {selfSigned: {}}.",
            )
        })?;
        if renew_before >= leaf_duration {
            return Err(invalid(
                "tls.renewBefore is not shorter than tls.duration",
                "With duration 720h write renewBefore 240h.",
            ));
        }
        if authority.ca_duration.get() < leaf_duration.saturating_add(renew_before) {
            return Err(invalid(
                "tls.issuer.selfSigned.caDuration is shorter than tls.duration and tls.renewBefore together, so certificates would end with their CA",
                "Write caDuration 87600h, or shorter certificates.",
            ));
        }
        for san in &tls.extra_sans {
            match san.parse::<IpAddr>() {
                Ok(ip) => drop(extra_ips.insert(ip)),
                Err(_) if is_dns(san) => drop(extra_dns.insert(san.clone())),
                Err(_) => {
                    return Err(invalid(
                        &format!(
                            "tls.extraSans has {san:?}, which is neither a DNS name nor an IP address"
                        ),
                        "Write names without scheme and port.",
                    ));
                }
            }
        }
        allowed_names.extend(tls.allowed_names.iter().cloned());
    }
    let encryption = match &spec.encryption {
        None => {
            clock::refuse_without_encryption(spec)?;
            None
        }
        Some(wanted) => {
            let production = spec.environment == Environment::Production;
            if production && wanted.method == Method::Plaintext {
                return Err(Blocker::new(
                    "ForbiddenInProduction",
                    "production forbids the method plaintext",
                    "Write aes256-ctr, or environment: staging.",
                ));
            }
            if production && wanted.reencryption.verification != Verification::Full {
                return Err(Blocker::new(
                    "ForbiddenInProduction",
                    "production demands verification Full",
                    "Write reencryption.verification: Full.",
                ));
            }
            let key = master_key(name, &wanted.master_key)?;
            if production && key.key_secret.is_some() {
                return Err(Blocker::new(
                    "ForbiddenInProduction",
                    "production forbids the file master key, because it is stored in the cluster",
                    "Write masterKey.awsKms, gcpKms, azureKeyVault or vaultTransit, or environment: staging.",
                ));
            }
            let vault = wanted.master_key.vault_transit.as_ref();
            if production && vault.is_some_and(|vault| vault.auth.token.is_some()) {
                return Err(Blocker::new(
                    "ForbiddenInProduction",
                    "production forbids to log in to Vault by a token, because whoever has it needs nothing else and a store can not start when it has ended",
                    "Write auth.kubernetes or auth.appRole, or environment: staging.",
                ));
            }
            let limits = limits(&wanted.reencryption.limits)?;
            let compaction = compaction::mode(wanted, &limits)?;
            Some(EncryptionDesired {
                config: EncryptionConfig {
                    method: wanted.method,
                    rotation_period: wanted.data_key_rotation_period.to_string(),
                    master_key: key.config,
                },
                credentials: key.credentials,
                credentials_file: key.credentials_file,
                key_secret: key.key_secret,
                wrapped: key.wrapped,
                rotation_period: wanted.data_key_rotation_period.get(),
                policy: wanted.reencryption.policy,
                verification: wanted.reencryption.verification,
                limits,
                compaction,
                clock: clock::parse(spec)?,
            })
        }
    };
    if spec.tls.is_none() && encryption.is_none() {
        return Err(invalid(
            "nothing is asked for",
            "Write tls, encryption or both.",
        ));
    }
    Ok(Desired {
        tls: spec.tls.is_some(),
        ca_duration: authority.ca_duration.get(),
        leaf_duration,
        renew_before,
        extra_dns,
        extra_ips,
        allowed_names,
        encryption,
    })
}

/// The master key and what of Secrets the pods need for it.
struct ParsedKey {
    config: MasterKeyConfig,
    credentials: Option<String>,
    credentials_file: Option<SecretFile>,
    key_secret: Option<(String, String)>,
    wrapped: Option<Wrapped>,
}

impl ParsedKey {
    fn new(config: MasterKeyConfig) -> Self {
        Self {
            config,
            credentials: None,
            credentials_file: None,
            key_secret: None,
            wrapped: None,
        }
    }
}

/// Bounds that admission lets through; a number that makes no sense got past it.
fn limits(wanted: &ReencryptionLimits) -> Result<RunLimits, Blocker> {
    let wrong = || {
        Blocker::new(
            "InvalidSpec",
            "a bound in encryption.reencryption.limits is not a positive number that fits",
            "Write threads from 1 to 64, positive rates, and a timeLimit of at least 1m; or leave the bound out.",
        )
    };
    let positive = |number: Option<i64>| {
        let parsed = number.map(|number| u64::try_from(number).and_then(NonZeroU64::try_from));
        parsed.transpose().map_err(|_| wrong())
    };
    let threads = wanted
        .threads
        .map(|number| u8::try_from(number).and_then(NonZeroU8::try_from));
    Ok(RunLimits {
        threads: threads.transpose().map_err(|_| wrong())?,
        bytes_per_second: positive(wanted.bytes_per_second)?,
        requests_per_second: positive(wanted.requests_per_second)?,
        seconds: positive(wanted.time_limit.map(|limit| limit.get().as_secs()))?,
    })
}

fn master_key(resource: &str, key: &MasterKey) -> Result<ParsedKey, Blocker> {
    match key.choice() {
        Some(MasterKeyChoice::AwsKms(kms)) => Ok(aws(kms)),
        Some(MasterKeyChoice::GcpKms(kms)) => google(kms),
        Some(MasterKeyChoice::AzureKeyVault(vault)) => Ok(azure(vault)),
        Some(MasterKeyChoice::VaultTransit(vault)) => {
            Ok(unwrapped(wrapped::vault(resource, vault)?))
        }
        Some(MasterKeyChoice::File(file)) => {
            let path = format!("{MASTER_KEY}/{MASTER_KEY_FILE}");
            Ok(ParsedKey {
                key_secret: Some((file.secret.name.clone(), file.secret.key.clone())),
                ..ParsedKey::new(MasterKeyConfig::File { path })
            })
        }
        None => Err(Blocker::new(
            "InvalidSpec",
            "encryption.masterKey does not name exactly one master key",
            "Write one of awsKms, gcpKms, azureKeyVault, vaultTransit and file.",
        )),
    }
}

/// For TiKV it is a key in a file.
fn unwrapped(wrapped: Wrapped) -> ParsedKey {
    let path = wrapped.file().to_owned();
    ParsedKey {
        wrapped: Some(wrapped),
        ..ParsedKey::new(MasterKeyConfig::File { path })
    }
}

fn aws(kms: &AwsKms) -> ParsedKey {
    let secret = kms.credentials_secret.as_ref();
    ParsedKey {
        credentials: secret.map(|secret| secret.name.clone()),
        ..ParsedKey::new(MasterKeyConfig::AwsKms {
            key_id: kms.key_id.clone(),
            region: kms.region.clone(),
            endpoint: kms.endpoint.clone(),
        })
    }
}

fn azure(vault: &AzureKeyVault) -> ParsedKey {
    let config = MasterKeyConfig::AzureKeyVault {
        key_name: vault.key_name.clone(),
        azure: AzureConfig {
            tenant_id: vault.tenant_id.clone(),
            client_id: vault.client_id.clone(),
            keyvault_url: vault.keyvault_url.clone(),
            hsm_name: vault.hsm_name.clone(),
            hsm_url: format!("https://{}.managedhsm.azure.net/", vault.hsm_name),
            certificate_file: format!("{CREDENTIALS}/{AZURE_CERTIFICATE}"),
        },
    };
    ParsedKey {
        credentials_file: Some(SecretFile {
            secret: vault.client_certificate_secret.name.clone(),
            key: vault.client_certificate_secret.key.clone(),
            file: AZURE_CERTIFICATE,
        }),
        ..ParsedKey::new(config)
    }
}

fn google(kms: &GcpKms) -> Result<ParsedKey, Blocker> {
    if kms.endpoint.is_some() && kms.vendor == GcpVendor::Gcp {
        return Err(Blocker::new(
            "InvalidSpec",
            "encryption.masterKey.gcpKms.endpoint is read by TiKV's second client only",
            "Write vendor: gcp_v2, or no endpoint.",
        ));
    }
    let file = kms.credentials_secret.as_ref().map(|secret| SecretFile {
        secret: secret.name.clone(),
        key: secret.key.clone(),
        file: GOOGLE_CREDENTIALS,
    });
    let path = file.as_ref();
    let config = MasterKeyConfig::GcpKms {
        key_id: kms.key_id.clone(),
        vendor: kms.vendor.name(),
        endpoint: kms.endpoint.clone(),
        credential_file: path.map(|file| format!("{CREDENTIALS}/{}", file.file)),
    };
    Ok(ParsedKey {
        credentials_file: file,
        ..ParsedKey::new(config)
    })
}

/// True for a DNS name, also one with a leading wildcard.
pub fn is_dns(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}
