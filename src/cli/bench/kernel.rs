//! The ciphers alone: from one key to another in one pass, beside two passes of others and a plain copy.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use super::KernelArgs;
use super::contest::{Line, Report};
use crate::api::method::Method;
use crate::crypto::secret::SecretBytes;
use crate::crypto::{Backend, CtrStream, KeyLength, Transform};

const OPENSSL: &str = "OpenSSL, two passes";
const RUST_CRYPTO: &str = "RustCrypto, two passes";
const COPY: &str = "memcpy";
/// What fits into a second-level cache, and what fits into none.
const PLACES: [(&str, usize); 2] = [("in cache", 256 << 10), ("in memory", MEMORY)];
const MEMORY: usize = 64 << 20;
/// Time of one turn.
const TURN: Duration = Duration::from_millis(100);

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
            let rivals = rivals(method, bytes, rounds, &mut not_run)?;
            let able = |backend: &Backend| {
                // Portable code is slower than any memory.
                backend.available() && (*backend != Backend::Portable || bytes < MEMORY)
            };
            for backend in Backend::ALL.into_iter().filter(able) {
                let transform = transform(backend, method).map_err(|error| error.to_string())?;
                let speed = speed(bytes, rounds, |data| transform.apply(0, data));
                let ratios = rivals
                    .iter()
                    .map(|(name, rival)| (*name, speed / rival))
                    .collect();
                results.push(line(
                    format!("{method} {place}, {}", backend.name()),
                    speed,
                    ratios,
                ));
            }
            for (name, rival) in rivals {
                results.push(line(
                    format!("{method} {place}, {name}"),
                    rival,
                    BTreeMap::new(),
                ));
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

/// Bytes a second of everybody else.
fn rivals(
    method: Method,
    bytes: usize,
    rounds: u32,
    not_run: &mut BTreeMap<&'static str, String>,
) -> Result<BTreeMap<&'static str, f64>, String> {
    let mut rivals = BTreeMap::new();
    let source = vec![1; bytes];
    rivals.insert(
        COPY,
        speed(bytes, rounds, |data| {
            data.copy_from_slice(std::hint::black_box(&source));
        }),
    );
    if method != Method::Sm4Ctr {
        // The portable back end is RustCrypto's `aes`, which uses the CPU's instructions where it finds them.
        let [old, new] = [7, 9].map(|key| stream(Backend::Portable, method, key));
        let old = Transform::new(old.map_err(|error| error.to_string())?, None);
        let new = Transform::new(new.map_err(|error| error.to_string())?, None);
        rivals.insert(
            RUST_CRYPTO,
            speed(bytes, rounds, |data| {
                old.apply(0, data);
                new.apply(0, data);
            }),
        );
    }
    match openssl(method, bytes) {
        Ok(once) => {
            rivals.insert(OPENSSL, once / 2.0);
        }
        Err(why) => {
            not_run.insert(OPENSSL, why);
        }
    }
    Ok(rivals)
}

fn transform(backend: Backend, method: Method) -> Result<Transform, KeyLength> {
    Ok(Transform::new(
        stream(backend, method, 7)?,
        stream(backend, method, 9)?,
    ))
}

fn stream(backend: Backend, method: Method, key: u8) -> Result<Option<CtrStream>, KeyLength> {
    let secret = SecretBytes::new(vec![key; method.key_len()]);
    CtrStream::on(backend, method, &secret, [key; 16])
}

/// Bytes a second: the median of the turns, each of which goes over the same buffer again and again.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn speed(bytes: usize, rounds: u32, mut work: impl FnMut(&mut [u8])) -> f64 {
    let mut data = vec![0; bytes];
    work(&mut data);
    let mut turns: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let mut times = 0_u32;
            while times == 0 || begun.elapsed() < TURN {
                work(std::hint::black_box(&mut data));
                times += 1;
            }
            bytes as f64 * f64::from(times) / begun.elapsed().as_secs_f64()
        })
        .collect();
    turns.sort_by(f64::total_cmp);
    turns.get(turns.len() / 2).copied().unwrap_or(0.0)
}

/// Bytes a second of one pass, by OpenSSL's own measurement.
fn openssl(method: Method, bytes: usize) -> Result<f64, String> {
    let size = bytes.to_string();
    let done = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "1", "-bytes", &size, "-evp"])
        .arg(method.to_string())
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

/// All of this is one thread's work: time and time on a processor are the same. Both are of 10^9 bytes.
fn line(name: String, speed: f64, ratio_to: BTreeMap<&'static str, f64>) -> Line {
    let seconds = 1e9 / speed;
    Line {
        name: name.into(),
        gb_per_second: speed / 1e9,
        seconds,
        cpu_seconds: seconds,
        ratio_to,
        cpu_ratio_to: BTreeMap::new(),
    }
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
