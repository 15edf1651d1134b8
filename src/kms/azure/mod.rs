//! Azure Key Vault and managed HSMs over their REST API, by the calls that TiKV makes (facts, encryption at rest §2.3):
//! random bytes from a managed HSM, wrapped by RSA-OAEP-256 with the current version of a key.

mod classify;
mod credentials;
mod sign;
mod wire;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Method, Uri};
use serde_json::Value;
use zeroize::Zeroizing;

use self::classify::classify;
pub use self::credentials::{AUTHORITY, Credential};
use super::error::{Class, KmsError, Service};
use super::oauth::{Tokens, now};
use super::provider::{DataKey, Kms};
use super::rest::{self, Answer, Failure, Request};
use crate::crypto::secret::SecretBytes;

/// A key, the HSM beside it, and how to get at both.
#[derive(Debug)]
pub struct Settings {
    /// Name of the key; its current version is used.
    pub key_name: String,
    /// URL of the vault, or of the managed HSM, that has it.
    pub vault_url: String,
    /// URL of the managed HSM that makes random bytes: [`hsm_url`] of its name.
    pub hsm_url: String,
    /// Directory (tenant) of the identity.
    pub tenant_id: String,
    /// The identity.
    pub client_id: String,
    /// How it shows who it is.
    pub credential: Credential,
    /// Who gives tokens: [`AUTHORITY`].
    pub authority: String,
}

/// Where TiKV looks for a managed HSM, by its name.
pub fn hsm_url(name: &str) -> String {
    format!("https://{name}.managedhsm.azure.net/")
}

/// An RSA key in Azure.
#[derive(Debug)]
pub struct AzureKeyVault {
    settings: Settings,
    tokens: Tokens,
}

impl AzureKeyVault {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let tokens = Tokens::default();
        Self { settings, tokens }
    }

    async fn ask_description(&self) -> Result<(), Failure> {
        let vault = &self.settings.vault_url;
        let path = format!("keys/{}", self.settings.key_name);
        let answer = self.ask(Method::GET, vault, &path, None).await?;
        if answer.status == 404 {
            return Err(self.lost(classify(&answer, false)).await);
        }
        let bundle: wire::KeyBundle = wire::read(&answer)?;
        bundle.usable(now())
    }

    /// A deleted key can be got back for a while: that is another failure than a name that was never there.
    async fn lost(&self, missing: Failure) -> Failure {
        if missing.class != Class::NotFound {
            return missing;
        }
        let vault = &self.settings.vault_url;
        let path = format!("deletedkeys/{}", self.settings.key_name);
        match self.ask(Method::GET, vault, &path, None).await {
            Ok(answer) if answer.status == 200 => {
                let message = "it was deleted and can still be recovered";
                Failure::new(Class::PendingDeletion, message)
            }
            _ => missing,
        }
    }

    async fn ask_data_key(&self) -> Result<DataKey, Failure> {
        let body = br#"{"count":32}"#;
        let hsm = &self.settings.hsm_url;
        let answer = self.ask(Method::POST, hsm, "rng", Some(body)).await?;
        let random: wire::Operation = wire::read(&answer)?;
        let plaintext = key_of(random.value.into_bytes())?;
        let wrapped = self.operate("encrypt", plaintext.expose()).await?;
        let wrapped = wrapped.into_bytes();
        if wrapped.is_empty() {
            let message = "it wrapped a data key into nothing";
            return Err(Failure::new(Class::Malformed, message));
        }
        Ok(DataKey { plaintext, wrapped })
    }

    async fn ask_plaintext(&self, wrapped: &[u8]) -> Result<SecretBytes, Failure> {
        key_of(self.operate("decrypt", wrapped).await?.into_bytes())
    }

    async fn operate(&self, operation: &str, content: &[u8]) -> Result<wire::Content, Failure> {
        // No version between the slashes: the current one, as TiKV asks for it.
        let path = format!("keys/{}//{operation}", self.settings.key_name);
        let vault = &self.settings.vault_url;
        let body = wire::operation(content);
        let answer = self
            .ask(Method::POST, vault, &path, Some(body.as_bytes()))
            .await?;
        if answer.status == 404 {
            return Err(self.lost(classify(&answer, false)).await);
        }
        if answer.status != 200 {
            return Err(classify(&answer, operation == "decrypt"));
        }
        let done: wire::Operation = wire::read(&answer)?;
        Ok(done.value)
    }

    async fn ask(
        &self,
        method: Method,
        server: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        let name = &self.settings.key_name;
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            let message = "the name of a key has letters, digits and hyphens only";
            return Err(Failure::new(Class::Malformed, message));
        }
        let scope = scope(server)?;
        let settings = &self.settings;
        let new = credentials::token(settings, &scope);
        let token: Zeroizing<String> = self.tokens.get(&scope, new).await?;
        let url = format!("{}/{path}?api-version=7.4", server.trim_end_matches('/'));
        let request = Request {
            method,
            body: body.map(|body| ("application/json", body)),
            ..Request::get(&url)
        };
        let answer = rest::send(request.bearer(&token)).await?;
        match answer.status {
            // Each caller knows what these mean.
            200 | 404 => Ok(answer),
            400 if path.ends_with("crypt") => Ok(answer),
            status => {
                if status == 401 {
                    self.tokens.forget();
                }
                Err(classify(&answer, false))
            }
        }
    }

    fn failed(&self, failure: &Failure) -> KmsError {
        KmsError {
            after: failure.after,
            ..self.error(failure.class, &failure.message)
        }
    }
}

impl Kms for AzureKeyVault {
    fn vendor(&self) -> &'static str {
        "azure"
    }

    fn service(&self) -> Service {
        Service::Azure
    }

    fn key(&self) -> &str {
        &self.settings.key_name
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

/// What a token for this server is for: its host without the first label, as TiKV derives it.
fn scope(server: &str) -> Result<String, Failure> {
    let malformed = || Failure::new(Class::Malformed, format!("{server:?} is no URL of a vault"));
    let uri: Uri = server.parse().map_err(|_| malformed())?;
    let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or_else(malformed)?;
    let (_, service) = host.split_once('.').ok_or_else(malformed)?;
    Ok(format!("{scheme}://{service}/.default"))
}

fn key_of(bytes: Vec<u8>) -> Result<SecretBytes, Failure> {
    let key = SecretBytes::new(bytes);
    match key.expose().len() {
        32 => Ok(key),
        other => Err(Failure::new(
            Class::Malformed,
            format!("it gave a data key of {other} bytes instead of 32"),
        )),
    }
}

/// A number in JSON that may be absent.
fn seconds(attributes: &Value, name: &str) -> Option<u64> {
    attributes[name].as_u64()
}

#[cfg(test)]
mod tests {
    use super::scope;

    #[test]
    fn a_token_is_for_the_service_and_not_for_the_vault() {
        let of = |url| scope(url).unwrap();
        assert_eq!(
            of("https://mine.vault.azure.net"),
            "https://vault.azure.net/.default"
        );
        assert_eq!(
            of("https://mine.vault.azure.net/"),
            "https://vault.azure.net/.default"
        );
        assert_eq!(
            of("https://mine.managedhsm.azure.net:443/"),
            "https://managedhsm.azure.net/.default"
        );
        assert!(scope("mine.vault.azure.net").is_err());
        assert!(scope("https://localhost").is_err());
    }
}
