//! Asks regularly whether the master key still opens this store. TiKV asks it at its start only: an outage would else be
//! seen by a pod that does not come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::board::Board;
use super::lifecycle::problem;
use super::stop::Stop;
use super::store::Prover;
use crate::agent::wrapped::Pending;
use crate::crypto::rng;

/// How often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct KeyPace {
    /// After an answer: between three quarters of this and this, so that many stores do not ask in step.
    pub good: Duration,
    /// After a failure, or where there was nothing to open yet.
    pub bad: Duration,
}

impl KeyPace {
    /// For production.
    pub const DEFAULT: Self = Self {
        good: Duration::from_mins(5),
        bad: Duration::from_secs(30),
    };
}

/// As `prover`, and the provider of each of `keys` is asked as well: the store's own answer is that of the key in memory,
/// with which a pod that is made anew does not begin.
pub fn with_providers(mut prover: Prover, mut keys: Vec<Pending>) -> Prover {
    keys.retain(|key| !key.is_dispensable());
    Box::new(move || {
        // Before TiKV starts they are asked anyway, and there is nothing to open with yet.
        if !keys.iter().all(Pending::is_provided) {
            return None;
        }
        let opened = prover()?;
        let proven = || keys.iter().try_for_each(Pending::prove);
        Some(opened.and_then(|()| proven().map_err(|error| problem(&error))))
    })
}

/// The regular question.
pub struct KeyWatch {
    /// Asks.
    pub prover: Prover,
    /// Where the answer is reported.
    pub board: Arc<Board>,
    /// When to end.
    pub stop: Arc<Stop>,
    /// How often.
    pub pace: KeyPace,
}

impl KeyWatch {
    /// Asks until it is asked to stop.
    pub fn run(mut self) {
        loop {
            let begun = Instant::now();
            let answer = (self.prover)();
            let good = matches!(answer, Some(Ok(())));
            if let Some(answer) = answer {
                self.board.key(answer, begun.elapsed(), Timestamp::now());
            }
            let pause = if good { self.pace.good } else { self.pace.bad };
            if self.stop.wait(jittered(pause)) {
                return;
            }
        }
    }
}

/// Between three quarters of `pause` and `pause`. Without random numbers it is `pause`.
fn jittered(pause: Duration) -> Duration {
    let random = rng::bytes::<1>().map_or(u8::MAX, |[byte]| byte);
    pause * 3 / 4 + pause / 4 * u32::from(random) / 255
}
