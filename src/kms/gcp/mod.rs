//! Google Cloud KMS over its REST API, by the calls that TiKV makes (facts, encryption at rest §2.3).

mod classify;
mod credentials;
mod sign;
mod wire;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Method;
use zeroize::Zeroizing;

use self::classify::classify;
pub use self::credentials::Credentials;
use super::error::{Class, KmsError, Service};
use super::oauth::Tokens;
use super::provider::{DataKey, Kms};
use super::rest::{self, Failure, Request};
use crate::crypto::secret::SecretBytes;

const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Which of TiKV's two clients writes `key.dict`; one does not open what the other sealed (facts, encryption at rest §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// `gcp`.
    V1,
    /// `gcp_v2`.
    V2,
}

/// A key and how to get at it.
#[derive(Debug)]
pub struct Settings {
    /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
    pub key_id: String,
    /// TiKV's client.
    pub vendor: Vendor,
    /// URL of the service when it is not Google's own.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
}

/// A symmetric key in Google Cloud KMS.
#[derive(Debug)]
pub struct GcpKms {
    settings: Settings,
    tokens: Tokens,
}

impl GcpKms {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let tokens = Tokens::default();
        Self { settings, tokens }
    }

    async fn ask_description(&self) -> Result<(), Failure> {
        let key: wire::CryptoKey = self.ask(Method::GET, self.name()?, "", None).await?;
        match key.purpose.as_deref() {
            None | Some("ENCRYPT_DECRYPT") => {}
            Some(purpose) => {
                let message = format!("its purpose is {purpose}; ENCRYPT_DECRYPT is needed");
                return Err(Failure::new(Class::WrongKey, message));
            }
        }
        let state = key.primary.and_then(|version| version.state);
        let state = state.ok_or_else(|| {
            Failure::new(Class::NotFound, "it has no primary version that could wrap")
        })?;
        match classify::of_state(&state) {
            None => Ok(()),
            Some(class) => {
                let message = format!("its primary version is {state}");
                Err(Failure::new(class, message))
            }
        }
    }

    async fn ask_data_key(&self) -> Result<DataKey, Failure> {
        let name = self.name()?;
        let location = name.match_indices('/').nth(3).map(|(at, _)| &name[..at]);
        let location = location.unwrap_or(name);
        let body = wire::random_bytes();
        let random: wire::Random = self
            .ask(Method::POST, location, ":generateRandomBytes", Some(body))
            .await?;
        let plaintext = SecretBytes::new(random.data.checked(random.data_crc32c)?);
        key_length(&plaintext)?;
        let body = wire::content("plaintext", plaintext.expose());
        let answer: wire::Encrypted = self.ask(Method::POST, name, ":encrypt", Some(body)).await?;
        if !answer.verified_plaintext_crc32c {
            return Err(wire::damaged());
        }
        let wrapped = answer.ciphertext.checked(answer.ciphertext_crc32c)?;
        if wrapped.is_empty() {
            return Err(Failure::new(
                Class::Malformed,
                "it wrapped a data key into nothing",
            ));
        }
        Ok(DataKey { plaintext, wrapped })
    }

    async fn ask_plaintext(&self, wrapped: &[u8]) -> Result<SecretBytes, Failure> {
        let body = wire::content("ciphertext", wrapped);
        let answer: wire::Decrypted = self
            .ask(Method::POST, self.name()?, ":decrypt", Some(body))
            .await?;
        let key = SecretBytes::new(answer.plaintext.checked(answer.plaintext_crc32c)?);
        key_length(&key)?;
        Ok(key)
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        object: &str,
        verb: &str,
        body: Option<Zeroizing<String>>,
    ) -> Result<T, Failure> {
        let endpoint = self.settings.endpoint.as_deref().unwrap_or(ENDPOINT);
        let url = format!("{}/v1/{object}{verb}", endpoint.trim_end_matches('/'));
        let token = self
            .tokens
            .get("", self.settings.credentials.token())
            .await?;
        let body = body
            .as_ref()
            .map(|text| ("application/json", text.as_bytes()));
        let request = Request {
            method,
            body,
            ..Request::get(&url)
        };
        let answer = rest::send(request.bearer(&token)).await?;
        if answer.status != 200 {
            if answer.status == 401 {
                self.tokens.forget();
            }
            return Err(classify(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            let message = format!("its answer is not what Cloud KMS says ({place})");
            Failure::new(Class::Malformed, message)
        })
    }

    /// The key without the slash that TiKV tolerates behind it.
    fn name(&self) -> Result<&str, Failure> {
        let key_id = &self.settings.key_id;
        let name = key_id.strip_suffix('/').unwrap_or(key_id);
        let parts: Vec<&str> = name.split('/').collect();
        let fixed = ["projects", "locations", "keyRings", "cryptoKeys"];
        let named = parts.len() == 8
            && parts.iter().step_by(2).eq(fixed.iter())
            && parts.iter().all(|part| !part.is_empty());
        if named && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(name);
        }
        Err(Failure::new(
            Class::Malformed,
            "it is not projects/P/locations/L/keyRings/R/cryptoKeys/K",
        ))
    }

    fn failed(&self, failure: &Failure) -> KmsError {
        KmsError {
            after: failure.after,
            ..self.error(failure.class, &failure.message)
        }
    }
}

impl Kms for GcpKms {
    fn vendor(&self) -> &'static str {
        match self.settings.vendor {
            Vendor::V1 => "gcp",
            Vendor::V2 => "gcp_v2",
        }
    }

    fn service(&self) -> Service {
        Service::Gcp
    }

    fn key(&self) -> &str {
        &self.settings.key_id
    }

    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>> {
        let answer = self.ask_description();
        answer
            .map(|done| done.map_err(|failure| self.failed(&failure)))
            .boxed()
    }

    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>> {
        let answer = self.ask_data_key();
        answer
            .map(|done| done.map_err(|failure| self.failed(&failure)))
            .boxed()
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        let answer = self.ask_plaintext(wrapped);
        answer
            .map(|done| done.map_err(|failure| self.failed(&failure)))
            .boxed()
    }
}

fn key_length(key: &SecretBytes) -> Result<(), Failure> {
    match key.expose().len() {
        32 => Ok(()),
        other => Err(Failure::new(
            Class::Malformed,
            format!("it gave a data key of {other} bytes instead of 32"),
        )),
    }
}
