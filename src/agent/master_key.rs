//! From TiKV's configuration to a master key that opens this store.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::dictionaries::Sealer;
use super::error::StoreError;
use crate::crypto::secret::SecretBytes;
use crate::format::envelope;
use crate::format::pb::EncryptedContent;
use crate::fs::{self, Fs};
use crate::kms::aws::{AwsKms, Settings, StaticCredentials};
use crate::kms::azure::{self, AzureKeyVault};
use crate::kms::gcp::{self, GcpKms};
use crate::kms::{MasterKey, MasterKeyError};
use crate::tikv::encryption_config::{self, AzureCredential, MasterKeyConfig};

/// Makes a master key when it is first needed: a store that is not encrypted needs none.
pub type Make = Box<dyn Fn() -> Result<Option<MasterKey>, StoreError> + Send + Sync>;

/// The master key of a store, and the one before it. What is sealed is sealed under the present one; what the present one
/// does not open is tried with the previous one, as TiKV does (facts, encryption at rest §2.5).
pub struct StoreKeys {
    current: Lazy,
    previous: Lazy,
    /// What only the previous key opened.
    under_previous: Mutex<Option<EncryptedContent>>,
    /// What was opened last, for those who look again and again.
    remembered: Option<Mutex<Option<(EncryptedContent, SecretBytes)>>>,
}

struct Lazy {
    make: Make,
    made: OnceLock<Option<MasterKey>>,
}

impl StoreKeys {
    /// Both keys, made when they are needed.
    pub fn new(current: Make, previous: Make) -> Self {
        Self {
            current: Lazy::new(current),
            previous: Lazy::new(previous),
            under_previous: Mutex::new(None),
            remembered: None,
        }
    }

    /// Opens the same content once only.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.remembered = Some(Mutex::new(None));
        self
    }

    /// The key under which everything is sealed from now on.
    pub fn current(&self) -> Result<&MasterKey, StoreError> {
        self.current.get()?.ok_or(StoreError::NoMasterKey)
    }

    fn open_anew(&self, content: &EncryptedContent) -> Result<SecretBytes, StoreError> {
        let first = self
            .current()
            .and_then(|key| Ok(MasterKey::open(key, content)?));
        let error = match first {
            Ok(opened) => {
                *self.under_previous() = None;
                return Ok(opened);
            }
            Err(error) => error,
        };
        // No previous key, or one that does not open it either: the failure of the present key is what counts.
        let Ok(Some(previous)) = self.previous.get() else {
            return Err(error);
        };
        let Ok(opened) = MasterKey::open(previous, content) else {
            return Err(error);
        };
        *self.under_previous() = Some(content.clone());
        Ok(opened)
    }

    fn recall(&self, content: &EncryptedContent) -> Option<SecretBytes> {
        let remembered = self.remembered.as_ref()?.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        let (known, opened) = remembered.as_ref()?;
        (known == content).then(|| opened.duplicate())
    }

    fn under_previous(&self) -> std::sync::MutexGuard<'_, Option<EncryptedContent>> {
        self.under_previous
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lazy {
    fn new(make: Make) -> Self {
        Self {
            make,
            made: OnceLock::new(),
        }
    }

    fn get(&self) -> Result<Option<&MasterKey>, StoreError> {
        if let Some(made) = self.made.get() {
            return Ok(made.as_ref());
        }
        let made = (self.make)()?;
        Ok(self.made.get_or_init(|| made).as_ref())
    }
}

impl Sealer for StoreKeys {
    fn open(&self, content: &EncryptedContent) -> Result<SecretBytes, StoreError> {
        if let Some(opened) = self.recall(content) {
            return Ok(opened);
        }
        let opened = self.open_anew(content)?;
        if let Some(remembered) = &self.remembered {
            let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
            *remembered = Some((content.clone(), opened.duplicate()));
        }
        Ok(opened)
    }

    fn seal(
        &self,
        plaintext: &SecretBytes,
        previous: Option<&EncryptedContent>,
    ) -> Result<EncryptedContent, StoreError> {
        // The KMS-made key of an envelope under the previous master key is not one of the present master key.
        let foreign = self.under_previous().as_ref() == previous;
        let again = previous.filter(|_| !foreign);
        Ok(MasterKey::seal(self.current()?, plaintext, again)?)
    }

    fn prove(&self) -> Result<(), StoreError> {
        Ok(MasterKey::prove(self.current()?)?)
    }

    fn is_secure(&self) -> bool {
        self.current().is_ok_and(MasterKey::is_secure)
    }

    fn is_under_previous(&self) -> bool {
        self.under_previous().is_some()
    }
}

/// The keys that TiKV's configuration names.
pub fn configured(config: &str) -> StoreKeys {
    let [current, previous] = configured_keys(config);
    StoreKeys::new(current, previous)
}

