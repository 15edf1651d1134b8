//! What is remembered of issuers for some minutes. Nothing is lost with it: it saves requests, and spaces those that failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::issuer::acme::Files;
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

/// A failure is forgotten so long after it should have been asked for again.
const FORGET: SignedDuration = SignedDuration::from_mins(15);

/// Memory of all issuers.
#[derive(Default)]
pub struct Memory {
    clients: Mutex<HashMap<String, Made>>,
    looks: Mutex<HashMap<String, (Instant, IssuerLook)>>,
    failures: Mutex<HashMap<(String, String), (u32, IssueFailure)>>,
    /// Files that ACME servers ask for.
    pub files: Files,
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

    /// Certificates that were not given to a resource, by their Secrets. What was not asked for again in time is not wanted any more.
    pub fn not_issued(&self, resource: &str, now: Timestamp) -> BTreeMap<String, IssueFailure> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, failure)| now.duration_since(failure.retry_at) < FORGET);
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
        let wait = SignedDuration::try_from(wait).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::{FORGET, Memory, SignedDuration, Timestamp};
    use crate::issuer::{IssuerClass, IssuerError};

    #[test]
    fn a_failure_is_told_until_it_is_mended_or_not_wanted_any_more() {
        let memory = Memory::default();
        let error = IssuerError {
            issuer: "vault pki/tikv".to_owned(),
            class: IssuerClass::Unavailable,
            message: "Vault is sealed".to_owned(),
            remedy: "Unseal it.",
        };
        let told = |secret: &str, now: Timestamp| {
            let mut all = memory.not_issued("uid", now);
            all.remove(secret)
        };
        let now = Timestamp::now();
        memory.failed("uid", "demo-pd-tls", &error);
        let first = told("demo-pd-tls", now).unwrap();
        assert_eq!(
            first.message,
            "issuer vault pki/tikv does not answer: Vault is sealed. Unseal it."
        );
        let pause = first.retry_at.duration_since(now);
        assert!(
            pause < SignedDuration::from_secs(3),
            "first in seconds: {pause}"
        );
        for _ in 0..9 {
            memory.failed("uid", "demo-pd-tls", &error);
        }
        let later = told("demo-pd-tls", now).unwrap().retry_at;
        assert!(later.duration_since(now) > SignedDuration::from_secs(50));
        assert!(memory.not_issued("other", now).is_empty());
        memory.failed("uid", "demo-ca-next", &error);
        memory.given("uid", "demo-pd-tls");
        assert!(told("demo-pd-tls", now).is_none());
        assert!(told("demo-ca-next", now).is_some());
        let long = now + FORGET + SignedDuration::from_secs(10);
        assert!(told("demo-ca-next", long).is_none());
    }
}
