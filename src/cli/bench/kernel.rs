//! The ciphers alone: from one key to another in one pass, beside two passes of others and a plain copy.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::contest::{Line, Report, middle};
use super::scratch::own_cpu;
use super::{KernelArgs, rust_crypto};
use crate::api::method::Method;
use crate::crypto::secret::SecretBytes;
use crate::crypto::{Backend, CtrStream, KeyLength, Transform};

const OPENSSL: &str = "OpenSSL, two passes";
const RUST_CRYPTO: &str = "RustCrypto, two passes";
const COPY: &str = "memcpy";
/// What fits into a second-level cache, and what fits into none.
const PLACES: [(&str, usize); 2] = [("in cache", 256 << 10), ("in memory", MEMORY)];
const MEMORY: usize = 64 << 20;
/// Time on a processor of one turn.
const TURN: Duration = Duration::from_millis(100);

/// Bytes between two looks at the clock.
const PATIENCE: usize = 2 << 20;

/// Somebody who can do the work.
struct Contestant<'a> {
    name: &'static str,
    ours: bool,
    /// Bytes a second of one turn with this buffer.
    turn: Turn<'a>,
}

type Turn<'a> = Box<dyn FnMut(&mut [u8]) -> Result<f64, String> + 'a>;

/// `bench kernel`.
pub fn kernel(args: &KernelArgs) -> Result<Report, String> {
    let methods = Method::ALL.into_iter().filter(|method| method.encrypts());
    measure(methods, args.rounds)
}

fn measure(methods: impl Iterator<Item = Method>, rounds: u32) -> Result<Report, String> {
    let mut results = Vec::new();
    let mut not_run = BTreeMap::new();
    for backend in Backend::ALL {
        if !backend.available() {
            not_run.insert(backend.name(), "this CPU does not have it".to_owned());
        }
    }
    for method in methods {
        for (place, bytes) in PLACES {
            let mut contestants = contestants(method, bytes, &mut not_run)?;
            let speeds = hold(&mut contestants, vec![0; bytes], rounds)?;
            for (contestant, speed) in contestants.iter().zip(&speeds) {
                let rivals = contestants.iter().zip(&speeds);
                let rivals = rivals.filter(|(rival, _)| contestant.ours && !rival.ours);
                results.push(Line {
                    name: format!("{method} {place}, {}", contestant.name).into(),
                    gb_per_second: speed / 1e9,
                    seconds: None,
                    cpu_seconds: 1e9 / speed,
                    ratio_to: rivals
                        .map(|(rival, theirs)| (rival.name, speed / theirs))
                        .collect(),
                    cpu_ratio_to: BTreeMap::new(),
                });
            }
        }
    }
    Ok(Report {
        bench: "kernel",
        files: 0,
        bytes: 0,
        rounds,
        results,
        not_run,
    })
}

/// Lets everybody have `rounds` turns, in changing order, with the same buffer. The medians.
fn hold(
    contestants: &mut [Contestant<'_>],
    mut data: Vec<u8>,
    rounds: u32,
) -> Result<Vec<f64>, String> {
    let count = contestants.len();
    let mut speeds = vec![Vec::new(); count];
    for round in 0..rounds as usize {
        for turn in 0..count {
            let at = (turn + round) % count;
            speeds[at].push((contestants[at].turn)(&mut data)?);
        }
    }
    Ok(speeds.into_iter().map(middle).collect())
}

fn contestants<'a>(
    method: Method,
    bytes: usize,
    not_run: &mut BTreeMap<&'static str, String>,
) -> Result<Vec<Contestant<'a>>, String> {
    let told = |error: KeyLength| error.to_string();
    let mut all = Vec::new();
    for backend in Backend::ALL {
        // Portable code is slower than any memory.
        if backend.available() && (backend != Backend::Portable || bytes < MEMORY) {
            let [old, new] = [7, 9].map(|key| stream(backend, method, key).map_err(told));
            let transform = Transform::new(old?, new?);
            let work = move |data: &mut [u8]| transform.apply(0, data);
            all.push(contestant(backend.name(), true, work));
        }
    }
    let source = vec![1; bytes];
    all.push(contestant(COPY, false, move |data: &mut [u8]| {
        data.copy_from_slice(std::hint::black_box(&source));
    }));
    let pair = [7, 9].map(|key| rust_crypto::Cipher::new(&vec![key; method.key_len()]));
    if let (true, [Some(old), Some(new)]) = (method != Method::Sm4Ctr, pair) {
        all.push(contestant(RUST_CRYPTO, false, move |data: &mut [u8]| {
            old.xor(7, data);
            new.xor(9, data);
        }));
    }
    match openssl(method, bytes) {
        Ok(_) => all.push(Contestant {
            name: OPENSSL,
            ours: false,
            turn: Box::new(move |_| Ok(openssl(method, bytes)? / 2.0)),
        }),
        Err(why) => {
            not_run.insert(OPENSSL, why);
        }
    }
    Ok(all)
}

fn stream(backend: Backend, method: Method, key: u8) -> Result<Option<CtrStream>, KeyLength> {
    let secret = SecretBytes::new(vec![key; method.key_len()]);
    CtrStream::on(backend, method, &secret, [key; 16])
}

/// Somebody whose turn is `work` on the same buffer again and again.
fn contestant<'a>(
    name: &'static str,
    ours: bool,
    mut work: impl FnMut(&mut [u8]) + 'a,
) -> Contestant<'a> {
    let turn = move |data: &mut [u8]| {
        work(data);
        let begun = own_cpu();
        let mut times = 0_u32;
        loop {
            // Asking for the time takes time too.
            for _ in 0..PATIENCE.div_ceil(data.len()) {
                work(std::hint::black_box(&mut *data));
                times += 1;
            }
            let took = own_cpu().saturating_sub(begun);
            if took >= TURN {
                return Ok(bytes_of(data, times) / took.as_secs_f64());
            }
        }
    };
    Contestant {
        name,
        ours,
        turn: Box::new(turn),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn bytes_of(data: &[u8], times: u32) -> f64 {
    data.len() as f64 * f64::from(times)
}

/// Bytes a second of one pass, by OpenSSL's own measurement of its time on a processor.
fn openssl(method: Method, bytes: usize) -> Result<f64, String> {
    let size = bytes.to_string();
    let done = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "1", "-bytes", &size, "-evp"])
        .arg(match method {
            Method::Aes128Ctr => "aes-128-ctr",
            Method::Aes192Ctr => "aes-192-ctr",
            Method::Aes256Ctr => "aes-256-ctr",
            Method::Sm4Ctr => "sm4-ctr",
            Method::Plaintext => "null",
        })
        .output()
        .map_err(|_| "the program openssl is not installed".to_owned())?;
    // One line for the result: +F:ALGORITHM'S NUMBER:NAME:BYTES A SECOND
    String::from_utf8_lossy(&done.stdout)
        .lines()
        .filter(|line| line.starts_with("+F:"))
        .find_map(|line| line.rsplit(':').next()?.trim().parse().ok())
        .filter(|speed: &f64| *speed > 0.0)
        .ok_or_else(|| format!("openssl speed does not measure {method}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_back_end_of_this_machine_is_measured() {
        let report = measure([Method::Aes256Ctr].into_iter(), 1).unwrap();
        for backend in Backend::ALL
            .into_iter()
            .filter(|backend| backend.available())
        {
            let name = format!("aes256-ctr in cache, {}", backend.name());
            let line = report
                .results
                .iter()
                .find(|line| line.name == name)
                .unwrap();
            assert!(line.gb_per_second > 0.0 && line.ratio_to[COPY] > 0.0);
        }
    }
}
