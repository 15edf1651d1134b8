//! Every back end against the published vectors of the TiKV facts (§8.1) and against OpenSSL.

mod random;

use openssl::symm::{Cipher, Crypter, Mode};

use random::Random;

use super::*;
use crate::api::method::Method;
use crate::crypto::secret::SecretBytes;

/// Method, IV by its letter in the facts, offset, key stream.
const VECTORS: &[(&str, char, u64, &str)] = &[
    (
        "aes128-ctr",
        'A',
        0,
        "69c4e0d86a7b0430d8cdb78070b4c55add78873daa5d87f8e497bef5411ece32",
    ),
    ("aes128-ctr", 'A', 5, "7b0430d8cdb78070b4c55add78873daa"),
    ("aes128-ctr", 'A', 4096, "336184aba820a1ccac169be501d0c96e"),
    (
        "aes128-ctr",
        'A',
        68_719_476_743,
        "2e28096464626a3c4980ee2d3b2b8239",
    ),
    (
        "aes128-ctr",
        'C',
        0,
        "c54a302f642c70674dd018d2580282977e1c1530745987a52bf39cf230cc629617cc3eed19e116bd4a042ac83dc428a67de9e1b54d9a8095f78b2ebab23dcf35",
    ),
    ("aes128-ctr", 'C', 40, "4a042ac83dc428a6"),
    (
        "aes128-ctr",
        'W',
        0,
        "b6b5c2d82d8bd40fcf4ed8f4ae6e97ee3c441f32ce07822364d7a2990e50bb13c6a13b37878f5b826f4f8162a1c8d8797346139595c0b41e497bbde365f42d0a",
    ),
    ("aes128-ctr", 'W', 33, "a13b37878f5b826f"),
    (
        "aes192-ctr",
        'A',
        0,
        "dda97ca4864cdfe06eaf70a0ec0d719145c5ed98b36f4338cffadefa0c2b0628",
    ),
    ("aes192-ctr", 'A', 5, "4cdfe06eaf70a0ec0d719145c5ed98b3"),
    ("aes192-ctr", 'A', 4096, "6ea7dbf934c16faf02db7031cc3c4434"),
    (
        "aes192-ctr",
        'A',
        68_719_476_743,
        "8d53854e29a427d264bbcedee2511067",
    ),
    (
        "aes192-ctr",
        'C',
        0,
        "cc0a7d5b23234b06a685b39aa01264ad2c6820cab179137790946fc825c82c8fe03df75576a1dc1b8ba85f0b210c163d722222c325858722548fd3f1df3179e5",
    ),
    ("aes192-ctr", 'C', 40, "8ba85f0b210c163d"),
    (
        "aes192-ctr",
        'W',
        0,
        "235b173e9d5bba0bfff8327648afbc1f01d8f99a19ab91f02c06d73bf2248888916251821c73a522c396d62738019607494e385a4b3fafb713eaeca808626717",
    ),
    ("aes192-ctr", 'W', 33, "6251821c73a522c3"),
    (
        "aes256-ctr",
        'A',
        0,
        "8ea2b7ca516745bfeafc49904b496089f67f8ef24cf18cca790dad524e5db97b",
    ),
    ("aes256-ctr", 'A', 5, "6745bfeafc49904b496089f67f8ef24c"),
    ("aes256-ctr", 'A', 4096, "2fb4428c4aaaa2c876bfb10b91bdff33"),
    (
        "aes256-ctr",
        'A',
        68_719_476_743,
        "3caaedd2d4807931c0acea2087bba613",
    ),
    (
        "aes256-ctr",
        'C',
        0,
        "290856e30c914670a49c61b13e817324d90e1e46e3280c611be643dd0bbe2cb9e2640a890b1de11e12dc2f1535db76b50b47ecab4a5b37155bc9dafe5aefb7eb",
    ),
    ("aes256-ctr", 'C', 40, "12dc2f1535db76b5"),
    (
        "aes256-ctr",
        'W',
        0,
        "63e5b402b51e48ddfaedf9de99cc2744e999e41d4ca770da5387117b5d8f57eef29000b62a499fd0a9f39a6add2e7780f05d76ae4ab99fe5a6f69b3148c2363d",
    ),
    ("aes256-ctr", 'W', 33, "9000b62a499fd0a9"),
    (
        "sm4-ctr",
        'A',
        0,
        "09325c4853832dcb9337a5984f671b9acfedd6b937fdec2ed1f38e522498055d",
    ),
    ("sm4-ctr", 'A', 5, "832dcb9337a5984f671b9acfedd6b937"),
    ("sm4-ctr", 'A', 4096, "64a7ce1c287db6508f0fc34b7164e6af"),
    (
        "sm4-ctr",
        'A',
        68_719_476_743,
        "9bc0b711a62294095069dafef99a9bc3",
    ),
    (
        "sm4-ctr",
        'C',
        0,
        "ba73e9467be022bc33c2a2d350574bd06bdba4805c8d263633c7db0062e54c05130674de850719ee1a66de8951b8716895b6e4d64e0cfd06553a9cba2a8029d0",
    ),
    ("sm4-ctr", 'C', 40, "1a66de8951b87168"),
    (
        "sm4-ctr",
        'W',
        0,
        "661214b1c928238e9f7c18fb838ff8586811af7e097364e786fb45ce5d9a60f02677f46b09c122cc975533105bd4a22a4e595bf03f23bd10329baf5698e898ec",
    ),
    ("sm4-ctr", 'W', 33, "77f46b09c122cc97"),
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn fact_key(method: Method) -> Vec<u8> {
    match method {
        Method::Sm4Ctr => unhex("0123456789abcdeffedcba9876543210"),
        other => (0..u8::try_from(other.key_len()).unwrap()).collect(),
    }
}

fn fact_iv(name: char) -> [u8; 16] {
    let text = match name {
        'A' => "00112233445566778899aabbccddeeff",
        'C' => "0123456789abcdeffffffffffffffffe",
        _ => "fffffffffffffffffffffffffffffffe",
    };
    unhex(text).try_into().unwrap()
}

fn stream(backend: Backend, method: Method, key: &[u8], iv: [u8; 16]) -> Option<CtrStream> {
    CtrStream::on(backend, method, &SecretBytes::new(key.to_vec()), iv).unwrap()
}

/// Back ends of this machine; a missing one is said, not passed over.
fn backends() -> Vec<Backend> {
    Backend::ALL
        .into_iter()
        .filter(|backend| {
            if !backend.available() {
                let lacks: Vec<_> = backend.missing().collect();
                println!("NOT RUN: {}, this CPU lacks {lacks:?}", backend.name());
            }
            backend.available()
        })
        .collect()
}

fn openssl_stream(method: Method, key: &[u8], iv: [u8; 16], len: usize) -> Vec<u8> {
    let cipher = match method {
        Method::Aes128Ctr => Cipher::aes_128_ctr(),
        Method::Aes192Ctr => Cipher::aes_192_ctr(),
        Method::Aes256Ctr => Cipher::aes_256_ctr(),
        Method::Sm4Ctr => Cipher::sm4_ctr(),
        Method::Plaintext => return vec![0; len],
    };
    let mut crypter = Crypter::new(cipher, Mode::Encrypt, key, Some(&iv)).unwrap();
    let mut out = vec![0; len + 16];
    let written = crypter.update(&vec![0; len], &mut out).unwrap();
    out.truncate(written);
    out
}

#[test]
fn published_key_streams() {
    for backend in backends() {
        for &(method, iv, offset, expected) in VECTORS {
            let method: Method = method.parse().unwrap();
            let expected = unhex(expected);
            let transform = Transform::new(
                None,
                stream(backend, method, &fact_key(method), fact_iv(iv)),
            );
            let mut data = vec![0; expected.len()];
            transform.apply(offset, &mut data);
            assert_eq!(
                data,
                expected,
                "{} {method} {iv} at {offset}",
                backend.name()
            );
        }
    }
}

/// Random keys, counters near every carry, pieces at any place: a million of them over all back ends.
#[test]
fn changing_the_key_equals_openssl_twice() {
    let seed = u64::from_ne_bytes(rng::bytes().unwrap());
    println!("seed {seed}");
    let mut random = Random(seed);
    let longest = 4096 + 64;
    let backends = backends();
    // Portable code makes 64 blocks for any piece: it gets fewer of them.
    let pieces = |backend| match backend {
        Backend::Portable => 25,
        _ => 975_000_usize.div_ceil(1000 * (backends.len() - 1)),
    };
    let mut cases = 0;
    for round in 0..1000 {
        let from = Method::ALL[random.below(5)];
        let to = Method::ALL[random.below(5)];
        let (from_key, to_key) = (random.bytes(from.key_len()), random.bytes(to.key_len()));
        let (from_iv, to_iv) = (random.iv(), random.iv());
        let data = random.bytes(longest);
        let mut expected = openssl_stream(from, &from_key, from_iv, longest);
        let new = openssl_stream(to, &to_key, to_iv, longest);
        for ((byte, new), data) in expected.iter_mut().zip(new).zip(&data) {
            *byte ^= new ^ data;
        }
        for &backend in &backends {
            let transform = Transform::new(
                stream(backend, from, &from_key, from_iv),
                stream(backend, to, &to_key, to_iv),
            );
            for _ in 0..pieces(backend) {
                let offset = random.below(1040);
                let most = if random.below(32) == 0 { 3120 } else { 200 };
                let len = random.below(most);
                let mut piece = data[offset..offset + len].to_vec();
                transform.apply(offset as u64, &mut piece);
                assert!(
                    piece == expected[offset..offset + len],
                    "round {round} {} {from} to {to}, {offset}+{len}",
                    backend.name()
                );
                cases += 1;
            }
        }
    }
    println!("{cases} random cases equal to OpenSSL");
}

/// Each length up to 4096 at each place of a block, and at each place of a line of the cache; and one over several pieces.
#[test]
fn every_length_and_alignment() {
    const LONG: usize = 3 * 4096 + 5;
    for (from, to) in [
        (Method::Aes256Ctr, Method::Aes128Ctr),
        (Method::Aes192Ctr, Method::Plaintext),
        (Method::Sm4Ctr, Method::Plaintext),
        (Method::Sm4Ctr, Method::Aes256Ctr),
    ] {
        let mut expected = openssl_stream(from, &fact_key(from), fact_iv('C'), LONG + 16);
        let other = openssl_stream(to, &fact_key(to), fact_iv('W'), LONG + 16);
        for (byte, other) in expected.iter_mut().zip(other) {
            *byte ^= other;
        }
        for backend in backends() {
            let transform = Transform::new(
                stream(backend, from, &fact_key(from), fact_iv('C')),
                stream(backend, to, &fact_key(to), fact_iv('W')),
            );
            let mut memory = vec![0; LONG + 64];
            for len in (0..=4096).chain([LONG]) {
                for (offset, start) in places(backend, len) {
                    let data = &mut memory[start..start + len];
                    data.fill(0);
                    transform.apply(offset as u64, data);
                    assert!(
                        *data == expected[offset..offset + len],
                        "{} {from} to {to}: {offset}+{len} at {start}",
                        backend.name()
                    );
                }
            }
        }
    }
}

/// Offset in the file and start in memory: all of the one, then all of the other. Portable code makes 64 blocks for any
/// piece: all for the short ones, then one for each length.
fn places(backend: Backend, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let few = backend == Backend::Portable && len > 64;
    let offsets = (0..16).map(move |offset| (offset, (len + offset) % 64));
    let starts = (0..64).map(move |start| (len % 16, start));
    let all = offsets.chain(starts);
    all.filter(move |(offset, start)| !few || (*offset, *start) == (len % 16, len % 64))
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    let error =
        CtrStream::new(Method::Aes256Ctr, &SecretBytes::new(vec![0; 16]), [0; 16]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "aes256-ctr wants a key of 32 bytes, not 16"
    );
}

#[test]
fn gcm_opens_what_it_sealed_and_nothing_else() {
    let key = SecretBytes::new(vec![7; 32]);
    let (mut ciphertext, tag) =
        gcm::seal(&key, &[1; 12], &SecretBytes::new(b"data keys".to_vec())).unwrap();
    assert_eq!(
        gcm::open(&key, &[1; 12], &ciphertext, &tag)
            .unwrap()
            .expose(),
        b"data keys"
    );
    assert!(gcm::open(&SecretBytes::new(vec![8; 32]), &[1; 12], &ciphertext, &tag).is_err());
    ciphertext[0] ^= 1;
    assert!(gcm::open(&key, &[1; 12], &ciphertext, &tag).is_err());
}

#[test]
fn secrets_do_not_print() {
    let text = format!("{:?}", SecretBytes::new(b"hunter2".to_vec()));
    assert_eq!(text, "SecretBytes(7 bytes)");
}
