//! A CA whose key never leaves the service that holds it: the certificate is made here, and the service signs its hash.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::own::issue;
use super::{IssuedCa, Issuer, IssuerClass, IssuerError, NewCa, Order};
use crate::api::v1alpha1::KeyAlgorithm;
use crate::kms::{Class, KmsError, SigningAlgorithm};
use crate::tls::anchor::CaCertificates;
use crate::tls::authority::{Authority, IssueError, RemoteAlgorithm, RemoteKey};
use crate::tls::leaf::IssuedLeaf;
use crate::tls::parse::key_algorithm;

/// A key that signs, behind a service.
pub trait KeySigner: Send + Sync {
    /// The public key and how it signs. Refuses a key that no TiKV would take, or that may not sign.
    fn key(&self) -> BoxFuture<'_, Result<SigningKey, IssuerError>>;
    /// Signs the message, which it hashes; the signature in the form that X.509 has (ECDSA: DER of r and s; RSA: the number).
    fn sign<'a>(&'a self, message: &'a [u8], with: RemoteAlgorithm) -> BoxFuture<'a, Signing>;
}

/// What a signature came to.
pub type Signing = Result<Vec<u8>, IssuerError>;

/// The public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// Subject public key info, DER.
    pub public_key: Vec<u8>,
    /// How it signs.
    pub algorithm: RemoteAlgorithm,
}

/// How a public key signs; `remedy` for one that no TiKV would take.
pub(super) fn of_public_key(
    issuer: &str,
    public_key: Vec<u8>,
    remedy: &'static str,
) -> Result<SigningKey, IssuerError> {
    let algorithm = match key_algorithm(&public_key) {
        Some(KeyAlgorithm::EcdsaP256) => RemoteAlgorithm::EcdsaP256,
        Some(KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096) => {
            RemoteAlgorithm::Rsa
        }
        None => {
            let message =
                "the key is neither RSA nor on the curve P-256, which alone every TiKV takes";
            return Err(IssuerError {
                issuer: issuer.to_owned(),
                class: IssuerClass::Malformed,
                message: message.to_owned(),
                remedy,
            });
        }
    };
    Ok(SigningKey {
        public_key,
        algorithm,
    })
}

/// What to do when a service does not do what is asked of a key, by what is wrong.
pub(super) struct Remedies {
    /// It does not answer.
    pub(super) unavailable: &'static str,
    /// Permission or credentials are missing.
    pub(super) denied: &'static str,
    /// There is no such key.
    pub(super) not_found: &'static str,
    /// It is switched off.
    pub(super) disabled: &'static str,
    /// It is about to go.
    pub(super) leaving: &'static str,
    /// It does not sign, or is of a kind that no TiKV takes.
    pub(super) kind: &'static str,
    /// It is named or reached wrongly.
    pub(super) malformed: &'static str,
}

impl Remedies {
    /// What the service said, of a named issuer.
    pub(super) fn told(&self, issuer: &str, error: &KmsError) -> IssuerError {
        let (class, remedy) = match error.class {
            Class::Unavailable => (IssuerClass::Unavailable, self.unavailable),
            Class::Denied => (IssuerClass::Denied, self.denied),
            Class::NotFound => (IssuerClass::NotFound, self.not_found),
            Class::Disabled => (IssuerClass::Refused, self.disabled),
            Class::PendingDeletion => (IssuerClass::Refused, self.leaving),
            Class::WrongKey => (IssuerClass::Malformed, self.kind),
            Class::Malformed => (IssuerClass::Malformed, self.malformed),
        };
        IssuerError {
            issuer: issuer.to_owned(),
            class,
            message: error.to_string(),
            remedy,
        }
    }
}

impl From<RemoteAlgorithm> for SigningAlgorithm {
    fn from(algorithm: RemoteAlgorithm) -> Self {
        match algorithm {
            RemoteAlgorithm::EcdsaP256 => Self::EcdsaP256,
            RemoteAlgorithm::Rsa => Self::Rsa,
        }
    }
}

/// A CA with such a key.
pub struct RemoteCa {
    name: String,
    key: Arc<dyn KeySigner>,
    /// Its certificates, once they are made.
    certificates: Option<CaCertificates>,
}

impl RemoteCa {
    /// `certificates` are those that were made with the key before. `name` is for people.
    pub fn new(
        name: impl Into<String>,
        key: Arc<dyn KeySigner>,
        certificates: Option<CaCertificates>,
    ) -> Self {
        Self {
            name: name.into(),
            key,
            certificates,
        }
    }

    /// What the library can sign with, from a thread that may block.
    async fn bridge(&self) -> Result<Arc<Bridge>, IssuerError> {
        let SigningKey {
            public_key,
            algorithm,
        } = self.key.key().await?;
        Ok(Arc::new(Bridge {
            public_key,
            algorithm,
            key: self.key.clone(),
            runtime: tokio::runtime::Handle::current(),
            failure: Mutex::default(),
        }))
    }

    fn failed(&self, bridge: &Bridge, error: &IssueError) -> IssuerError {
        let own = || IssuerError::of_issue(&self.name, error);
        bridge.failure().unwrap_or_else(own)
    }
}

impl Issuer for RemoteCa {
    fn authority<'a>(&'a self, wanted: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        async move {
            let bridge = self.bridge().await?;
            let (wanted, signer) = (wanted.clone(), bridge.clone());
            let work = move || {
                let NewCa {
                    common_name,
                    duration,
                    now,
                } = wanted;
                Authority::generate_remote(&common_name, now, duration, signer)
            };
            let made = tokio::task::spawn_blocking(work).await;
            let made = made.map_err(|_| IssuerError::broken_off(&self.name))?;
            let made = made.map_err(|error| self.failed(&bridge, &error))?;
            Ok(IssuedCa {
                certificates: made.certificates().clone(),
                key: None,
            })
        }
        .boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async move {
            // A key that says who it is may still not be allowed to sign: what signs nothing is no CA.
            let key = self.key.key().await?;
            let question = b"tikv-security: may this key sign?";
            self.key.sign(question, key.algorithm).await?;
            Ok(None)
        }
        .boxed()
    }

    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        async move {
            let bridge = self.bridge().await?;
            let certificates = self.certificates.clone();
            let certificates = certificates.ok_or_else(|| IssuerError::not_made(&self.name))?;
            let authority = Authority::remote(certificates, bridge.clone())
                .map_err(|error| self.failed(&bridge, &error))?;
            let done = issue(&self.name, Arc::new(authority), order.clone()).await;
            done.map_err(|error| bridge.failure().unwrap_or(error))
        }
        .boxed()
    }
}

/// Lets a library that wants its signature at once wait for one that comes over a network.
struct Bridge {
    public_key: Vec<u8>,
    algorithm: RemoteAlgorithm,
    key: Arc<dyn KeySigner>,
    runtime: tokio::runtime::Handle,
    /// What the library has no place for.
    failure: Mutex<Option<IssuerError>>,
}

impl Bridge {
    /// What went wrong in the service, if that did.
    fn failure(&self) -> Option<IssuerError> {
        let kept = self.failure.lock();
        kept.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RemoteKey for Bridge {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> RemoteAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self
            .runtime
            .block_on(self.key.sign(message, self.algorithm))
        {
            Ok(signature) => Some(signature),
            Err(error) => {
                let kept = self.failure.lock();
                *kept.unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        }
    }
}
