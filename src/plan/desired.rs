//! The specification, parsed: what is left to decide knows no invalid case.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU64};

use jiff::SignedDuration;

use super::clock::{self, Clock};
use super::compaction;
use super::master_key::{Access, ParsedKey, Slot};
use super::names::Part;
use super::observed::Observed;
use crate::api::desired::{RunLimits, Verification};
use crate::api::method::Method;
use crate::api::v1alpha1::{
    CaRotationPolicy, Environment, GoDuration, Issuer, IssuerChoice, KeyAlgorithm, KeyRing,
    MasterKeyKind, ReencryptionLimits, ReencryptionPolicy, SelfSigned, Subject,
};
use crate::tikv::tikv_toml::EncryptionConfig;

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

/// What to do about a subject that is none.
pub const SUBJECT: &str = "Write country as two capital letters, and everything else as 1 to 64 characters without line breaks and without spaces around it.";

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Whether the cluster speaks TLS.
    pub tls: bool,
    /// Who signs.
    pub issuer: Issuer,
    /// Kind of the keys of leaves.
    pub key_algorithm: KeyAlgorithm,
    /// Validity of the CA, where it is made here.
    pub ca_duration: SignedDuration,
    /// How long both CAs are trusted before each step of a rotation that clients outside must be ready for.
    pub ca_overlap: SignedDuration,
    /// How long before its end the CA is rotated by itself; half of its validity at most.
    pub ca_renew_before: SignedDuration,
    /// Validity of leaves.
    pub leaf_duration: SignedDuration,
    /// How long before their end they are renewed.
    pub renew_before: SignedDuration,
    /// What certificates say of their owner beside the common name.
    pub subject: Subject,
    /// More DNS names.
    pub extra_dns: BTreeSet<String>,
    /// More addresses.
    pub extra_ips: BTreeSet<IpAddr>,
    /// More DNS names of TiDB's MySQL port.
    pub mysql_dns: BTreeSet<String>,
    /// More addresses of TiDB's MySQL port.
    pub mysql_ips: BTreeSet<IpAddr>,
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
    /// What of Secrets the pods need for the master key and the previous one.
    pub access: Access,
    /// How often `key.dict` gets a new envelope by itself.
    pub envelope_period: Option<SignedDuration>,
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

