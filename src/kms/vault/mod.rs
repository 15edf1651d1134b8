//! The transit engine of HashiCorp Vault, or of OpenBao, over its HTTP API. TiKV does not know it: a key that it
//! wraps becomes TiKV's `file` key in memory (facts, encryption at rest §1.2).

mod auth;
mod classify;
mod wire;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Method;

pub use self::auth::{Auth, Source};
use self::classify::{Asking, classify};
use super::error::{Class, KmsError, Service};
use super::oauth::Tokens;
use super::provider::{DataKey, Kms};
use super::rest::{self, Answer, Failure, Request};
use crate::crypto::secret::SecretBytes;

/// Tokens are for one thing only.
const TOKEN: &str = "";

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
    settings: Settings,
    /// `MOUNT/KEY`.
    name: String,
    tokens: Tokens,
}

impl VaultTransit {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let mount = settings.mount.trim_matches('/');
        Self {
            name: format!("{mount}/{}", settings.key),
            settings,
            tokens: Tokens::default(),
        }
    }

    async fn ask_description(&self) -> Result<(), Failure> {
        if let Auth::Token(_) = self.settings.auth {
            self.keep_token().await;
        }
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

    /// One operation of the engine on the key. A token that is not taken any more (revoked, or of a server that was
    /// restored) is asked for anew, once.
    async fn ask(
        &self,
        method: Method,
        operation: &str,
        body: Option<&[u8]>,
        asking: Asking,
    ) -> Result<Answer, Failure> {
        self.check()?;
        let mount = self.settings.mount.trim_matches('/');
        let path = format!("{mount}/{operation}/{}", self.settings.key);
        let old = self.tokens.holds(TOKEN);
        let mut answer = self.send(method.clone(), &path, body).await?;
        if answer.status == 403 {
            self.tokens.forget();
            if old {
                answer = self.send(method, &path, body).await?;
            }
        }
        match answer.status {
            200 => Ok(answer),
            _ => Err(classify(&answer, asking)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        let settings = &self.settings;
        let token = self.tokens.get(TOKEN, auth::token(settings)).await?;
        let url = auth::url(settings, path);
        let roots = auth::roots(settings)?;
        let headers = auth::headers(settings);
        let request = Request {
            method,
            headers: &headers,
            roots: roots.as_ref().map(|pem| pem.as_bytes()),
            body: body.map(|body| ("application/json", body)),
            ..Request::get(&url)
        };
        rest::send(request.bearer(&token)).await
    }

    /// A token that was given, and that is past half of its life, is renewed. Whatever goes wrong shows when it is used.
    async fn keep_token(&self) {
        let Ok(answer) = self.send(Method::GET, "auth/token/lookup-self", None).await else {
            return;
        };
        let due = wire::read::<wire::Data<wire::Lease>>(&answer).is_ok_and(|it| it.data.is_due());
        if due {
            let renewed = self.send(Method::POST, "auth/token/renew-self", Some(b"{}"));
            drop(renewed.await);
        }
    }

    /// Names become part of a path: nothing else must get into it.
    fn check(&self) -> Result<(), Failure> {
        let plain = |text: &str, also: &[u8]| {
            let mut bytes = text.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
        };
        let settings = &self.settings;
        let mount = settings.mount.trim_matches('/');
        let good = !settings.key.is_empty()
            && plain(&settings.key, b"-_.")
            && !mount.is_empty()
            && plain(mount, b"-_./")
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
