//! Every call of a run fails once, in every way; then the run is tried again, with and without a restart of the machine.

use std::io::ErrorKind;

use super::check;
use super::explore::{Door, Found};
use super::journey::{Journey, run};
use crate::fs::tests::sim::{Fault, SimFs, Survival};

/// EIO, ENOSPC, EDQUOT, EROFS, EINTR, a flush that loses what it failed to write, and a short read.
pub const FAULTS: [Fault; 7] = [
    Fault::Error(ErrorKind::Other),
    Fault::Error(ErrorKind::StorageFull),
    Fault::Error(ErrorKind::QuotaExceeded),
    Fault::Error(ErrorKind::ReadOnlyFilesystem),
    Fault::Error(ErrorKind::Interrupted),
    Fault::LostFlush,
    Fault::ShortRead,
];

/// Lets each call of the journey's first run fail.
pub fn faults(journey: &Journey, faults: &[Fault], door: &Door) -> Found {
    let mut found = Found::default();
    for fault in faults {
        for call in 0.. {
            let fs = SimFs::of(journey.start.clone());
            fs.fail(call, *fault);
            let first = run(door(&fs).as_ref(), &journey.first, journey.limits);
            if !fs.failed() {
                // The run has fewer calls.
                break;
            }
            let context = format!("{}: call {call} fails by {fault:?}", journey.name);
            if first.is_ok() {
                try_again(
                    journey,
                    &fs,
                    door,
                    &format!("{context} and is survived"),
                    &mut found,
                );
                continue;
            }
            for survival in [
                Survival::Killed,
                Survival::Nothing,
                Survival::Everything,
                Survival::NamesOnly,
                Survival::Any(call),
            ] {
                let after = fs.image(survival);
                let context = format!("{context}, restart with {survival:?}");
                if let Err(why) = check::image(journey, &after.state()) {
                    found.violations.push(format!("{context}: {why}"));
                }
                try_again(journey, &after, door, &context, &mut found);
            }
            try_again(
                journey,
                &fs,
                door,
                &format!("{context}, no restart"),
                &mut found,
            );
        }
    }
    found
}

fn try_again(journey: &Journey, fs: &SimFs, door: &Door, context: &str, found: &mut Found) {
    found.images += 1;
    let again = run(door(fs).as_ref(), &journey.then, journey.limits)
        .map_err(|error| format!("the next run fails: {error}"))
        .and_then(|()| check::recovered(journey, &fs.state().image(Survival::Nothing)));
    if let Err(why) = again {
        found.violations.push(format!("{context}: {why}"));
    }
}
