//! A hardware security module by PKCS#11: SoftHSM, in a process of its own, because a module reads its environment once.
//! Where SoftHSM is not installed the test fails: Debian's `softhsm2`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod softhsm;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::Session;
use softhsm::{PIN, inside, module, settings, token};
use tikv_security::agent::wrapped::{Pending, Provided};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::pkcs11::{Pin, Pkcs11, Settings};
use tikv_security::kms::{Class, Kms, prove};

fn kms(key: &str) -> Pkcs11 {
    Pkcs11::new(settings("tikv", key, PIN))
}

/// A token with keys; what was made stays in the token's directory.
fn make_token(label: &str, keys: &[(&str, bool)]) {
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, decrypts)| (*key, *decrypts, 32))
        .collect();
    make_token_with(label, &keys);
}

/// Keys with their sizes in bytes.
fn make_token_with(label: &str, keys: &[(&str, bool, u64)]) {
    token(label, |session| {
        for (key, decrypts, bytes) in keys {
            make_key(session, key, *decrypts, *bytes);
        }
    });
}

fn make_key(session: &Session, label: &str, decrypts: bool, bytes: u64) {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::ValueLen(bytes.into()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(decrypts),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(work)
}

async fn refused(kms: &Pkcs11, wrapped: &[u8]) -> Class {
    let described = kms.describe().await.unwrap_err();
    let unwrapped = kms.unwrap(wrapped).await.unwrap_err();
    println!("{described} [{}]", described.remedy());
    assert!(described.to_string().contains(kms.key()), "{described}");
    assert_eq!(
        described.class, unwrapped.class,
        "{described} / {unwrapped}"
    );
    described.class
}

#[test]
fn the_contract_is_kept() {
    let Some(_) = inside("the_contract_is_kept") else {
        return;
    };
    make_token_with(
        "tikv",
        &[
            ("one", true, 32),
            ("other", true, 32),
            ("mute", false, 32),
            ("twice", true, 32),
            ("twice", true, 32),
            ("weak", true, 16),
        ],
    );
    block_on(async {
        let one = kms("one");
        assert_eq!(prove(&one).await, Ok(()));
        let made = one.generate().await.unwrap();
        assert_eq!(made.plaintext.expose().len(), 32);
        let again = one.generate().await.unwrap();
        assert_ne!(made.plaintext.expose(), again.plaintext.expose());
        assert_ne!(made.wrapped, again.wrapped);
        let back = kms("one").unwrap(&made.wrapped).await.unwrap();
        assert_eq!(back.expose(), made.plaintext.expose());

        let other = kms("other").unwrap(&made.wrapped).await.unwrap_err();
        assert_eq!(other.class, Class::WrongKey, "{other}");
        for garbage in [&[7; 256][..], b"vault:v1:d3JhcHBlZA==", b"pkcs11:v1:AAAA"] {
            let error = one.unwrap(garbage).await.unwrap_err();
            assert_eq!(error.class, Class::WrongKey, "{error}");
        }
        assert_eq!(
            refused(&kms("missing"), &made.wrapped).await,
            Class::NotFound
        );
        assert_eq!(refused(&kms("mute"), &made.wrapped).await, Class::Disabled);
        assert_eq!(refused(&kms("weak"), &made.wrapped).await, Class::WrongKey);
        assert_eq!(
            refused(&kms("twice"), &made.wrapped).await,
            Class::Malformed
        );
        let absent = Pkcs11::new(settings("no-such-token", "one", PIN));
        assert_eq!(refused(&absent, &made.wrapped).await, Class::Unavailable);
        let nothing = Settings {
            module: "/nowhere/module.so".into(),
            ..settings("tikv", "one", PIN)
        };
        assert_eq!(
            refused(&Pkcs11::new(nothing), &made.wrapped).await,
            Class::Malformed
        );
        // All that went wrong is in nobody's way afterwards.
        assert_eq!(prove(&one).await, Ok(()));
    });
}

/// A token that locks itself after some wrong PINs is asked once.
#[test]
fn a_wrong_pin_is_tried_once_and_told_to_nobody() {
    let Some(_) = inside("a_wrong_pin_is_tried_once_and_told_to_nobody") else {
        return;
    };
    make_token("tikv", &[("one", true)]);
    block_on(async {
        let wrong = Pkcs11::new(settings("tikv", "one", "98765432"));
        let first = wrong.describe().await.unwrap_err();
        assert_eq!(first.class, Class::Denied, "{first}");
        let again = Pkcs11::new(settings("tikv", "one", "98765432"));
        let second = again.describe().await.unwrap_err();
        assert_eq!(second.class, Class::Denied);
        assert!(second.message.contains("not tried again"), "{second}");
        for text in [format!("{wrong:?}"), format!("{first:?} {second:?}")] {
            assert!(!text.contains("98765432"), "{text}");
        }
        assert_eq!(prove(&kms("one")).await, Ok(()), "the right one works");
        let empty = Pkcs11::new(settings("tikv", "one", "\n"));
        assert_eq!(empty.describe().await.unwrap_err().class, Class::Malformed);
    });
}

/// Made while the program runs, as a network HSM that comes back.
#[test]
fn a_token_that_comes_later_is_found() {
    let Some(_) = inside("a_token_that_comes_later_is_found") else {
        return;
    };
    block_on(async {
        let error = kms("one").describe().await.unwrap_err();
        assert_eq!(error.class, Class::Unavailable, "{error}");
    });
    make_token("tikv", &[("one", true)]);
    block_on(async { assert_eq!(prove(&kms("one")).await, Ok(())) });
}

#[test]
fn every_bit_of_a_wrapped_key_counts() {
    let Some(_) = inside("every_bit_of_a_wrapped_key_counts") else {
        return;
    };
    make_token("tikv", &[("one", true)]);
    block_on(async {
        let one = kms("one");
        let made = one.generate().await.unwrap();
        for at in 0..made.wrapped.len() {
            assert!(
                one.unwrap(&made.wrapped[..at]).await.is_err(),
                "cut at {at}"
            );
            let mut damaged = made.wrapped.clone();
            damaged[at] ^= 1;
            match one.unwrap(&damaged).await {
                Ok(key) => assert_eq!(key.expose(), made.plaintext.expose(), "flip at {at}"),
                Err(error) => assert_eq!(error.class, Class::WrongKey, "flip at {at}: {error}"),
            }
        }
    });
}

#[test]
fn many_at_once_do_not_log_each_other_out() {
    let Some(directory) = inside("many_at_once_do_not_log_each_other_out") else {
        return;
    };
    make_token("tikv", &[("one", true)]);
    let pin = directory.join("pin");
    std::fs::write(&pin, format!("{PIN}\n")).unwrap();
    block_on(async {
        let by_file = |path: &Path| Settings {
            pin: Arc::new(Pin::File(path.to_owned())),
            ..settings("tikv", "one", "")
        };
        let all = (0..8).map(|_| {
            let kms = Pkcs11::new(by_file(&pin));
            async move { prove(&kms).await }
        });
        let all = tokio::time::timeout(Duration::from_mins(1), futures::future::join_all(all));
        assert!(all.await.unwrap().iter().all(Result::is_ok));
        let gone = Pkcs11::new(by_file(Path::new("/nowhere/pin")));
        assert_eq!(gone.describe().await.unwrap_err().class, Class::Denied);
    });
}

fn hexadecimal(key: &SecretBytes) -> String {
    let digits = key.expose().iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>() + "\n"
}

/// What the agent does in a pod: at its start, and regularly afterwards.
#[test]
fn an_agent_has_a_key_unwrapped_into_memory_and_asks_again_and_again() {
    let Some(_) = inside("an_agent_has_a_key_unwrapped_into_memory_and_asks_again_and_again")
    else {
        return;
    };
    make_token("tikv", &[("one", true)]);
    let (made, another) = block_on(async {
        let one = kms("one");
        (one.generate().await.unwrap(), one.generate().await.unwrap())
    });
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| memory.path().join(name);
    std::fs::write(at("wrapped"), &made.wrapped).unwrap();
    std::fs::write(at("pin"), format!("{PIN}\n")).unwrap();
    let order = serde_json::json!({"file": at("key"), "wrapped": at("wrapped"), "by": {"pkcs11": {
        "module": module(), "token": "tikv", "key": "one", "pin": at("pin"),
    }}});
    assert!(!order.to_string().contains(PIN));
    let pending = Pending::new(order.to_string().parse().unwrap());
    assert_eq!(pending.provide(false).unwrap(), Provided::Unwrapped);
    let text = std::fs::read_to_string(at("key")).unwrap();
    assert_eq!(text, hexadecimal(&made.plaintext));
    pending.prove().unwrap();

    std::fs::write(at("wrapped"), &another.wrapped).unwrap();
    let error = pending.prove().unwrap_err();
    assert_eq!(error.code(), "MasterKeyWrong", "{error}");
    std::fs::write(at("wrapped"), &made.wrapped).unwrap();

    std::fs::write(at("pin"), "1234567").unwrap();
    let error = pending.prove().unwrap_err();
    assert_eq!(error.code(), "MasterKeyDenied", "{error}");
    assert!(!error.to_string().contains("1234567"), "{error}");
    std::fs::write(at("pin"), PIN).unwrap();
    pending.prove().unwrap();
    assert_eq!(std::fs::read_to_string(at("key")).unwrap(), text);
}
