//! How an ACME server is shown that names are ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use instant_acme::ChallengeType;

use crate::issuer::IssuerError;

/// One thing to be shown, while an order lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The name, without `*.`.
    pub name: String,
    /// The token, by which a file is asked for.
    pub token: String,
    /// Content of the file.
    pub file: String,
    /// Content of the TXT record.
    pub record: String,
}

/// Shows proofs and takes them back.
pub trait Solver: Send + Sync {
    /// The kind of challenge that it answers.
    fn kind(&self) -> ChallengeType;
    /// Shows them. When it returns, whoever asks sees them.
    fn show<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>>;
    /// Takes back what was shown, and what was shown in part.
    fn take_back<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>>;
}

/// Files that this process answers with.
#[derive(Clone, Default)]
pub struct Files(Arc<Mutex<HashMap<String, String>>>);

impl Files {
    /// The file of a token.
    pub fn get(&self, token: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(token).cloned()
    }

    /// Puts a file there.
    pub fn put(&self, proof: &Proof) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(proof.token.clone(), proof.file.clone());
    }

    /// Takes a file away.
    pub fn remove(&self, proof: &Proof) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&proof.token);
    }
}
