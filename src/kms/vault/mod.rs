//! The transit engine of HashiCorp Vault, or of OpenBao, over its HTTP API. TiKV does not know it: a key that it
//! wraps becomes TiKV's `file` key in memory (facts, encryption at rest §1.2).

mod auth;
mod classify;
mod client;
mod wire;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Method;

pub use self::auth::{Auth, Source};
use self::classify::{Asking, classify};
pub use self::client::{Connection, VaultClient};
use super::error::{Class, KmsError, Service};
use super::provider::{DataKey, Kms};
use super::rest::{Answer, Failure};
use crate::crypto::secret::SecretBytes;

/// A key and how to get at it.
#[derive(Debug)]
pub struct Settings {
    /// URL of the server: `https://vault.example.com:8200`.
    pub address: String,
    /// Certificates of the authorities that are trusted, in PEM; those of the system without it.
    pub ca: Option<Source>,
    /// Namespace, where the server has some.
    pub namespace: Option<String>,
    /// Path at which the transit engine is mounted.
    pub mount: String,
    /// Name of the key.
    pub key: String,
    /// Who asks.
    pub auth: Auth,
}

/// A key of a transit engine.
#[derive(Debug)]
pub struct VaultTransit {
    client: VaultClient,
    mount: String,
    of_mount: String,
    /// `MOUNT/KEY`.
    name: String,
}

impl VaultTransit {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            address,
            ca,
            namespace,
            mount,
            key,
            auth,
        } = settings;
        let mount = mount.trim_matches('/').to_owned();
        Self {
            name: format!("{mount}/{key}"),
            client: VaultClient::new(Connection {
                address,
                ca,
                namespace,
                auth,
            }),
            mount,
            of_mount: key,
        }
    }

    async fn ask_description(&self) -> Result<(), Failure> {
        self.client.keep_token().await;
        let answer = self.ask(Method::GET, "keys", None, Asking::Description);
        let wire::Data { data } = wire::read::<wire::Data<wire::Key>>(&answer.await?)?;
        data.usable()
    }

    async fn ask_data_key(&self) -> Result<DataKey, Failure> {
        let body = br#"{"bits":256}"#;
        let answer = self.ask(
            Method::POST,
            "datakey/plaintext",
            Some(body),
            Asking::DataKey,
        );
        let wire::Data { data } = wire::read::<wire::Data<wire::Made>>(&answer.await?)?;
        if !wire::is_wrapped(data.ciphertext.as_bytes()) {
            let message = "it wrapped a data key into something that is none of its ciphertexts";
            return Err(Failure::new(Class::Malformed, message));
        }
        Ok(DataKey {
            plaintext: key_of(data.plaintext)?,
            wrapped: data.ciphertext.into_bytes(),
        })
    }

    async fn ask_plaintext(&self, wrapped: &[u8]) -> Result<SecretBytes, Failure> {
        if !wire::is_wrapped(wrapped) {
            let message = "what is to be unwrapped is no ciphertext of a transit engine";
            return Err(Failure::new(Class::WrongKey, message));
        }
        let body = wire::ciphertext(wrapped);
        let answer = self.ask(
            Method::POST,
            "decrypt",
            Some(body.as_bytes()),
            Asking::Unwrapping,
        );
        let wire::Data { data } = wire::read::<wire::Data<wire::Plain>>(&answer.await?)?;
        key_of(data.plaintext)
    }

    /// One operation of the engine on the key.
    async fn ask(
        &self,
        method: Method,
        operation: &str,
        body: Option<&[u8]>,
        asking: Asking,
    ) -> Result<Answer, Failure> {
        self.check()?;
        let path = format!("{}/{operation}/{}", self.mount, self.of_mount);
        let answer = self.client.ask(method, &path, body).await?;
        match answer.status {
            200 => Ok(answer),
            _ => Err(classify(&answer, asking)),
        }
    }

    /// Names become part of a path: nothing else must get into it.
    fn check(&self) -> Result<(), Failure> {
        let plain = |text: &str, also: &[u8]| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
        };
        let good = !self.of_mount.is_empty()
            && plain(&self.of_mount, b"-_.")
            && !self.mount.is_empty()
            && plain(&self.mount, b"-_./")
            && !self
                .name
                .split('/')
                .any(|part| matches!(part, "" | "." | ".."));
        if good {
            return Ok(());
        }
        let message = "the name of a key has letters, digits, '-', '_' and '.' only, the path of its engine '/' as well";
        Err(Failure::new(Class::Malformed, message))
    }

    fn failed(&self, failure: &Failure) -> KmsError {
        KmsError {
            after: failure.after,
            ..self.error(failure.class, &failure.message)
        }
    }
}

impl Kms for VaultTransit {
    /// Never in `key.dict`: what this wraps is a `file` key for TiKV.
    fn vendor(&self) -> &'static str {
        "vault"
    }

    fn service(&self) -> Service {
        Service::Vault
    }

    fn key(&self) -> &str {
        &self.name
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

fn key_of(content: wire::Content) -> Result<SecretBytes, Failure> {
    let key = SecretBytes::new(content.into_bytes());
    match key.expose().len() {
        32 => Ok(key),
        other => Err(Failure::new(
            Class::Malformed,
            format!("it gave a key of {other} bytes instead of 32"),
        )),
    }
}
