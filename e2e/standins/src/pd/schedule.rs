//! Who leads what. Raft would elect; here the leader of PD appoints, and takes as long as an election.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Heartbeat, State, age};
use crate::now_ms;

/// A store that was heard within so many milliseconds can be given a region.
const FRESH: u64 = 3000;
/// A leader that is silent for so long has lost its regions; each of them up to as much later again, as an election
/// time-out is between 10 and 20 seconds (facts, TLS §9.1).
const ELECTION: u64 = 10_000;

/// When leaders were moved last, in milliseconds since 1970.
#[derive(Default)]
pub struct Pace {
    evicted: u64,
    balanced: u64,
}

// Milliseconds between two moves.
const EVICTION: u64 = 400;
const BALANCE: u64 = 2000;

impl State {
    /// Takes a heartbeat; answers the store's id and whether anything but the time changed.
    pub fn hear(&mut self, heartbeat: &Heartbeat, heard: &BTreeMap<u64, u64>) -> (u64, bool) {
        let known = self
            .stores
            .iter()
            .find(|(_, store)| store.address == heartbeat.address)
            .map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.stores.keys().max().map_or(4, |last| last + 1));
        let old = self.stores.get(&id).cloned();
        let changed = old.as_ref().is_none_or(|old| {
            old.started != heartbeat.started || old.stopping != heartbeat.stopping
        });
        if old.is_some_and(|old| old.started != heartbeat.started) {
            // What it led before has no leader until the others notice.
            let last = heard.get(&id).copied().unwrap_or_else(now_ms);
            for (index, region) in self
                .regions
                .iter_mut()
                .enumerate()
                .filter(|(_, region)| region.leader == id)
            {
                region.leader = 0;
                region.vacant_until = last + patience(index);
            }
        }
        self.stores.insert(id, heartbeat.clone());
        (id, changed)
    }

    /// Appoints leaders where there is none any more, and moves some: away from stores that are to lead nothing, and
    /// for balance.
    pub fn appoint(&mut self, heard: &BTreeMap<u64, u64>, own_index: u64, pace: &mut Pace) -> bool {
        let fresh: BTreeSet<u64> = self
            .stores
            .keys()
            .copied()
            .filter(|id| age(heard, *id) <= FRESH)
            .collect();
        if 2 * fresh.len() <= self.replicas {
            return false;
        }
        let stopping = self
            .stores
            .iter()
            .find(|(id, store)| store.stopping && fresh.contains(id))
            .map(|(id, _)| *id);
        let mut unwilling = self.evicted.clone();
        unwilling.extend(stopping);
        let willing: BTreeSet<u64> = fresh.difference(&unwilling).copied().collect();
        let candidates = if willing.is_empty() {
            fresh.clone()
        } else {
            willing
        };
        self.elect(&candidates, heard, own_index)
            | self.transfer(&candidates, &fresh, own_index, pace)
    }

    /// Regions led by a store.
    pub fn led_by(&self, store: u64) -> usize {
        self.regions
            .iter()
            .filter(|region| region.leader == store)
            .count()
    }

    fn elect(
        &mut self,
        candidates: &BTreeSet<u64>,
        heard: &BTreeMap<u64, u64>,
        own_index: u64,
    ) -> bool {
        let mut changed = false;
        for index in 0..self.regions.len() {
            let region = &self.regions[index];
            let lost = match region.leader {
                0 => now_ms() >= region.vacant_until,
                leader => age(heard, leader) > patience(index),
            };
            if lost {
                changed |= self.move_to(index, self.least(candidates), own_index);
            }
        }
        changed
    }

    fn transfer(
        &mut self,
        candidates: &BTreeSet<u64>,
        fresh: &BTreeSet<u64>,
        own_index: u64,
        pace: &mut Pace,
    ) -> bool {
        let now = now_ms();
        let led = |region: &super::state::RegionInfo| {
            region.leader != 0 && fresh.contains(&region.leader)
        };
        let misplaced = self
            .regions
            .iter()
            .position(|region| led(region) && !candidates.contains(&region.leader));
        if let Some(index) = misplaced {
            if now < pace.evicted + EVICTION {
                return false;
            }
            pace.evicted = now;
            return self.move_to(index, self.least(candidates), own_index);
        }
        let most = candidates.iter().copied().max_by_key(|id| self.led_by(*id));
        let (Some(most), Some(least)) = (most, self.least(candidates)) else {
            return false;
        };
        if self.led_by(most) <= self.led_by(least) + 1 || now < pace.balanced + BALANCE {
            return false;
        }
        pace.balanced = now;
        let index = self
            .regions
            .iter()
            .position(|region| region.leader == most)
            .unwrap_or(0);
        self.move_to(index, Some(least), own_index)
    }

    fn least(&self, candidates: &BTreeSet<u64>) -> Option<u64> {
        candidates
            .iter()
            .copied()
            .min_by_key(|id| (self.led_by(*id), *id))
    }

    fn move_to(&mut self, index: usize, store: Option<u64>, own_index: u64) -> bool {
        let Some(leader) = store else { return false };
        let last = self
            .regions
            .iter()
            .map(|region| region.term)
            .max()
            .unwrap_or(0);
        let region = &mut self.regions[index];
        (region.leader, region.term, region.vacant_until) =
            (leader, (last / 8 + 1) * 8 + own_index, 0);
        true
    }
}

fn patience(index: usize) -> u64 {
    // Spread evenly, and not in the order of the regions.
    ELECTION + (index as u64 * 5 % 12) * ELECTION / 12
}

#[cfg(test)]
mod tests {
    use super::{ELECTION, Pace};
    use crate::now_ms;
    use crate::pd::state::{Heartbeat, State};
    use std::collections::BTreeMap;

    fn store(name: &str) -> Heartbeat {
        let address = name.to_owned();
        Heartbeat {
            status_address: address.clone(),
            address,
            started: 1,
            leaders: 0,
            busy: false,
            stopping: false,
        }
    }

    fn cluster() -> (State, BTreeMap<u64, u64>) {
        let mut state = State::new(BTreeMap::new(), 3);
        let mut heard = BTreeMap::new();
        for name in ["a", "b", "c"] {
            let (id, _) = state.hear(&store(name), &heard);
            heard.insert(id, now_ms());
        }
        (state, heard)
    }

    #[test]
    fn a_store_that_restarts_loses_its_regions_and_an_election_takes_its_time() {
        let (mut state, heard) = cluster();
        assert!(state.appoint(&heard, 0, &mut Pace::default()));
        let led = state.led_by(4);
        assert_eq!(led, 4);
        state.hear(
            &Heartbeat {
                started: 2,
                ..store("a")
            },
            &heard,
        );
        assert!(!state.appoint(
            &heard,
            0,
            &mut Pace {
                balanced: u64::MAX / 2,
                ..Pace::default()
            }
        ));
        assert_eq!(state.led_by(0), led);
        assert!(
            state
                .regions
                .iter()
                .filter(|region| region.leader == 0)
                .all(|region| {
                    (ELECTION..=2 * ELECTION).contains(&(region.vacant_until - heard[&4]))
                })
        );
    }

    #[test]
    fn an_evicted_store_gives_all_its_regions_away() {
        let (mut state, heard) = cluster();
        state.appoint(&heard, 0, &mut Pace::default());
        state.evicted.insert(5);
        while state.led_by(5) > 0 {
            assert!(state.appoint(&heard, 0, &mut Pace::default()));
        }
    }
}
