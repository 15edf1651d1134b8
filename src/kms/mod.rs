//! Master keys: what `key.dict` is sealed under (facts, encryption at rest §1.2, §2.3).
//!
//! [`MasterKey`] opens and seals the envelope as TiKV does, blocking, for those who work on a data directory.
//! [`Kms`] is the service behind one of its kinds, asynchronous; [`prove`] shows that a key of it can be used. Failures
//! keep their class ([`Class`]) all the way to the person who reads them.

pub mod aws;
pub mod azure;
mod blocking;
mod der;
mod envelope;
mod error;
mod file_key;
pub mod gcp;
mod jwt;
mod master_key;
mod oauth;
#[cfg_attr(
    target_feature = "crt-static",
    allow(dead_code, reason = "a static program has no loader for modules")
)]
pub mod pkcs11;
mod provider;
pub(crate) mod rest;
pub mod retry;
mod signing;
pub mod vault;

pub use envelope::fingerprint;
pub use error::{Class, KmsError, MasterKeyError, Service};
pub use file_key::{FileKeyError, check_file_key};
pub use master_key::{MasterKey, unwrap_blocking};
pub use provider::{DataKey, Kms, make_wrapped, prove, prove_wrapped};
pub use signing::SigningAlgorithm;

#[cfg(test)]
mod tests;
