//! Which processes must be younger than a step. PD reads trust once, at its start; TiKV's server reads it with each new
//! certificate, but a channel that TiKV opened keeps what it was made with (facts, TLS §2, §2.3).
//!
//! By the pods' age and not by a mark in the template: a pod that came back by itself need not restart once more, and a cluster
//! whose CA is never rotated never restarts for it.

use std::ops::Range;

use jiff::Timestamp;

use super::{authority, memory};
use crate::api::v1alpha1::CaStep;
use crate::plan::names::{Part, authority_secret, next_authority_secret};
use crate::plan::observed::Observed;

/// Why such a pod restarts.
pub const RESTART: &str = "it has loaded its certificates and trust before the CA changed";

/// Pods that must restart for the rotation of the CA, by the time at which they were made.
#[derive(Clone, Debug)]
pub struct Restarts {
    tikv: Stale,
    pd: Stale,
    /// TiDB, and what others restart, where they are named.
    others: Vec<Stale>,
}

#[derive(Clone, Debug)]
struct Stale {
    secret: String,
    made: Range<Timestamp>,
}

impl Restarts {
    /// For the step that is under way and has reached every port.
    pub fn of(observed: &Observed) -> Self {
        let none = Timestamp::MIN..Timestamp::MIN;
        let stale = |part: Part| Stale {
            secret: part.secret(observed.name()),
            made: none.clone(),
        };
        let (mut tikv, mut pd) = (stale(Part::Tikv), stale(Part::Pd));
        // TiDB restarts for each new certificate of its MySQL port (`plan/mysql`), and has all of the step then. Whether TiFlash and TiCDC
        // would need it less often than this is not known.
        let (mut tidb, mut guests) = (none.clone(), none.clone());
        let settled = memory(observed).and_then(|memory| Some((memory.settled_at?, memory)));
        if let Some((settled, memory)) = settled {
            let before = Timestamp::MIN..settled;
            let hurried = memory.hurried();
            let serial = |name: &str| authority(observed, name).map(|ca| &ca.anchor.serial);
            let [present, next] = [authority_secret, next_authority_secret]
                .map(|name| serial(&name(observed.name())));
            // Where the leaves stayed, no port could show that it has read what came beside them.
            let stayed = stayed(observed);
            match memory.step {
                // Once is enough, also when it came back to this step for a store that was stranded.
                CaStep::Bundle => {
                    pd.made = Timestamp::MIN..memory.published_at.unwrap_or(settled);
                    if stayed {
                        tikv.made = pd.made.clone();
                        tidb = pd.made.clone();
                    }
                    guests = pd.made.clone();
                }
                // Promoted, and not written down yet: what settled is the step before.
                CaStep::Leaves if present == next => {}
                // In an emergency the old CA goes first: stores that keep it in an open channel restart then.
                CaStep::Leaves if hurried => {}
                CaStep::Leaves | CaStep::Return => {
                    tikv.made = before.clone();
                    guests = before;
                }
                CaStep::Drop => {
                    pd.made = before.clone();
                    guests = before.clone();
                    if hurried {
                        tikv.made = before;
                    }
                }
                CaStep::Withdraw => {
                    pd.made = memory.started_at..settled;
                    if stayed {
                        tikv.made = pd.made.clone();
                        tidb = pd.made.clone();
                    }
                    guests = pd.made.clone();
                }
            }
        }
        let made = |part: &Part| match part {
            Part::Tidb => Some(tidb.clone()),
            Part::Tiflash | Part::Ticdc => Some(guests.clone()),
            _ => None,
        };
        let others = observed.parts().into_iter().filter_map(|part| {
            let made = made(&part)?;
            let secret = part.secret(observed.name());
            Some(Stale { secret, made })
        });
        let others = others.collect();
        Self { tikv, pd, others }
    }

    /// Whether a pod that mounts this Secret for TLS and was made then must restart.
    pub fn must(&self, secret: Option<&str>, created: Timestamp) -> bool {
        let stale = |one: &Stale| secret == Some(&one.secret) && one.made.contains(&created);
        stale(&self.tikv) || stale(&self.pd) || self.others.iter().any(stale)
    }
}

/// Whether the leaves of the present CA stay when another one comes beside it.
fn stayed(observed: &Observed) -> bool {
    authority(observed, &authority_secret(observed.name())).is_some_and(|ca| !ca.key_is_here())
}
