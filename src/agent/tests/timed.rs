//! Runs that are put down when their time is over: a crash at every call.

use std::path::Path;
use std::time::Instant;

use super::world::{
    Contents, DIR, assert_finished, assert_readable, keys, master_key, plaintext, small_batches,
    tikv_may_start, to,
};
use crate::agent::error::StoreError;
use crate::agent::limits::Limits;
use crate::agent::observer::Silent;
use crate::agent::plan::Target;
use crate::agent::store::{Outcome, Store};
use crate::api::desired::Verification;
use crate::api::method::Method;
use crate::fs::tests::sim::{SimFs, Survival};

fn run(fs: &SimFs, target: &Target, limits: Limits) -> Result<Outcome, StoreError> {
    let key = master_key();
    let store = Store::open(fs, &key, Path::new(DIR), Some(DIR), None)?.within(limits);
    let lock = store.lock()?;
    store.reencrypt(
        target,
        Verification::Full,
        1_700_000_000,
        &Silent,
        lock.as_ref(),
    )
}

/// Runs until nothing is left, and sees that TiKV can start after each of them.
fn run_to_the_end(
    fs: &SimFs,
    contents: &Contents,
    target: &Target,
    limits: Limits,
) -> Result<u32, StoreError> {
    for runs in 1.. {
        let outcome = run(fs, target, limits)?;
        assert!(tikv_may_start(fs));
        assert_readable(fs, contents, "between two runs");
        if !outcome.time_is_over {
            return Ok(runs);
        }
    }
    unreachable!("each run does at least one batch")
}

fn crash_at_every_call(start: &(SimFs, Contents), target: &Target, limits: Limits) {
    let (start, contents) = start;
    let old_keys = if target.not_before == 0 {
        Vec::new()
    } else {
        keys(start)
    };
    for call in 0.. {
        let fs = start.image(Survival::Nothing);
        fs.crash_after(call);
        let finished = run_to_the_end(&fs, contents, target, limits).is_ok();
        for survival in [
            Survival::Everything,
            Survival::Nothing,
            Survival::NamesOnly,
            Survival::Any(call * 2 + 1),
        ] {
            let context = format!("crash after call {call}, {survival:?}");
            let image = fs.image(survival);
            if tikv_may_start(&image) {
                assert_readable(&image, contents, &context);
            }
            run_to_the_end(&image, contents, target, limits)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            let settled = image.image(Survival::Nothing);
            assert_finished(&settled, contents, target, &old_keys, &context);
        }
        if finished {
            return;
        }
    }
}

#[test]
fn a_run_whose_time_is_over_after_each_batch() {
    let target = Target {
        not_before: 0,
        ..to(Method::Aes256Ctr)
    };
    let limits = Limits {
        until: Some(Instant::now()),
        ..small_batches(2)
    };
    let start = plaintext();
    let fs = start.0.image(Survival::Nothing);
    let runs = run_to_the_end(&fs, &start.1, &target, limits).unwrap();
    assert_eq!(runs, 2, "four files that are encrypted, two a batch");
    crash_at_every_call(&start, &target, limits);
}
