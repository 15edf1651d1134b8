//! Who signs certificates: a CA whose key is here, or a service that is asked. One trait, one file each.

pub mod acme;
mod aws;
mod azure;
mod gcp;
mod own;
mod pkcs11;
mod remote;
mod vault;

use std::fmt;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

pub use self::aws::AwsSigner;
pub use self::azure::AzureSigner;
pub use self::gcp::GcpSigner;
pub use self::own::{CaFiles, OwnCa, SelfSigning, checked};
pub use self::pkcs11::HsmSigner;
pub use self::remote::{KeySigner, RemoteCa, Signing, SigningKey};
pub use self::vault::{VaultPki, VaultPkiSettings};
use crate::tls::anchor::CaCertificates;
use crate::tls::authority::IssueError;
use crate::tls::leaf::{IssuedLeaf, LeafSpec, LeafUse};
use crate::tls::private::PrivatePem;
use crate::tls::request::{SigningRequest, signing_request};
use crate::tls::revocation::Pointers;

/// Signs certificates.
pub trait Issuer: Send + Sync {
    /// Its CA as it is now; one that makes its own makes a new one.
    fn authority<'a>(&'a self, wanted: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>>;

    /// Its CA as it is now, without making one; `None` of one that makes its own, when that could be done.
    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>>;

    /// Signs a certificate under a new key. The chain leads to the anchor that is given, or it is an error.
    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>>;
}

/// A CA to be made, by those who make one.
#[derive(Clone, Debug)]
pub struct NewCa {
    /// Common name.
    pub common_name: String,
    /// Validity.
    pub duration: SignedDuration,
    /// The time.
    pub now: Timestamp,
}

/// A CA.
pub struct IssuedCa {
    /// Its certificates.
    pub certificates: CaCertificates,
    /// Its key, where the cluster keeps it.
    pub key: Option<PrivatePem>,
}

/// A certificate to be issued.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it must say.
    pub spec: LeafSpec,
    /// By whom it is used.
    pub what_for: LeafUse,
    /// The CA that is trusted.
    pub anchor_pem: String,
    /// The time.
    pub now: Timestamp,
    /// Where it is to say that revoked ones are listed; of a CA whose key is here.
    pub pointers: Option<Pointers>,
    /// The serial number that was written down for it, hexadecimal; of a CA whose key is here.
    pub number: Option<String>,
}

/// Makes a key and the request for its certificate, on a thread of its own: an RSA key takes seconds.
pub async fn request(
    issuer: &str,
    spec: &LeafSpec,
    what_for: LeafUse,
    now: Timestamp,
) -> Result<SigningRequest, IssuerError> {
    let spec = spec.clone();
    let making = tokio::task::spawn_blocking(move || signing_request(&spec, what_for, now));
    let made = making.await.map_err(|_| IssuerError::broken_off(issuer))?;
    made.map_err(|error| IssuerError::of_issue(issuer, &error))
}

/// In which way an issuer did not do what it was asked. Never merged: each has its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssuerClass {
    /// No answer, or "not now": may pass by itself.
    Unavailable,
    /// Permission or credentials are missing.
    Denied,
    /// There is no such issuer, role or key.
    NotFound,
    /// It does not give such a certificate: a name, a use or a duration that its rules forbid.
    Refused,
    /// What it gave is not what was asked for, or leads to another CA.
    WrongAnswer,
    /// Its configuration or what it keeps can not be used.
    Malformed,
}

impl IssuerClass {
    /// Stable word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "Unavailable",
            Self::Denied => "Denied",
            Self::NotFound => "NotFound",
            Self::Refused => "Refused",
            Self::WrongAnswer => "WrongAnswer",
            Self::Malformed => "Malformed",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Unavailable => "does not answer",
            Self::Denied => "refuses access",
            Self::NotFound => "does not exist",
            Self::Refused => "does not give such a certificate",
            Self::WrongAnswer => "gave something else than was asked for",
            Self::Malformed => "can not be used",
        }
    }
}

/// An issuer did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerError {
    /// Which one, for people.
    pub issuer: String,
    /// In which way.
    pub class: IssuerClass,
    /// What it or the network said.
    pub message: String,
    /// What to do next.
    pub remedy: &'static str,
}

impl fmt::Display for IssuerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            issuer,
            class,
            message,
            ..
        } = self;
        write!(f, "issuer {issuer} {}: {message}", class.says())
    }
}

impl std::error::Error for IssuerError {}

impl IssuerError {
    /// Work on a thread of its own did not come to its end.
    pub fn broken_off(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            class: IssuerClass::Unavailable,
            message: "the work was broken off".to_owned(),
            remedy: "It is tried again by itself.",
        }
    }

    /// A CA that is to be made by the next reconcile is asked to sign.
    fn not_made(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            class: IssuerClass::NotFound,
            message: "its CA was not made yet".to_owned(),
            remedy: "It is made by the next reconcile.",
        }
    }

    /// What our own signing said, of a named issuer.
    pub fn of_issue(issuer: &str, error: &IssueError) -> Self {
        let (class, remedy) = match error {
            IssueError::AuthorityExpired(_) => (
                IssuerClass::Refused,
                "Renew the CA, or rotate it by rotate.ca.",
            ),
            IssueError::Name(_) => (
                IssuerClass::Refused,
                "Correct the name in tls.extraSans, or the name of the object that it was made of.",
            ),
            IssueError::Random(_) => (
                IssuerClass::Unavailable,
                "Check that getrandom(2) works in this container.",
            ),
            IssueError::Certificate(_)
            | IssueError::Chain(_)
            | IssueError::Key
            | IssueError::KeyMismatch
            | IssueError::NotAnAuthority
            | IssueError::Library(_)
            | IssueError::Encoding(_)
            | IssueError::Elsewhere
            | IssueError::Time(_) => (
                IssuerClass::Malformed,
                "Put the certificate of a CA and its unencrypted key into tls.crt and tls.key, the chain after it, and the root into ca.crt.",
            ),
        };
        Self {
            issuer: issuer.to_owned(),
            class,
            message: error.to_string(),
            remedy,
        }
    }
}
