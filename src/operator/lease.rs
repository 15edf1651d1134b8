//! Leader election by a `Lease`: at most one operator acts.
//!
//! # Flow
//! Take the Lease when it is free or its holder has not renewed it for its duration; renew it every third of that
//! time; give it back on the way out.
//!
//! # Guarantees
//! Every write carries the resource version that was read, so two candidates never both succeed. Expiry is
//! measured by our own monotonic clock from when we saw the last change: clocks of nodes need not agree.
//! Who could not renew for two thirds of the duration stops before anybody else may start.
//!
//! # Caveats
//! A write that was sent just before the loss may still arrive; that is why disturbing writes carry
//! preconditions of their own.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

/// Which Lease, and as whom.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are, unlike anybody else; the pod's name.
    pub identity: String,
    /// How long a holder that fell silent is respected.
    pub duration: Duration,
}

/// How a term of leadership ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Term<T> {
    /// The work ended by itself; the Lease was given back.
    Done(T),
    /// The Lease could not be renewed in time or is somebody else's; the work was stopped where it was.
    Lost,
}

/// Waits for the Lease, then does `work` for as long as the Lease is held.
pub async fn while_leading<T, W>(client: Client, config: &LeaseConfig, work: W) -> Term<T>
where
    W: Future<Output = T>,
{
    let mut holder = Candidate::new(client, config);
    holder.acquire().await;
    tracing::info!(lease = config.name, identity = config.identity, "leading");
    // Either side is dropped the moment the other ends: nothing runs on without the Lease.
    let done = tokio::select! {
        done = work => Some(done),
        () = holder.keep() => None,
    };
    if let Some(done) = done {
        holder.release().await;
        return Term::Done(done);
    }
    tracing::warn!(lease = config.name, "leadership lost; stopped acting");
    Term::Lost
}

struct Candidate<'a> {
    api: Api<Lease>,
    config: &'a LeaseConfig,
    /// The last version of the Lease and when we first saw it.
    seen: Option<(String, Instant)>,
}

enum Attempt {
    /// Ours, and the server said so just now.
    Held,
    /// Somebody wrote between our reading and our writing: look again.
    Raced,
    /// Somebody else's.
    Foreign,
}

impl<'a> Candidate<'a> {
    fn new(client: Client, config: &'a LeaseConfig) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            seen: None,
        }
    }

    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(Attempt::Held) => return,
                Ok(Attempt::Raced | Attempt::Foreign) => {}
                Err(error) => {
                    tracing::warn!(lease = self.config.name, %error, "Lease can not be taken yet");
                }
            }
            sleep(self.config.duration / 4).await;
        }
    }

    /// Returns when the Lease is no longer surely ours.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.config.duration / 6).await;
            let deadline = renewed + self.config.duration * 2 / 3;
            match tokio::time::timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Attempt::Held)) => renewed = Instant::now(),
                Ok(Ok(Attempt::Foreign)) | Err(_) => return,
                Ok(Ok(Attempt::Raced)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.config.name, %error, "Lease was not renewed");
                }
            }
        }
    }

    /// Takes or renews the Lease if it is ours to take.
    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else {
            let fresh = self.fresh(now);
            return outcome(self.api.create(&PostParams::default(), &fresh).await);
        };
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.config.identity;
        if !ours && !holder.is_empty() {
            let version = lease.metadata.resource_version.clone().unwrap_or_default();
            let said = spec.lease_duration_seconds.unwrap_or_default();
            let said = Duration::from_secs(u64::try_from(said).unwrap_or_default());
            if !self.silent(version, said.max(self.config.duration)) {
                return Ok(Attempt::Foreign);
            }
        }
        if !ours {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.holder_identity = Some(self.config.identity.clone());
        spec.lease_duration_seconds = Some(seconds(self.config.duration));
        spec.renew_time = Some(now);
        // The resource version that was read goes along: whoever writes first wins.
        outcome(
            self.api
                .replace(&self.config.name, &PostParams::default(), &lease)
                .await,
        )
    }

    /// True when `version` has been the current one for `duration` by our clock.
    fn silent(&mut self, version: String, duration: Duration) -> bool {
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= duration,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    /// Gives the Lease back, so that the next one need not wait.
    async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(&self.config.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&*self.config.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            let params = PostParams::default();
            self.api.replace(&self.config.name, &params, &lease).await?;
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(Duration::from_secs(5), released).await {
            Ok(Ok(())) => tracing::info!(lease = self.config.name, "Lease given back"),
            Ok(Err(error)) => tracing::warn!(%error, "Lease was not given back; it will expire"),
            Err(_) => tracing::warn!("Lease was not given back in time; it will expire"),
        }
    }

    fn fresh(&self, now: MicroTime) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.identity.clone()),
                lease_duration_seconds: Some(seconds(self.config.duration)),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn outcome(written: Result<Lease, kube::Error>) -> Result<Attempt, kube::Error> {
    match written {
        Ok(_) => Ok(Attempt::Held),
        // Somebody else wrote first, or made it first.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Raced),
        Err(error) => Err(error),
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}
