//! AWS KMS, and whatever speaks its protocol.

mod classify;
mod sign;

use std::fmt;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Credentials;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyState, KeyUsageType};
use futures::FutureExt;
use futures::future::BoxFuture;

use self::classify::classify;
pub(crate) use self::classify::told;
use super::error::{Class, KmsError, Service};
use super::provider::{DataKey, Kms};
use super::rest::{self, Failure};
use crate::crypto::secret::SecretBytes;

/// As TiKV: when neither configuration nor environment nor profile names one (facts, encryption at rest §1.2).
const DEFAULT_REGION: &str = "us-east-1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One try, credentials included.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);

/// A key and where it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Key id, ARN or alias.
    pub key_id: String,
    /// Region; by default that of the environment or the profile.
    pub region: Option<String>,
    /// URL of the service when it is not AWS's own.
    pub endpoint: Option<String>,
    /// Credentials; by default the chain of the SDK: environment, web identity, profile, instance.
    pub credentials: Option<StaticCredentials>,
}

/// Long-lived credentials.
#[derive(Clone)]
pub struct StaticCredentials(Credentials);

impl StaticCredentials {
    /// From what a Secret or a configuration has.
    pub fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Self {
        let session_token = session_token.map(str::to_owned);
        let (id, secret) = (access_key_id, secret_access_key);
        Self(Credentials::new(id, secret, session_token, None, "static"))
    }
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticCredentials(..)")
    }
}

/// How a service of AWS is reached.
pub(crate) async fn sdk_config(
    region: Option<&str>,
    endpoint: Option<&str>,
    credentials: Option<&StaticCredentials>,
) -> Result<SdkConfig, Failure> {
    // Without them the SDK ends the process.
    drop(rest::system_roots()?);
    let region = region.map(|region| Region::new(region.to_owned()));
    let region = RegionProviderChain::first_try(region)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::from_static(DEFAULT_REGION));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(TRY_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .timeout_config(timeouts)
        // Whoever asks knows which failures pass by themselves.
        .retry_config(RetryConfig::disabled());
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(StaticCredentials(credentials)) = credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    Ok(loader.load().await)
}

/// A symmetric key in AWS KMS.
#[derive(Clone, Debug)]
pub struct AwsKms {
    settings: Settings,
}

impl AwsKms {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// A client of its own for each request: requests are rare, credentials and certificates may have changed in between.
    async fn client(&self) -> Result<Client, KmsError> {
        let settings = &self.settings;
        let (region, endpoint) = (settings.region.as_deref(), settings.endpoint.as_deref());
        let config = sdk_config(region, endpoint, settings.credentials.as_ref()).await;
        let config = config.map_err(|failure| self.error(failure.class, &failure.message))?;
        Ok(Client::new(&config))
    }

    async fn ask_description(&self) -> Result<(), KmsError> {
        let request = self.client().await?.describe_key();
        let answer = request.key_id(&self.settings.key_id).send().await;
        let answer = answer.map_err(|error| classify(&self.settings.key_id, &error))?;
        let key = answer
            .key_metadata
            .ok_or_else(|| self.error(Class::Malformed, "its description is empty"))?;
        match key.key_state {
            None | Some(KeyState::Enabled) => {}
            Some(KeyState::Unavailable | KeyState::Creating | KeyState::Updating) => {
                return Err(self.error(Class::Unavailable, "its key store is not connected"));
            }
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
                return Err(self.error(Class::PendingDeletion, "its state is PendingDeletion"));
            }
            Some(state) => {
                return Err(self.error(Class::Disabled, &format!("its state is {state}")));
            }
        }
        match key.key_usage {
            None | Some(KeyUsageType::EncryptDecrypt) => Ok(()),
            Some(usage) => Err(self.error(
                Class::WrongKey,
                &format!("its usage is {usage}; ENCRYPT_DECRYPT is needed"),
            )),
        }
    }

    async fn ask_data_key(&self) -> Result<DataKey, KmsError> {
        let request = self.client().await?.generate_data_key();
        let request = request
            .key_id(&self.settings.key_id)
            .key_spec(DataKeySpec::Aes256);
        let answer = request.send().await;
        let answer = answer.map_err(|error| classify(&self.settings.key_id, &error))?;
        let plaintext = self.data_key(answer.plaintext)?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner);
        let wrapped = wrapped.filter(|blob| !blob.is_empty());
        let wrapped = wrapped
            .ok_or_else(|| self.error(Class::Malformed, "it gave a data key without its blob"))?;
        Ok(DataKey { plaintext, wrapped })
    }

    async fn ask_plaintext(&self, wrapped: &[u8]) -> Result<SecretBytes, KmsError> {
        let request = self.client().await?.decrypt();
        let request = request
            .key_id(&self.settings.key_id)
            .ciphertext_blob(Blob::new(wrapped));
        let answer = request.send().await;
        let answer = answer.map_err(|error| classify(&self.settings.key_id, &error))?;
        self.data_key(answer.plaintext)
    }

    fn data_key(&self, blob: Option<Blob>) -> Result<SecretBytes, KmsError> {
        let key = SecretBytes::new(blob.map(Blob::into_inner).unwrap_or_default());
        match key.expose().len() {
            32 => Ok(key),
            other => Err(self.error(
                Class::Malformed,
                &format!("it gave a data key of {other} bytes instead of 32"),
            )),
        }
    }
}

impl Kms for AwsKms {
    fn vendor(&self) -> &'static str {
        "AWS"
    }

    fn service(&self) -> Service {
        Service::Aws
    }

    fn key(&self) -> &str {
        &self.settings.key_id
    }

    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>> {
        self.ask_description().boxed()
    }

    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>> {
        self.ask_data_key().boxed()
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        self.ask_plaintext(wrapped).boxed()
    }
}

#[cfg(test)]
mod tests;
