//! What is remembered of copies outside of the cluster. Nothing is lost with it: after a start every copy is looked at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::Export;
use crate::export::{ExportClass, ExportError};
use crate::kms::vault::VaultClient;
use crate::operator::error::{Class, pause};
use crate::plan::export::{Failure, Job, Known, Source};

/// A client is used for so long: half of the life of the operator's token, so that it can log in again.
const CLIENT: Duration = Duration::from_mins(5);

/// Object and place.
type Key = (String, String);

/// Memory of all copies.
#[derive(Default)]
pub struct Memory {
    copies: Mutex<HashMap<Key, (u32, Known)>>,
    clients: Mutex<HashMap<String, (Instant, Arc<VaultClient>)>>,
}

impl Memory {
    /// What is known of the copies of an object, by place.
    pub fn known(&self, owner: &str) -> BTreeMap<String, Known> {
        let all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.iter().filter(|((of, _), _)| of == owner);
        of.map(|((_, place), (_, known))| (place.clone(), known.clone()))
            .collect()
    }

    /// Only these copies of an object are of interest from now on.
    pub fn keep(&self, owner: &str, wanted: impl Fn(&str) -> bool) {
        let mut all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, place), _| of != owner || wanted(place));
    }

    /// What a copy was last seen to hold.
    pub(super) fn held(&self, owner: &str, place: &str) -> Option<Source> {
        let all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, known) = all.get(&(owner.to_owned(), place.to_owned()))?;
        Some(known.holds.as_ref()?.0.clone())
    }

    /// A copy is as a job wanted it. True when that is new.
    pub(super) fn done(&self, owner: &str, place: &str, job: &Job) -> bool {
        let mut all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempts, known) = all.entry((owner.to_owned(), place.to_owned())).or_default();
        *attempts = 0;
        let before = known.holds.as_ref().map(|(source, _)| source.clone());
        let news = known.failure.is_some() || before != job.from;
        *known = Known {
            holds: job.from.clone().map(|source| (source, Timestamp::now())),
            failure: None,
            deleted: job.from.is_none(),
        };
        news
    }

    /// It could not be done: when it is tried again grows with each time, and differs. True when this was not told yet.
    pub(super) fn failed(
        &self,
        owner: &str,
        place: &str,
        reached: &Export,
        error: &ExportError,
    ) -> bool {
        let class = match error.class {
            ExportClass::Unavailable => Class::Retry,
            ExportClass::Denied
            | ExportClass::NotFound
            | ExportClass::Foreign
            | ExportClass::Malformed => Class::Human,
        };
        let mut all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempts, known) = all.entry((owner.to_owned(), place.to_owned())).or_default();
        let told = known.failure.as_ref().map(|failure| failure.reason);
        let mut dice = [0_u8; 8];
        // Without random numbers there is no jitter, and that is all.
        let _ = getrandom::fill(&mut dice);
        let wait = pause(class, *attempts, u64::from_le_bytes(dice));
        *attempts = attempts.saturating_add(1);
        let now = Timestamp::now();
        let wait = SignedDuration::try_from(wait).unwrap_or_default();
        known.failure = Some(Failure {
            reason: error.class.reason(),
            message: format!("{error}. {}", error.remedy),
            retry_at: now.saturating_add(wait).unwrap_or(now),
            reached: Box::new(reached.clone()),
        });
        told != Some(error.class.reason())
    }

    /// A client, with its tokens: a login makes a lease in Vault.
    pub(super) fn client(&self, what: &str) -> Option<Arc<VaultClient>> {
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (made, _)| made.elapsed() < CLIENT);
        all.get(what).map(|(_, client)| client.clone())
    }

    pub(super) fn keep_client(&self, what: String, client: Arc<VaultClient>) {
        let mut all = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(what, (Instant::now(), client));
    }
}
