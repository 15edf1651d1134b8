//! Answers of key management services that were damaged on their way: every truncation and every flipped bit of each of
//! them. Nobody panics, nothing of a key is told, and no other key is taken for the right one where a checksum could tell.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod kms_standin;

use kms_standin::azure::{Azure, SECRET};
use kms_standin::gcp::Gcp;
use kms_standin::tape::{Damage, Tape};
use kms_standin::vault::Vault;
use kms_standin::{Said, Standin, Weather, serve};
use serde_json::json;
use tikv_security::kms::aws::{AwsKms, Settings, StaticCredentials};
use tikv_security::kms::azure::Credential;
use tikv_security::kms::{Class, Kms, KmsError, prove};

/// In a form that every client sends; the tape does not look at it.
const WRAPPED: &[u8] = b"vault:v1:d3JhcHBlZA==";

/// What it means when bytes of an answer changed.
#[derive(Clone, Copy, PartialEq)]
enum Checksum {
    /// Another key is an error.
    There,
    /// Another key is found out by what it is to open.
    Lacking,
}

/// Asks for everything, damages everything.
async fn survives(kms: &dyn Kms, tape: &Tape, checksum: Checksum) {
    tape.play(None);
    assert_eq!(prove(kms).await, Ok(()), "the tape is whole");
    let lengths = tape.lengths();
    for (answer, length) in lengths.iter().copied().enumerate() {
        for at in 0..length {
            tape.play(Some((answer, Damage::Cut(at))));
            let error = prove(kms).await.expect_err("half an answer is none");
            assert_eq!(error.class, Class::Malformed, "{at} of {length}: {error}");
            silent(kms, &error);
        }
        for bit in 0..8 * length {
            tape.play(Some((answer, Damage::Flip(bit))));
            if let Err(error) = prove(kms).await {
                silent(kms, &error);
            }
        }
    }
    println!("{}: answers of {lengths:?} bytes", kms.vendor());

    // The last answer is that to the request for the key itself.
    let last = lengths.len() - 1;
    tape.keep(last);
    tape.play(None);
    let right = kms.unwrap(WRAPPED).await.unwrap();
    for bit in 0..8 * lengths[last] {
        tape.play(Some((0, Damage::Flip(bit))));
        match kms.unwrap(WRAPPED).await {
            Ok(key) if checksum == Checksum::There => assert_eq!(key.expose(), right.expose()),
            Ok(key) => assert_eq!(key.expose().len(), 32),
            Err(error) => silent(kms, &error),
        }
    }
}

/// No part of a key, which would be long and in base64, is in what people read.
fn silent(kms: &dyn Kms, error: &KmsError) {
    let text = format!("{error} {error:?}").replace(kms.key(), "");
    let in_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    let longest = text.split(|c| !in_base64(c)).map(str::len).max();
    assert!(longest < Some(24), "{text}");
}

async fn recorded(service: &dyn Standin, kms: &dyn Kms) {
    service.set(Weather::Fair);
    // With a token from before.
    kms.describe().await.unwrap();
    service.tape().forget();
    assert_eq!(prove(kms).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn google() {
    let service = Gcp::start().await;
    let kms = service.with("one", &service.service_account());
    recorded(&service, &kms).await;
    survives(&kms, service.tape(), Checksum::There).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure() {
    let service = Azure::start().await;
    let kms = service.with("one", Credential::Secret(SECRET.to_owned().into()));
    recorded(&service, &kms).await;
    survives(&kms, service.tape(), Checksum::Lacking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vault() {
    let Some(service) = Vault::start().await else {
        return;
    };
    let kms = service.key("one");
    recorded(&service, &kms).await;
    survives(&kms, service.tape(), Checksum::Lacking).await;
}

/// The emulator is another program, so these are the answers of AWS KMS by its API reference (`DescribeKey`,
/// `GenerateDataKey`, `Decrypt`).
#[tokio::test(flavor = "multi_thread")]
async fn aws() {
    let key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let plaintext = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let metadata = json!({
        "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": key, "Enabled": true, "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "KeyManager": "CUSTOMER", "MultiRegion": false,
    });
    let tape = Tape::of(vec![
        Said::json(200, &json!({"KeyMetadata": metadata})),
        Said::json(
            200,
            &json!({"KeyId": key, "Plaintext": plaintext, "CiphertextBlob": "d3JhcHBlZA=="}),
        ),
        Said::json(
            200,
            &json!({"KeyId": key, "Plaintext": plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}),
        ),
    ]);
    tape.play(None);
    let nobody = |_| unreachable!("the tape has every answer");
    let url = serve(tape.clone(), || Weather::Fair, nobody).await;
    let kms = AwsKms::new(Settings {
        key_id: key.to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(url),
        credentials: Some(StaticCredentials::new("id", "secret", None)),
    });
    survives(&kms, &tape, Checksum::Lacking).await;
}
