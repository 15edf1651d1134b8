//! What is refused is refused before anything changes.

use std::path::Path;

use super::world::{DIR, encrypted, plaintext, run, to};
use crate::agent::class::GUARD;
use crate::agent::error::StoreError;
use crate::agent::plan::Target;
use crate::api::method::Method;
use crate::fs::tests::sim::SimFs;

fn refused(fs: &SimFs, target: &Target) -> StoreError {
    let before = fs.calls();
    let error = run(fs, target).expect_err("it must be refused");
    assert_eq!(fs.calls(), before, "{error}: something was changed");
    assert!(!error.remedy().is_empty());
    error
}

#[test]
fn a_full_volume() {
    let (fs, _) = plaintext();
    fs.set_free(1000);
    assert!(matches!(
        refused(&fs, &to(Method::Aes256Ctr)),
        StoreError::NoSpace { .. }
    ));
}

#[test]
fn a_panic_mark_of_tikv() {
    let (fs, _) = plaintext();
    fs.put(&format!("{DIR}/{GUARD}"), b"");
    assert!(matches!(
        refused(&fs, &to(Method::Aes256Ctr)),
        StoreError::PanicMark(_)
    ));
}

#[test]
fn damaged_dictionaries() {
    for name in ["file.dict", "key.dict"] {
        let (fs, _) = encrypted(Method::Aes256Ctr);
        let path = format!("{DIR}/{name}");
        let mut bytes = fs.content(Path::new(&path)).unwrap();
        bytes[20] ^= 1;
        fs.put(&path, &bytes);
        assert_eq!(
            refused(&fs, &to(Method::Aes256Ctr)).code(),
            if name == "file.dict" {
                "FileDictionaryDamaged"
            } else {
                "KeyDictionaryDamaged"
            }
        );
    }
}

#[test]
fn one_dictionary_without_the_other() {
    let (fs, contents) = encrypted(Method::Aes256Ctr);
    let key_dict = fs.content(Path::new("/var/lib/tikv/key.dict")).unwrap();
    let (bare, _) = plaintext();
    bare.put("/var/lib/tikv/key.dict", &key_dict);
    assert!(matches!(
        refused(&bare, &to(Method::Aes256Ctr)),
        StoreError::HalfDictionaries { .. }
    ));
    drop(contents);
}

#[test]
fn a_file_that_does_not_fit_its_entry() {
    let (fs, contents) = encrypted(Method::Aes256Ctr);
    let path = Path::new("/var/lib/tikv/db/000010.sst");
    fs.put(&path.to_string_lossy(), &contents[path]);
    let error = refused(&fs, &to(Method::Aes256Ctr));
    assert!(error.to_string().contains("db/000010.sst"), "{error}");
}

#[test]
fn decryption_that_nobody_asked_for() {
    let (fs, _) = encrypted(Method::Aes256Ctr);
    let target = Target {
        decrypt: false,
        ..to(Method::Plaintext)
    };
    assert_eq!(refused(&fs, &target).code(), "DecryptionNotAskedFor");
}

#[test]
fn a_journal_that_the_stores_keys_did_not_sign() {
    let (fs, _) = encrypted(Method::Aes256Ctr);
    let mut forged = vec![0; 32];
    forged.extend_from_slice(
        br#"{"version":1,"method":"plaintext","keyId":0,"signedBy":1,"notBefore":0,"finalVersion":2,"verification":"Full"}"#,
    );
    fs.put("/var/lib/tikv/tikv-security.journal", &forged);
    assert!(matches!(
        refused(&fs, &to(Method::Aes256Ctr)),
        StoreError::Journal { .. }
    ));
}
