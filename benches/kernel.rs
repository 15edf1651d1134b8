//! The ciphers from one key to another: one pass of each back end, two passes of OpenSSL and of RustCrypto, and `memcpy`.

mod processor;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use tikv_security::api::method::Method;
use tikv_security::cli::bench::rust_crypto;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::crypto::{Backend, CtrStream, Transform};

use processor::ProcessorTime;

const KEYS: [u8; 2] = [7, 9];
/// What fits into a second-level cache, and what fits into none.
const PLACES: [(&str, usize); 2] = [("in cache", 256 << 10), ("in memory", MEMORY)];
const MEMORY: usize = 64 << 20;

fn kernel(criterion: &mut Criterion<ProcessorTime>) {
    for method in Method::ALL.into_iter().filter(|method| method.encrypts()) {
        for (place, bytes) in PLACES {
            let mut group = criterion.benchmark_group(format!("{method} {place}"));
            group.throughput(Throughput::Bytes(bytes as u64));
            for (name, mut work) in contestants(method, bytes) {
                let mut data = vec![1; bytes];
                group.bench_function(name, |bencher| bencher.iter(|| work(black_box(&mut data))));
            }
            group.finish();
        }
    }
}

type Work = Box<dyn FnMut(&mut [u8])>;

fn contestants(method: Method, bytes: usize) -> Vec<(&'static str, Work)> {
    let mut all: Vec<(&'static str, Work)> = Vec::new();
    for backend in Backend::ALL {
        if let [Some(old), Some(new)] = KEYS.map(|key| stream(backend, method, key)) {
            let transform = Transform::new(Some(old), Some(new));
            all.push((
                backend.name(),
                Box::new(move |data| transform.apply(0, data)),
            ));
        }
    }
    if let [Some(mut old), Some(mut new)] = KEYS.map(|key| openssl(method, key)) {
        let work = move |data: &mut [u8]| {
            for pass in [&mut old, &mut new] {
                pass.cipher_update_inplace(data, data.len())
                    .expect("a stream cipher takes any length");
            }
        };
        all.push(("OpenSSL, two passes", Box::new(work)));
    }
    let pair = KEYS.map(|key| rust_crypto::Cipher::new(&vec![key; method.key_len()]));
    if let (true, [Some(old), Some(new)]) = (method != Method::Sm4Ctr, pair) {
        let work = move |data: &mut [u8]| {
            old.xor(7, data);
            new.xor(9, data);
        };
        all.push(("RustCrypto, two passes", Box::new(work)));
    }
    // What is slower than any memory is measured once.
    let slow = |name: &str| {
        name == Backend::Portable.name() || method == Method::Sm4Ctr && name.starts_with("OpenSSL")
    };
    all.retain(|(name, _)| bytes < MEMORY || !slow(name));
    let source = vec![1; bytes];
    let copy = move |data: &mut [u8]| data.copy_from_slice(black_box(&source));
    all.push(("memcpy", Box::new(copy)));
    all
}

/// `None` where this CPU does not have the back end.
fn stream(backend: Backend, method: Method, key: u8) -> Option<CtrStream> {
    let secret = SecretBytes::new(vec![key; method.key_len()]);
    CtrStream::on(backend, method, &secret, [key; 16]).expect("a key of the right length")
}

/// `None` for plaintext.
fn openssl(method: Method, key: u8) -> Option<CipherCtx> {
    let cipher = match method {
        Method::Aes128Ctr => Cipher::aes_128_ctr(),
        Method::Aes192Ctr => Cipher::aes_192_ctr(),
        Method::Aes256Ctr => Cipher::aes_256_ctr(),
        Method::Sm4Ctr => Cipher::sm4_ctr(),
        Method::Plaintext => return None,
    };
    let mut context = CipherCtx::new().ok()?;
    let key_bytes = vec![key; method.key_len()];
    context
        .encrypt_init(Some(cipher), Some(&key_bytes), Some(&[key; 16]))
        .ok()?;
    Some(context)
}

criterion_group! {
    name = benches;
    config = processor::short();
    targets = kernel
}
criterion_main!(benches);
