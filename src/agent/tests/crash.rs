//! A crash at every call, and at every call of the recovery from it: by enumeration, not by luck.

use super::world::{
    Contents, assert_finished, assert_readable, encrypted, keys, plaintext, run, tikv_may_start, to,
};
use crate::agent::plan::Target;
use crate::api::method::Method;
use crate::fs::tests::sim::{SimFs, Survival};

/// Partial survivals that are tried for each crash.
const DRAWS: u64 = 4;

/// Counts what was tried.
#[derive(Default)]
struct Tried {
    images: u64,
}

fn survivals(seed: u64) -> Vec<Survival> {
    let mut all = vec![Survival::Everything, Survival::Nothing, Survival::NamesOnly];
    all.extend(
        (0..DRAWS)
            .map(|draw| Survival::Any(seed.wrapping_mul(1_000_003).wrapping_add(draw * 2 + 1))),
    );
    all
}

/// Cuts the run at every call, recovers, and cuts the recovery too, `depth` times.
fn enumerate(
    start: &SimFs,
    contents: &Contents,
    target: &Target,
    depth: u32,
    seed: u64,
    tried: &mut Tried,
) {
    let old_keys = keys(&start.image(Survival::Everything));
    descend(start, contents, target, &old_keys, depth, seed, "", tried);
}

#[allow(clippy::too_many_arguments)]
fn descend(
    start: &SimFs,
    contents: &Contents,
    target: &Target,
    old_keys: &[u64],
    depth: u32,
    seed: u64,
    context: &str,
    tried: &mut Tried,
) {
    for call in 0.. {
        let fs = start.image(Survival::Nothing);
        fs.crash_after(call);
        let finished = run(&fs, target).is_ok();
        for survival in survivals(seed.wrapping_add(call)) {
            let image = fs.image(survival);
            let context = format!("{context} crash after call {call}, {survival:?};");
            tried.images += 1;
            // The one thing that must hold at any moment: where TiKV may start, it reads what it wrote.
            if tikv_may_start(&image) {
                assert_readable(&image, contents, &context);
            }
            let again = image.image(Survival::Nothing);
            let repaired = run(&again, target);
            assert!(
                repaired.is_ok(),
                "{context} the next run fails: {:?}",
                repaired.err()
            );
            let settled = again.image(Survival::Nothing);
            assert_finished(&settled, contents, target, old_keys, &context);
            // One draw is enough to go deeper from: what it leaves behind is drawn anew at every call below.
            let deeper = !matches!(survival, Survival::Any(seed) if seed % 8 != 1);
            if depth > 1 && !finished && deeper {
                descend(
                    &image,
                    contents,
                    target,
                    old_keys,
                    depth - 1,
                    seed ^ call,
                    &context,
                    tried,
                );
            }
        }
        if finished {
            return;
        }
    }
}

fn journey(name: &str, start: &(SimFs, Contents), target: &Target, depth: u32) {
    let seed =
        std::env::var("TIKV_SECURITY_TEST_SEED").map_or(20_260_823, |seed| seed.parse().unwrap());
    let mut tried = Tried::default();
    enumerate(&start.0, &start.1, target, depth, seed, &mut tried);
    println!(
        "{name}: {} crash images, 0 violations, seed {seed}",
        tried.images
    );
}

#[test]
fn encrypting_a_plaintext_store() {
    journey(
        "plaintext to aes256-ctr",
        &plaintext(),
        &to(Method::Aes256Ctr),
        1,
    );
}

#[test]
fn changing_the_data_key() {
    journey(
        "new data key",
        &encrypted(Method::Aes256Ctr),
        &to(Method::Aes256Ctr),
        1,
    );
}

#[test]
fn changing_the_method() {
    journey(
        "aes128-ctr to sm4-ctr",
        &encrypted(Method::Aes128Ctr),
        &to(Method::Sm4Ctr),
        1,
    );
}

#[test]
fn decrypting() {
    journey(
        "aes256-ctr to plaintext",
        &encrypted(Method::Aes256Ctr),
        &to(Method::Plaintext),
        1,
    );
}

#[test]
fn a_crash_in_the_recovery_from_a_crash() {
    journey(
        "depth 2",
        &encrypted(Method::Aes256Ctr),
        &to(Method::Aes128Ctr),
        2,
    );
}
