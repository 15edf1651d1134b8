//! A key in a hardware security module, by PKCS#11. TiKV does not know it: a key that it wraps becomes TiKV's `file` key in
//! memory (facts, encryption at rest §1.2). Wrapped is by AES-GCM, in the module: the key that wraps never leaves it.

#[cfg(not(target_feature = "crt-static"))]
mod classify;
mod pin;
#[cfg(not(target_feature = "crt-static"))]
mod sign;
#[cfg(not(target_feature = "crt-static"))]
mod token;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

pub use self::pin::Pin;
use super::error::{Class, KmsError, Service};
use super::provider::{DataKey, Kms};
use super::rest::Failure;
use crate::crypto::secret::SecretBytes;

/// Whether this program can load a module. A static one has no loader.
pub const LOADS_MODULES: bool = !cfg!(target_feature = "crt-static");

/// Modules are asked one question at a time in the whole process. One that never answers keeps its turn and its thread;
/// those that come later wait for the turn without a thread, and stop when they like.
static TURN: Semaphore = Semaphore::const_new(1);

/// A key and how to get at it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The vendor's module: a shared library.
    pub module: PathBuf,
    /// `CKA_LABEL` of the token.
    pub token: String,
    /// `CKA_LABEL` of an AES key in it.
    pub key: String,
    /// PIN of the token's user.
    pub pin: Arc<Pin>,
}

/// A key in a token.
#[derive(Debug)]
pub struct Pkcs11 {
    settings: Settings,
    /// `TOKEN/KEY`.
    name: String,
}

/// The public half of a key pair that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Subject public key info, DER.
    pub public_key: Vec<u8>,
    /// True for RSA, false for ECDSA on P-256.
    pub rsa: bool,
}

/// What is asked of the token.
#[derive(Clone, Copy)]
enum Asking {
    Description,
    DataKey,
    Unwrapping,
    Signing,
}

impl Pkcs11 {
    /// Nothing is loaded yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            name: format!("{}/{}", settings.token, settings.key),
            settings,
        }
    }

    /// The public half of the key pair of this label. Refuses one that may not sign, or that not every TiKV takes.
    pub async fn signing_key(&self) -> Result<TokenKey, KmsError> {
        self.work(public_key).await
    }

    /// The signature of a message under SHA-256: DER of r and s, or the number of RSA.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let message = message.to_vec();
        self.work(move |settings| signature(settings, &message))
            .await
    }

    async fn ask(&self, asking: Asking, wrapped: Vec<u8>) -> Result<Option<DataKey>, KmsError> {
        self.work(move |settings| answer(settings, asking, &wrapped))
            .await
    }

    /// Modules block as long as they like, so a question has a thread of its own.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Settings) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, KmsError> {
        let turn = TURN.acquire().await;
        let settings = self.settings.clone();
        let work = move || {
            // It is given back when the module has answered, whether somebody still waits for that or not.
            let _turn = turn;
            work(&settings)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|_| {
            Err(Failure::new(
                Class::Malformed,
                "the module brought its thread down",
            ))
        });
        done.map_err(|failure| self.error(failure.class, &failure.message))
    }

    fn nothing(&self) -> KmsError {
        self.error(Class::Malformed, "the token gave no key")
    }
}

#[cfg(not(target_feature = "crt-static"))]
use self::sign::{public_key, signature};
#[cfg(not(target_feature = "crt-static"))]
use self::token::answer;

#[cfg(target_feature = "crt-static")]
fn answer(settings: &Settings, _: Asking, _: &[u8]) -> Result<Option<DataKey>, Failure> {
    Err(no_loader(settings))
}

#[cfg(target_feature = "crt-static")]
fn public_key(settings: &Settings) -> Result<TokenKey, Failure> {
    Err(no_loader(settings))
}

#[cfg(target_feature = "crt-static")]
fn signature(settings: &Settings, _: &[u8]) -> Result<Vec<u8>, Failure> {
    Err(no_loader(settings))
}

/// A static program has no loader.
#[cfg(target_feature = "crt-static")]
fn no_loader(settings: &Settings) -> Failure {
    let message = format!(
        "this program is static and can not load {}; it needs the image whose tag ends with -hsm",
        settings.module.display()
    );
    Failure::new(Class::Malformed, message)
}

impl Kms for Pkcs11 {
    /// Never in `key.dict`: what this wraps is a `file` key for TiKV.
    fn vendor(&self) -> &'static str {
        "pkcs11"
    }

    fn service(&self) -> Service {
        Service::Pkcs11
    }

    fn key(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>> {
        self.ask(Asking::Description, Vec::new())
            .map(|done| done.map(drop))
            .boxed()
    }

    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>> {
        self.ask(Asking::DataKey, Vec::new())
            .map(|done| done?.ok_or_else(|| self.nothing()))
            .boxed()
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        self.ask(Asking::Unwrapping, wrapped.to_vec())
            .map(|done| Ok(done?.ok_or_else(|| self.nothing())?.plaintext))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Pin, Pkcs11, Settings, TURN};
    use crate::crypto::secret::SecretBytes;
    use crate::kms::{Class, Kms as _};

    #[tokio::test]
    async fn who_waits_for_a_module_that_hangs_may_stop_waiting() {
        let kms = Pkcs11::new(Settings {
            module: "/nowhere/module.so".into(),
            token: "tikv".to_owned(),
            key: "one".to_owned(),
            pin: Arc::new(Pin::Given(SecretBytes::new(b"1234".to_vec()))),
        });
        let hangs = TURN.acquire().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(20), kms.describe()).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(hangs);
        let error = kms.describe().await.unwrap_err();
        assert_eq!(error.class, Class::Malformed, "{error}");
    }
}
