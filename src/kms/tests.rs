use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Class, DataKey, Kms, KmsError, MasterKey, MasterKeyError, Service, prove};
use crate::crypto::rng;
use crate::crypto::secret::SecretBytes;
use crate::format::pb::EncryptedContent;

/// Wraps by XOR with one byte; counts nothing, forgets nothing.
pub(super) struct Toy {
    mask: u8,
    vendor: &'static str,
}

impl Toy {
    pub(super) const AWS: Self = Self {
        mask: 1,
        vendor: "AWS",
    };
}

impl Kms for Toy {
    fn vendor(&self) -> &'static str {
        self.vendor
    }

    fn service(&self) -> Service {
        Service::Aws
    }

    fn key(&self) -> &'static str {
        "toy"
    }

    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>> {
        async { Ok(()) }.boxed()
    }

    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>> {
        async {
            let plaintext: [u8; 32] = rng::bytes().unwrap();
            let wrapped = plaintext.map(|byte| byte ^ self.mask).to_vec();
            let plaintext = SecretBytes::new(plaintext.to_vec());
            Ok(DataKey { plaintext, wrapped })
        }
        .boxed()
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        async {
            let plain = wrapped.iter().map(|byte| byte ^ self.mask).collect();
            Ok(SecretBytes::new(plain))
        }
        .boxed()
    }
}

fn toy(mask: u8) -> MasterKey {
    let vendor = "AWS";
    MasterKey::Kms(Arc::new(Toy { mask, vendor }))
}

fn file(byte: u8) -> MasterKey {
    MasterKey::File(SecretBytes::new(vec![byte; 32]))
}

fn dictionary() -> SecretBytes {
    SecretBytes::new(b"a key dictionary".to_vec())
}

fn names(sealed: &EncryptedContent) -> Vec<&str> {
    sealed.metadata.keys().map(String::as_str).collect()
}

#[test]
fn each_kind_opens_what_it_sealed_under_the_names_of_tikv() {
    let gcm = ["aes_gcm_tag", "iv", "method"];
    let kms = [
        "aes_gcm_tag",
        "iv",
        "kms_ciphertext_key",
        "kms_vendor",
        "method",
    ];
    for (key, expected) in [
        (MasterKey::Plaintext, &["method"][..]),
        (file(1), &gcm[..]),
        (toy(1), &kms[..]),
    ] {
        let sealed = key.seal(&dictionary(), None).unwrap();
        assert_eq!(names(&sealed), expected, "{key:?}");
        let opened = key.open(&sealed).unwrap();
        assert_eq!(opened.expose(), dictionary().expose());
    }
}

#[test]
fn a_kms_makes_one_data_key_for_the_life_of_a_store() {
    let key = toy(1);
    let first = key.seal(&dictionary(), None).unwrap();
    let second = key.seal(&dictionary(), Some(&first)).unwrap();
    assert_eq!(
        first.metadata["kms_ciphertext_key"],
        second.metadata["kms_ciphertext_key"]
    );
    assert_ne!(first.metadata["iv"], second.metadata["iv"]);
    let from_file = file(1).seal(&dictionary(), None).unwrap();
    assert!(key.seal(&dictionary(), Some(&from_file)).is_ok());
}

/// The table of the facts, encryption at rest §2.6: what falls back to the previous key and what never opens.
#[test]
fn transitions_are_those_of_tikv() {
    let sealed = |key: MasterKey| key.seal(&dictionary(), None).unwrap();
    let other_vendor = || {
        let (mask, vendor) = (1, "azure");
        MasterKey::Kms(Arc::new(Toy { mask, vendor }))
    };
    let wrong = |key: MasterKey, sealed: &EncryptedContent| {
        matches!(key.open(sealed), Err(MasterKeyError::Wrong(_)))
    };
    let mismatch = |key: MasterKey, sealed: &EncryptedContent| {
        matches!(key.open(sealed), Err(MasterKeyError::Mismatch(_)))
    };
    assert!(wrong(file(2), &sealed(file(1))));
    assert!(wrong(file(2), &sealed(toy(1))));
    assert!(wrong(toy(1), &sealed(file(1))));
    assert!(wrong(toy(1), &sealed(MasterKey::Plaintext)));
    assert!(wrong(toy(2), &sealed(toy(1))));
    assert!(mismatch(file(1), &sealed(MasterKey::Plaintext)));
    assert!(mismatch(other_vendor(), &sealed(toy(1))));
}

#[test]
fn a_damaged_envelope_is_an_error_and_never_a_panic() {
    let sealed = file(1).seal(&dictionary(), None).unwrap();
    for name in ["iv", "aes_gcm_tag", "method"] {
        let mut lacking = sealed.clone();
        lacking.metadata.remove(name);
        assert_eq!(
            file(1).open(&lacking).unwrap_err().class(),
            Class::Malformed
        );
    }
    for name in ["iv", "aes_gcm_tag"] {
        let mut short = sealed.clone();
        short.metadata.insert(name.to_owned(), vec![0; 5]);
        let error = file(1).open(&short).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes instead of"), "{error}");
    }
}

#[test]
fn a_blocking_call_works_on_a_thread_of_a_runtime_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { assert!(toy(1).prove().is_ok()) });
}

/// Unwraps to something else.
struct Liar(Toy);

impl Kms for Liar {
    fn vendor(&self) -> &'static str {
        self.0.vendor()
    }

    fn service(&self) -> Service {
        self.0.service()
    }

    fn key(&self) -> &'static str {
        "liar"
    }

    fn describe(&self) -> BoxFuture<'_, Result<(), KmsError>> {
        self.0.describe()
    }

    fn generate(&self) -> BoxFuture<'_, Result<DataKey, KmsError>> {
        self.0.generate()
    }

    fn unwrap<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<SecretBytes, KmsError>> {
        async { Ok(SecretBytes::new(vec![0; 32])) }.boxed()
    }
}

#[tokio::test]
async fn proof_needs_the_same_key_back() {
    let (mask, vendor) = (1, "AWS");
    assert_eq!(prove(&Toy { mask, vendor }).await, Ok(()));
    let error = prove(&Liar(Toy { mask, vendor })).await.unwrap_err();
    assert_eq!(error.class, Class::Malformed);
}

/// `key.dict` would be lost with it: nobody could unwrap the key again.
#[test]
fn nothing_is_sealed_under_a_key_that_the_service_does_not_give_back() {
    let liar = MasterKey::from_kms(Liar(Toy::AWS));
    let error = liar.seal(&dictionary(), None).unwrap_err();
    assert_eq!(error.class(), Class::Malformed, "{error}");
    let previous = toy(1).seal(&dictionary(), None).unwrap();
    let error = liar.seal(&dictionary(), Some(&previous)).unwrap_err();
    assert_eq!(error.class(), Class::WrongKey, "{error}");
}
