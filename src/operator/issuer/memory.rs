//! What is remembered of issuers for some minutes. Nothing is lost with it: it saves requests, and spaces those that failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::issuer::{Issuer, IssuerClass, IssuerError};
use crate::operator::error::{Class, pause};
use crate::plan::observed::{IssueFailure, IssuerLook};

/// A client is used for so long: half of the life of the operator's token, so that it can log in again.
const CLIENT: Duration = Duration::from_mins(5);
/// What an issuer told of its CA holds for so long.
const TOLD: Duration = Duration::from_mins(1);
/// That a key elsewhere can sign holds for so long: each look is a call that is paid for.
const SIGNS: Duration = Duration::from_mins(10);
/// And a refusal for so long.
const REFUSED: Duration = Duration::from_secs(20);

/// When it was made, and what.
type Made = (Instant, Arc<dyn Issuer>);

/// Memory of all issuers.
#[derive(Default)]
pub struct Memory {
    clients: Mutex<HashMap<String, Made>>,
    looks: Mutex<HashMap<String, (Instant, IssuerLook)>>,
    failures: Mutex<HashMap<(String, String), (u32, IssueFailure)>>,
}

impl Memory {
    /// A client, with its tokens: a login makes a lease in Vault.
    pub(super) fn client(&self, what: &str) -> Option<Arc<dyn Issuer>> {
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (made, _)| made.elapsed() < CLIENT);
        all.get(what).map(|(_, client)| client.clone())
    }

    pub(super) fn keep(&self, what: &str, client: &Arc<dyn Issuer>) {
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(what.to_owned(), (Instant::now(), client.clone()));
    }

    pub(super) fn look(&self, what: &str) -> Option<IssuerLook> {
        let all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, look) = all.get(what)?;
        let holds = match look {
            IssuerLook::Makes => SIGNS,
            IssuerLook::Offers { .. } => TOLD,
            IssuerLook::Refused { .. } => REFUSED,
        };
        (at.elapsed() < holds).then(|| look.clone())
    }

    pub(super) fn looked(&self, what: String, look: &IssuerLook) {
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() < SIGNS);
        all.insert(what, (Instant::now(), look.clone()));
    }

    /// Certificates that were not given to a resource, by their Secrets.
    pub fn not_issued(&self, resource: &str) -> BTreeMap<String, IssueFailure> {
        let all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.iter().filter(|((owner, _), _)| owner == resource);
        of.map(|((_, secret), (_, failure))| (secret.clone(), failure.clone()))
            .collect()
    }

    /// One was not given: when it is asked for again grows with each time, and differs.
    pub(in crate::operator) fn failed(&self, resource: &str, secret: &str, error: &IssuerError) {
        let class = match error.class {
            IssuerClass::Unavailable => Class::Retry,
            IssuerClass::Denied
            | IssuerClass::NotFound
            | IssuerClass::Refused
            | IssuerClass::WrongAnswer
            | IssuerClass::Malformed => Class::Human,
        };
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (resource.to_owned(), secret.to_owned());
        let attempts = all.get(&key).map_or(0, |(attempts, _)| attempts + 1);
        let mut dice = [0_u8; 8];
        // Without random numbers there is no jitter, and that is all.
        let _ = getrandom::fill(&mut dice);
        let wait = pause(class, attempts, u64::from_le_bytes(dice));
        let now = Timestamp::now();
        let wait = jiff::SignedDuration::try_from(wait).unwrap_or_default();
        let failure = IssueFailure {
            message: format!("{error}. {}", error.remedy),
            retry_at: now.saturating_add(wait).unwrap_or(now),
        };
        all.insert(key, (attempts, failure));
    }

    /// One was given.
    pub(in crate::operator) fn given(&self, resource: &str, secret: &str) {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(resource.to_owned(), secret.to_owned()));
    }
}
