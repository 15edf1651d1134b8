//! Trying again: only what may pass by itself, with pauses that grow and differ, and an end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::{Class, KmsError};
use super::provider::Kms;
use crate::crypto::rng;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// After this time the last failure is returned.
    pub deadline: Duration,
    /// The first pause is between half of this and this.
    pub first: Duration,
    /// Pauses double up to this.
    pub longest: Duration,
}

impl Retry {
    /// For work that somebody waits for.
    pub const DEFAULT: Self = Self {
        deadline: Duration::from_secs(20),
        first: Duration::from_millis(250),
        longest: Duration::from_secs(4),
    };

    /// Does `work` until it succeeds, fails for a reason that lasts, or time is up. A service that says when
    /// it wants to be asked again is not asked earlier.
    pub async fn run<T, F>(self, kms: &dyn Kms, work: impl Fn() -> F) -> Result<T, KmsError>
    where
        F: Future<Output = Result<T, KmsError>>,
    {
        let silent = || {
            let message = format!("no answer within {:?}", self.deadline);
            kms.error(Class::Unavailable, &message)
        };
        let end = Instant::now() + self.deadline;
        let mut pause = self.first;
        let mut last: Option<KmsError> = None;
        loop {
            match timeout_at(end, work()).await {
                Ok(Err(error)) if error.class == Class::Unavailable => last = Some(error),
                Ok(other) => return other,
                Err(_) => return Err(last.unwrap_or_else(silent)),
            }
            let asked = last.as_ref().and_then(|error| error.after);
            let wait = jittered(pause).max(asked.unwrap_or_default());
            if Instant::now() + wait >= end {
                return Err(last.unwrap_or_else(silent));
            }
            sleep(wait).await;
            pause = (pause * 2).min(self.longest);
        }
    }
}

/// Between half of `pause` and `pause`, so that many stores do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = rng::bytes::<1>().map_or(u8::MAX, |[byte]| byte);
    pause / 2 + pause / 2 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::{Class, Kms as _, KmsError, Retry};
    use crate::kms::tests::Toy;

    const QUICK: Retry = Retry {
        deadline: Duration::from_millis(200),
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
    };

    fn failure(class: Class) -> KmsError {
        Toy::AWS.error(class, "no")
    }

    #[tokio::test]
    async fn an_outage_that_ends_is_survived() {
        let tries = AtomicU32::new(0);
        let work = || async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(failure(Class::Unavailable)),
                _ => Ok("there"),
            }
        };
        assert_eq!(QUICK.run(&Toy::AWS, work).await, Ok("there"));
    }

    #[tokio::test]
    async fn an_outage_that_lasts_is_said_in_time() {
        let work = || async { Err::<(), _>(failure(Class::Unavailable)) };
        assert_eq!(
            QUICK.run(&Toy::AWS, work).await,
            Err(failure(Class::Unavailable))
        );
        let hangs = std::future::pending::<Result<(), KmsError>>;
        let error = QUICK.run(&Toy::AWS, hangs).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "KMS key toy does not answer: no answer within 200ms"
        );
    }

    #[tokio::test]
    async fn a_service_is_not_asked_before_it_wants_to_be() {
        let work = || async {
            let mut busy = failure(Class::Unavailable);
            busy.after = Some(Duration::from_mins(1));
            Err::<(), _>(busy)
        };
        let start = std::time::Instant::now();
        let error = QUICK.run(&Toy::AWS, work).await.unwrap_err();
        assert_eq!(error.after, Some(Duration::from_mins(1)));
        assert!(start.elapsed() < QUICK.deadline, "it waited for nothing");
    }

    #[tokio::test]
    async fn what_lasts_is_not_tried_again() {
        let tries = AtomicU32::new(0);
        let work = || async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(failure(Class::Denied))
        };
        assert_eq!(
            QUICK.run(&Toy::AWS, work).await,
            Err(failure(Class::Denied))
        );
        assert_eq!(tries.into_inner(), 1);
    }
}