/// Parses; repeats what admission checks, because rules can be missing there.
#[allow(
    clippy::too_many_lines,
    reason = "one field after the other, in the order of the resource"
)]
pub fn parse(observed: &Observed) -> Result<Desired, Blocker> {
    let spec = &observed.resource.spec;
    let invalid = |what: &str, next: &str| Blocker::new("InvalidSpec", what, next);
    let (mut extra_dns, mut extra_ips) = (BTreeSet::new(), BTreeSet::new());
    let tidb = spec.cluster.tidb.as_ref();
    let mysql_sans = tidb.map_or(&[][..], |tidb| &tidb.mysql_sans);
    let (mysql_dns, mysql_ips) = sans("cluster.tidb.mysqlSans", mysql_sans)?;
    let (mut leaf_duration, mut renew_before) = (
        SignedDuration::from_hours(720),
        SignedDuration::from_hours(240),
    );
    let (mut issuer, mut ca) = (Issuer::own(), CaRotationPolicy::default());
    let mut ca_duration = SelfSigned::default().ca_duration.get();
    let mut key_algorithm = KeyAlgorithm::default();
    let mut subject = Subject::default();
    let (name, namespace) = (observed.name(), observed.namespace());
    let common_name = |part: Part| part.common_name(name, namespace);
    let names: Vec<String> = observed.parts().into_iter().map(common_name).collect();
    // Nobody calls TiKV as the MySQL port.
    let mysql = common_name(Part::TidbServer);
    let callers = names.iter().filter(|name| **name != mysql);
    let mut allowed_names: Vec<String> = callers.cloned().collect();
    if let Some(long) = names.iter().find(|name| name.len() > 64) {
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
        ca = tls.ca.clone();
        key_algorithm = tls.key_algorithm;
        subject = tls.subject.clone().unwrap_or_default();
        subject
            .check()
            .map_err(|what| invalid(&format!("tls.{what}"), SUBJECT))?;
        issuer = tls.issuer.clone();
        let choice = tls.issuer.choice().ok_or_else(|| {
            invalid(
                "tls.issuer does not name exactly one issuer",
                "Write one of selfSigned, caSecret, vault, certManager, acme, kms and pkcs11; issuer: {selfSigned: {}} needs nothing else.",
            )
        })?;
        if let IssuerChoice::Vault(vault) = choice
            && vault.auth.token.is_some()
            && spec.environment == Environment::Production
        {
            return Err(Blocker::new(
                "ForbiddenInProduction",
                "production forbids to log in to Vault by a token in tls.issuer.vault, because whoever has it needs nothing else",
                "Write auth.kubernetes or auth.appRole, or environment: staging.",
            ));
        }
        if let Some(duration) = choice.ca_duration() {
            ca_duration = duration.get();
        }
        if renew_before >= leaf_duration {
            return Err(invalid(
                "tls.renewBefore is not shorter than tls.duration",
                "With duration 720h write renewBefore 240h.",
            ));
        }
        if ca_duration < leaf_duration.saturating_add(renew_before) {
            return Err(invalid(
                "caDuration of tls.issuer is shorter than tls.duration and tls.renewBefore together, so certificates would end with their CA",
                "Write caDuration 87600h, or shorter certificates.",
            ));
        }
        (extra_dns, extra_ips) = sans("tls.extraSans", &tls.extra_sans)?;
        let revoked = super::revocation::known(observed).unwrap_or_default();
        let withdrawn = super::revocation::withdrawn(&observed.resource, &revoked);
        let admitted = tls.allowed_names.iter();
        allowed_names.extend(admitted.filter(|one| !withdrawn.contains(*one)).cloned());
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
            let key = ParsedKey::parse(name, &wanted.master_key, Slot::First)?;
            let kind = wanted.master_key.choice().map(|choice| choice.kind());
            if production && kind == Some(MasterKeyKind::File) {
                return Err(Blocker::new(
                    "ForbiddenInProduction",
                    "production forbids the file master key, because it is stored in the cluster",
                    "Write masterKey.awsKms, gcpKms, azureKeyVault, vaultTransit or pkcs11, or environment: staging.",
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
            let envelope_period = wanted.master_key_rotation_period.map(GoDuration::get);
            if envelope_period.is_some() && !key.makes_envelopes {
                return Err(invalid(
                    "encryption.masterKeyRotationPeriod asks for new keys of a KMS's making, and the master key is in no KMS",
                    "Leave masterKeyRotationPeriod out; name another master key in encryption.masterKey when you want one.",
                ));
            }
            let limits = limits(&wanted.reencryption.limits)?;
            let compaction = compaction::mode(wanted, &limits)?;
            Some(EncryptionDesired {
                config: EncryptionConfig {
                    method: wanted.method,
                    rotation_period: wanted.data_key_rotation_period.to_string(),
                    master_key: key.config,
                    previous_master_key: None,
                    replaces: false,
                },
                access: key.access,
                envelope_period,
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
        issuer,
        key_algorithm,
        ca_duration,
        ca_overlap: ca.overlap.get(),
        ca_renew_before: ca.renew_before.map_or_else(
            || {
                leaf_duration
                    .saturating_add(renew_before)
                    .saturating_add(ca.overlap.get().saturating_mul(2))
            },
            GoDuration::get,
        ),
        leaf_duration,
        renew_before,
        subject,
        extra_dns,
        extra_ips,
        mysql_dns,
        mysql_ips,
        allowed_names,
        encryption,
    })
}

/// Names and addresses of a field.
fn sans(field: &str, all: &[String]) -> Result<(BTreeSet<String>, BTreeSet<IpAddr>), Blocker> {
    let (mut dns, mut ips) = (BTreeSet::new(), BTreeSet::new());
    for san in all {
        match san.parse::<IpAddr>() {
            Ok(ip) => drop(ips.insert(ip)),
            Err(_) if is_dns(san) => drop(dns.insert(san.clone())),
            Err(_) => {
                return Err(Blocker::new(
                    "InvalidSpec",
                    format!("{field} has {san:?}, which is neither a DNS name nor an IP address"),
                    "Write names without scheme and port.",
                ));
            }
        }
    }
    Ok((dns, ips))
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

impl Desired {
    /// As wanted, with the master keys of the ring. `replaces`: whether the ring was recorded, so that another key in the
    /// file that a person wrote says nothing of the stores.
    pub fn under(&self, resource: &str, ring: &KeyRing, replaces: bool) -> Result<Self, Blocker> {
        let mut desired = self.clone();
        if let Some(encryption) = &mut desired.encryption {
            let key = ParsedKey::of(resource, &ring.in_force)?;
            let mut access = key.access;
            encryption.config.master_key = key.config;
            encryption.config.previous_master_key = None;
            encryption.config.replaces = replaces;
            if let Some(previous) = &ring.previous {
                let previous = ParsedKey::of(resource, previous)?;
                access.join(previous.access.dispensable());
                encryption.config.previous_master_key = Some(previous.config);
            }
            encryption.access = access;
        }
        Ok(desired)
    }
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
