//! A master key, parsed: what TiKV's file says of it, and what of Secrets the pods need for it. The one place of the
//! planner that knows the kinds.

use super::desired::Blocker;
use super::wrapped::{self, Wrapped};
use crate::api::v1alpha1::{
    AwsKms, AzureKeyVault, FileMasterKey, GcpKms, GcpVendor, MasterKey, MasterKeyChoice, RingKey,
};
use crate::tikv::tikv_toml::{AzureConfig, MasterKeyConfig};

/// Directory of the file master key in the first slot, where TiKV and the agent see it.
const MASTER_KEY: &str = "/var/lib/tikv-security/master-key";
/// File of the master key in that directory.
const MASTER_KEY_FILE: &str = "key";
/// Directory of a credentials file in the first slot, where TiKV and the agent see it.
const CREDENTIALS: &str = "/var/lib/tikv-security/credentials";
/// Credentials file of Google in that directory.
const GOOGLE_CREDENTIALS: &str = "google.json";
/// Client certificate for Azure in that directory.
const AZURE_CERTIFICATE: &str = "azure.pfx";
/// Volume of a credentials file in the first slot.
const VOLUME_CREDENTIALS: &str = "tikv-security-credentials";
/// Volume of the file master key in the first slot.
const VOLUME_MASTER_KEY: &str = "tikv-security-master-key";

/// Which set of paths and volumes a key has. The present key and the previous one are both in the pods, and keep their
/// places when one of them goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The paths of a cluster that never had another key.
    First,
    /// The others.
    Second,
}

/// A key, and what the pods need for it.
#[derive(Clone, Debug)]
pub struct ParsedKey {
    /// What TiKV's file says.
    pub config: MasterKeyConfig,
    /// What of Secrets the pods need.
    pub access: Access,
    /// Whether a service behind the key makes the key that seals `key.dict`.
    pub makes_envelopes: bool,
}

/// What of Secrets the pods need for one key or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Secret with AWS credentials, which become environment variables, and whether pods start without it.
    pub environment: Option<(String, bool)>,
    /// Files.
    pub files: Vec<SecretFile>,
    /// Keys that the agent unwraps.
    pub wrapped: Vec<Wrapped>,
}

/// One key of a Secret as a file in the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Name of the volume.
    pub volume: String,
    /// Directory where it is mounted.
    pub directory: String,
    /// Name of the file there.
    pub file: &'static str,
    /// The Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
    /// Whether pods start without it.
    pub dispensable: bool,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// As it is recorded.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::First,
            _ => Self::Second,
        }
    }

    /// As it is recorded.
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn name(self, stem: &str) -> String {
        match self {
            Self::First => stem.to_owned(),
            Self::Second => format!("{stem}-2"),
        }
    }
}

/// Names of all volumes that a master key can need.
pub fn volumes() -> Vec<String> {
    let stems = [VOLUME_CREDENTIALS, VOLUME_MASTER_KEY];
    Slot::ALL
        .iter()
        .flat_map(|slot| stems.map(|stem| slot.name(stem)))
        .collect()
}

impl Access {
    /// The same, but pods start without: nobody may lose a store because a key that is not needed any more was deleted.
    #[must_use]
    pub fn dispensable(mut self) -> Self {
        for file in &mut self.files {
            file.dispensable = true;
        }
        self.environment = self.environment.map(|(secret, _)| (secret, true));
        self.wrapped = self.wrapped.into_iter().map(Wrapped::dispensable).collect();
        self
    }

    /// Adds what another key needs.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.wrapped.extend(other.wrapped);
        if self.environment.is_none() {
            self.environment = other.environment;
        }
    }
}

impl ParsedKey {
    /// The key of a ring.
    pub fn of(resource: &str, key: &RingKey) -> Result<Self, Blocker> {
        Self::parse(resource, &key.key, Slot::of(key.slot))
    }

    /// Repeats what admission checks.
    pub fn parse(resource: &str, key: &MasterKey, slot: Slot) -> Result<Self, Blocker> {
        let Some(choice) = key.choice() else {
            return Err(Blocker::new(
                "InvalidSpec",
                "encryption.masterKey does not name exactly one master key",
                "Write one of awsKms, gcpKms, azureKeyVault, vaultTransit, pkcs11 and file.",
            ));
        };
        let (config, access) = match choice {
            MasterKeyChoice::AwsKms(kms) => aws(kms),
            MasterKeyChoice::GcpKms(kms) => google(kms, slot)?,
            MasterKeyChoice::AzureKeyVault(vault) => azure(vault, slot),
            MasterKeyChoice::VaultTransit(vault) => unwrapped(wrapped::vault(resource, vault)?),
            MasterKeyChoice::Pkcs11(key) => unwrapped(wrapped::pkcs11(resource, key)),
            MasterKeyChoice::File(file) => in_file(file, slot),
        };
        Ok(Self {
            config,
            access,
            makes_envelopes: choice.makes_envelopes(),
        })
    }

