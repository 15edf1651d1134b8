//! The proof that nothing is lost, by enumeration: crashes at every step of every journey, under four models of what a
//! disk keeps, and crashes of the recovery; errors of every call; and bugs that the search must find.
//!
//! `./test proof` runs it whole; `TIKV_SECURITY_PROOF=soak` goes further. A short form runs with the unit tests.

mod check;
mod explore;
mod faults;
mod journey;
mod planted;

use explore::{Door, Effort, Found, explore};
use journey::{Journey, journeys};
use planted::{Bug, Planted};

use crate::fs::Fs;
use crate::fs::tests::sim::{Fault, SimFs};

fn seed() -> u64 {
    std::env::var("TIKV_SECURITY_TEST_SEED").map_or(20_261_123, |seed| seed.parse().unwrap())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn direct(sim: &SimFs) -> Box<dyn Fs> {
    Box::new(sim.clone())
}

fn effort() -> Effort {
    Effort {
        exhaustive: 6,
        draws: 8,
        second: 1,
        third: 1,
        depth: 1,
        threads: threads(),
        seed: seed(),
    }
}

fn assert_none(found: &Found) {
    assert!(found.violations.is_empty(), "{:#?}", found.violations);
}

#[test]
fn a_crash_after_any_step_loses_nothing() {
    for journey in journeys() {
        assert_none(&explore(&journey, &effort(), &direct));
    }
}

#[test]
fn a_call_that_fails_loses_nothing() {
    for journey in journeys() {
        assert_none(&faults::faults(&journey, &faults::FAULTS, &direct));
    }
}

/// Whether the search finds a planted bug.
fn catches(journeys: &[Journey], bug: Bug) -> Option<String> {
    let door = move |sim: &SimFs| -> Box<dyn Fs> { Box::new(Planted::new(sim, bug)) };
    let door: &Door = &door;
    let mut found = journeys.iter().map(|journey| {
        if bug == Bug::FlushTriedAgain {
            faults::faults(journey, &[Fault::LostFlush], door)
        } else {
            explore(journey, &effort(), door)
        }
    });
    found.find_map(|found| found.violations.into_iter().next())
}

/// Every planted bug that was found, with how; a bug that was not has no words.
fn planted() -> Vec<(Bug, Option<String>)> {
    let journeys = journeys();
    planted::ALL
        .into_iter()
        .map(|bug| (bug, catches(&journeys, bug)))
        .collect()
}

#[test]
fn planted_bugs_are_caught() {
    let missed: Vec<Bug> = planted()
        .into_iter()
        .filter(|(_, how)| how.is_none())
        .map(|(bug, _)| bug)
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
#[ignore = "minutes; ./test proof runs it"]
fn proof() {
    let soak = std::env::var("TIKV_SECURITY_PROOF").is_ok_and(|effort| effort == "soak");
    let effort = Effort {
        exhaustive: 12,
        draws: if soak { 4096 } else { 256 },
        second: if soak { 1 } else { 2 },
        third: if soak { 16 } else { 32 },
        depth: 3,
        ..effort()
    };
    println!("seed {}, {} threads", effort.seed, effort.threads);
    let (mut images, mut violations) = (0, 0);
    for journey in journeys() {
        for (what, found) in [
            ("crashes", explore(&journey, &effort, &direct)),
            ("errors", faults::faults(&journey, &faults::FAULTS, &direct)),
        ] {
            let count = found.violations.len();
            println!(
                "{}, {what}: {} images, {count} violations",
                journey.name, found.images
            );
            found.violations.iter().for_each(|one| println!("  {one}"));
            images += found.images;
            violations += count;
        }
    }
    let planted = planted();
    for (bug, how) in &planted {
        println!(
            "planted {bug:?}: {}",
            how.as_deref().unwrap_or("NOT CAUGHT")
        );
    }
    let caught = planted.iter().filter(|(_, how)| how.is_some()).count();
    println!(
        "crash images: {images}, violations: {violations}, planted bugs caught: {caught} of {}",
        planted.len()
    );
    assert!(violations == 0 && caught == planted.len());
}
