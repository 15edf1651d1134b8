//! The operator's decision, pure: what was observed and the time in, what to do and the status out.

use jiff::{SignedDuration, Timestamp};

pub mod action;
pub mod names;
pub mod observed;

use action::Plan;
use observed::Observed;

/// Decides.
pub fn plan(observed: &Observed, _now: Timestamp) -> Plan {
    Plan {
        persist_first: false,
        actions: Vec::new(),
        status: observed.resource.status.clone().unwrap_or_default(),
        volumes: Vec::new(),
        events: Vec::new(),
        requeue: SignedDuration::from_secs(60),
    }
}