    /// Whether TiKV and the agent can reach both keys at the same time.
    pub fn beside(&self, other: &Self) -> Result<(), Blocker> {
        let configuration = |key: &Self| {
            let mut all = key.access.wrapped.iter();
            all.find_map(|wrapped| wrapped.configuration().map(str::to_owned))
        };
        if let (Some(ours), Some(theirs)) = (configuration(self), configuration(other))
            && ours != theirs
        {
            return Err(Blocker::new(
                "MasterKeysNeedDifferentConfigurations",
                format!(
                    "libraries of HSM vendors have one directory for their configuration; the new master key has it in Secret {ours}, the present one in Secret {theirs}"
                ),
                "First put the files of both into one Secret, and name it in configSecret of the present key; change the key when that is rolled out.",
            ));
        }
        let aws = |key: &Self| matches!(key.config, MasterKeyConfig::AwsKms { .. });
        let secret = |key: &Self| {
            key.access
                .environment
                .as_ref()
                .map(|(name, _)| name.clone())
        };
        let (ours, theirs) = (secret(self), secret(other));
        if !aws(self) || !aws(other) || ours == theirs {
            return Ok(());
        }
        let named = |secret: Option<String>| {
            secret.map_or("the pods' own identity".to_owned(), |name| {
                format!("the credentials in Secret {name}")
            })
        };
        Err(Blocker::new(
            "MasterKeysNeedDifferentCredentials",
            format!(
                "TiKV takes AWS credentials from its environment, which has room for one identity; the new master key is reached with {}, the present one with {}",
                named(ours),
                named(theirs)
            ),
            "First let one identity use both keys, and name it in credentialsSecret of the present key (or no Secret, for the pods' own identity); change the keyId when that is rolled out.",
        ))
    }
}

fn aws(kms: &AwsKms) -> (MasterKeyConfig, Access) {
    let secret = kms.credentials_secret.as_ref();
    let config = MasterKeyConfig::AwsKms {
        key_id: kms.key_id.clone(),
        region: kms.region.clone(),
        endpoint: kms.endpoint.clone(),
    };
    let access = Access {
        environment: secret.map(|secret| (secret.name.clone(), false)),
        ..Access::default()
    };
    (config, access)
}

fn azure(vault: &AzureKeyVault, slot: Slot) -> (MasterKeyConfig, Access) {
    let reference = &vault.client_certificate_secret;
    let file = credentials(&reference.name, &reference.key, AZURE_CERTIFICATE, slot);
    let config = MasterKeyConfig::AzureKeyVault {
        key_name: vault.key_name.clone(),
        azure: AzureConfig {
            tenant_id: vault.tenant_id.clone(),
            client_id: vault.client_id.clone(),
            keyvault_url: vault.keyvault_url.clone(),
            hsm_name: vault.hsm_name.clone(),
            hsm_url: format!("https://{}.managedhsm.azure.net/", vault.hsm_name),
            certificate_file: file.path(),
        },
    };
    (config, Access::file(file))
}

fn google(kms: &GcpKms, slot: Slot) -> Result<(MasterKeyConfig, Access), Blocker> {
    if kms.endpoint.is_some() && kms.vendor == GcpVendor::Gcp {
        return Err(Blocker::new(
            "InvalidSpec",
            "encryption.masterKey.gcpKms.endpoint is read by TiKV's second client only",
            "Write vendor: gcp_v2, or no endpoint.",
        ));
    }
    let secret = kms.credentials_secret.as_ref();
    let file =
        secret.map(|secret| credentials(&secret.name, &secret.key, GOOGLE_CREDENTIALS, slot));
    let config = MasterKeyConfig::GcpKms {
        key_id: kms.key_id.clone(),
        vendor: kms.vendor.name(),
        endpoint: kms.endpoint.clone(),
        credential_file: file.as_ref().map(SecretFile::path),
    };
    Ok((config, file.map(Access::file).unwrap_or_default()))
}

/// For TiKV it is a key in a file.
fn unwrapped(wrapped: Wrapped) -> (MasterKeyConfig, Access) {
    let path = wrapped.file().to_owned();
    let access = Access {
        wrapped: vec![wrapped],
        ..Access::default()
    };
    (MasterKeyConfig::File { path }, access)
}

fn in_file(key: &FileMasterKey, slot: Slot) -> (MasterKeyConfig, Access) {
    let file = SecretFile {
        volume: slot.name(VOLUME_MASTER_KEY),
        directory: slot.name(MASTER_KEY),
        file: MASTER_KEY_FILE,
        secret: key.secret.name.clone(),
        key: key.secret.key.clone(),
        dispensable: false,
    };
    (
        MasterKeyConfig::File { path: file.path() },
        Access::file(file),
    )
}

fn credentials(secret: &str, key: &str, file: &'static str, slot: Slot) -> SecretFile {
    SecretFile {
        volume: slot.name(VOLUME_CREDENTIALS),
        directory: slot.name(CREDENTIALS),
        file,
        secret: secret.to_owned(),
        key: key.to_owned(),
        dispensable: false,
    }
}

impl Access {
    fn file(file: SecretFile) -> Self {
        Self {
            environment: None,
            files: vec![file],
            wrapped: Vec::new(),
        }
    }
}

impl SecretFile {
    fn path(&self) -> String {
        format!("{}/{}", self.directory, self.file)
    }
}
