//! Holds every back end of this CPU against the portable one, which the tests of the crate hold against OpenSSL.
//! `ci/aarch64` builds it for ARMv8 and runs it.

#[allow(dead_code)]
#[path = "../../../src/api/method.rs"]
mod method;
/// Of the crate: what the ciphers name.
mod api {
    pub(crate) use super::method;
}
mod crypto;
#[path = "../../../src/crypto/tests/random.rs"]
mod random;

use std::process::ExitCode;

use api::method::Method;
use crypto::secret::SecretBytes;
use crypto::{Backend, CtrStream, Transform};
use random::Random;

const ROUNDS: usize = 10_000;
const LONGEST: usize = 1100;

fn main() -> ExitCode {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or(0x5eed));
    println!("seed {}", random.0);
    let mut tried = 0;
    for backend in Backend::ALL {
        let lacks: Vec<_> = backend.missing().collect();
        if !lacks.is_empty() {
            println!(
                "not run: {}: this CPU lacks {}",
                backend.name(),
                lacks.join(", ")
            );
        } else if backend != Backend::Portable {
            for case in 0..ROUNDS {
                if let Err(what) = compare(backend, &mut random) {
                    println!(
                        "{} differs from portable in case {case}: {what}",
                        backend.name()
                    );
                    return ExitCode::FAILURE;
                }
            }
            println!(
                "{}: {ROUNDS} random cases as the portable code has them",
                backend.name()
            );
            tried += 1;
        }
    }
    if published() && tried > 0 {
        ExitCode::SUCCESS
    } else {
        println!("nothing was compared, or the published vector differs");
        ExitCode::FAILURE
    }
}

/// One change of the key, at any offset and of any length.
fn compare(backend: Backend, random: &mut Random) -> Result<(), String> {
    let methods = [0, 0].map(|_| Method::ALL[random.below(5)]);
    let keys = methods.map(|method| random.bytes(method.key_len()));
    let ivs = [random.iv(), random.iv()];
    let offset = random.below(64);
    let data = random.bytes(offset % 17 + if offset == 0 { LONGEST } else { 16 * offset });
    let on = |backend| {
        let [old, new] = [0, 1].map(|side| {
            let key = SecretBytes::new(keys[side].clone());
            CtrStream::on(backend, methods[side], &key, ivs[side]).expect("keys fit their methods")
        });
        let mut data = data.clone();
        Transform::new(old, new).apply(offset as u64, &mut data);
        data
    };
    if on(backend) == on(Backend::Portable) {
        return Ok(());
    }
    let [from, to] = methods;
    Err(format!("{from} to {to}, {} bytes at {offset}", data.len()))
}

/// FIPS 197 appendix C.3 on every back end.
fn published() -> bool {
    let expected = 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089_u128.to_be_bytes();
    let counter = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
    let able = Backend::ALL
        .into_iter()
        .filter(|backend| backend.available());
    able.into_iter().all(|backend| {
        let key = SecretBytes::new((0..32).collect());
        let stream = CtrStream::on(backend, Method::Aes256Ctr, &key, counter);
        let mut block = [0; 16];
        Transform::new(None, stream.expect("32 bytes fit")).apply(0, &mut block);
        block == expected
    })
}