/// Asks whether these keys open `key.dict` in `dir` now; false when it is not there, so that there is nothing to open.
pub fn opens(fs: &dyn Fs, keys: &StoreKeys, dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join("key.dict");
    let Some(bytes) = fs::read(fs, &path).map_err(StoreError::io("reading", &path))? else {
        return Ok(false);
    };
    let sealed = envelope::parse_encrypted(&bytes).map_err(StoreError::KeyDictEnvelope)?;
    keys.open_anew(&sealed).map(|_| true)
}

/// The present and the previous key that TiKV's configuration names; there is no previous one where it is plaintext,
/// TiKV's default.
pub fn configured_keys(config: &str) -> [Make; 2] {
    let parse = |config: &str| {
        encryption_config::parse(config).map_err(|error| StoreError::Config(error.to_string()))
    };
    let (first, second) = (config.to_owned(), config.to_owned());
    [
        Box::new(move || Ok(Some(build(&parse(&first)?.master_key)?))),
        Box::new(move || match parse(&second)?.previous_master_key {
            MasterKeyConfig::Plaintext => Ok(None),
            key => Ok(Some(build(&key)?)),
        }),
    ]
}

/// The master key that TiKV itself would use. A file is read now; a KMS is asked later.
pub fn build(config: &MasterKeyConfig) -> Result<MasterKey, MasterKeyError> {
    match config {
        MasterKeyConfig::Plaintext => Ok(MasterKey::Plaintext),
        MasterKeyConfig::File { path } => MasterKey::from_file(path),
        MasterKeyConfig::AwsKms {
            key_id,
            region,
            endpoint,
            credentials,
        } => Ok(MasterKey::from_kms(AwsKms::new(Settings {
            key_id: key_id.clone(),
            region: region.clone(),
            endpoint: endpoint.clone(),
            credentials: credentials.as_ref().map(|found| {
                StaticCredentials::new(&found.access_key, &found.secret_access_key, None)
            }),
        }))),
        MasterKeyConfig::GcpKms {
            key_id,
            v2,
            endpoint,
            credential_file,
        } => Ok(MasterKey::from_kms(GcpKms::new(gcp::Settings {
            key_id: key_id.clone(),
            vendor: if *v2 {
                gcp::Vendor::V2
            } else {
                gcp::Vendor::V1
            },
            endpoint: endpoint.clone(),
            credentials: credential_file
                .clone()
                .map_or(gcp::Credentials::Default, gcp::Credentials::File),
        }))),
        MasterKeyConfig::AzureKeyVault {
            key_name,
            keyvault_url,
            hsm_name,
            tenant_id,
            client_id,
            credential,
        } => Ok(MasterKey::from_kms(AzureKeyVault::new(azure::Settings {
            key_name: key_name.clone(),
            vault_url: keyvault_url.clone(),
            hsm_url: azure::hsm_url(hsm_name),
            tenant_id: tenant_id.clone(),
            client_id: client_id.clone(),
            credential: azure_credential(credential),
            authority: azure::AUTHORITY.to_owned(),
        }))),
    }
}

fn azure_credential(credential: &AzureCredential) -> azure::Credential {
    match credential.clone() {
        AzureCredential::CertificateFile { path, password } => {
            azure::Credential::CertificateFile { path, password }
        }
        AzureCredential::Certificate { content, password } => {
            azure::Credential::certificate_in_base64(&content, password)
        }
        AzureCredential::Secret(secret) => azure::Credential::Secret(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::{Make, StoreKeys};
    use crate::agent::dictionaries::Sealer;
    use crate::crypto::secret::SecretBytes;
    use crate::kms::MasterKey;

    fn file(byte: u8) -> Make {
        Box::new(move || Ok(Some(MasterKey::File(SecretBytes::new(vec![byte; 32])))))
    }

    fn none() -> Make {
        Box::new(|| Ok(None))
    }

    #[test]
    fn what_is_under_the_previous_key_is_opened_and_sealed_under_the_present_one() {
        let plain = SecretBytes::new(b"keys".to_vec());
        let old = StoreKeys::new(file(1), none());
        let sealed = old.seal(&plain, None).unwrap();
        let new = StoreKeys::new(file(2), none());
        assert_eq!(new.open(&sealed).unwrap_err().code(), "MasterKeyWrong");
        let both = StoreKeys::new(file(2), file(1));
        assert_eq!(both.open(&sealed).unwrap().expose(), plain.expose());
        assert!(both.is_under_previous());
        let again = both.seal(&plain, Some(&sealed)).unwrap();
        assert_eq!(new.open(&again).unwrap().expose(), plain.expose());
        assert!(both.open(&again).is_ok() && !both.is_under_previous());
    }

    #[test]
    fn the_failure_of_the_present_key_is_told_when_neither_opens_it() {
        let sealed = StoreKeys::new(file(1), none())
            .seal(&SecretBytes::new(vec![0]), None)
            .unwrap();
        let both = StoreKeys::new(file(2), file(3));
        assert_eq!(both.open(&sealed).unwrap_err().code(), "MasterKeyWrong");
        let missing = StoreKeys::new(none(), none());
        assert_eq!(
            missing.open(&sealed).unwrap_err().code(),
            "MasterKeyMissing"
        );
    }
}
