//! The AWS client against a real server of its protocol: moto (`pip install 'moto[server]'`).
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod moto;

use std::process::Command;

use moto::Moto;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::aws::{AwsKms, Settings, StaticCredentials};
use tikv_security::kms::{Class, Kms, MasterKey, prove};

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_real_server_are_proven_used_and_told_apart() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.new_key("{}");
    assert_eq!(prove(&moto.kms(&key)).await, Ok(()));

    let master = MasterKey::from_kms(moto.kms(&key));
    let plain = SecretBytes::new(b"a key dictionary".to_vec());
    let first = master.seal(&plain, None).unwrap();
    let second = master.seal(&plain, Some(&first)).unwrap();
    assert_eq!(first.metadata["kms_vendor"], b"AWS");
    assert_eq!(
        first.metadata["kms_ciphertext_key"],
        second.metadata["kms_ciphertext_key"]
    );
    assert_eq!(master.open(&second).unwrap().expose(), plain.expose());

    let other = moto.new_key("{}");
    let wrapped = &first.metadata["kms_ciphertext_key"];
    let wrong = moto.kms(&other).unwrap(wrapped).await.unwrap_err();
    // AWS says IncorrectKeyException here; moto says AccessDeniedException.
    assert_eq!(wrong.class, Class::Denied, "{wrong}");

    let missing = moto
        .kms("00000000-0000-0000-0000-000000000000")
        .describe()
        .await
        .unwrap_err();
    assert_eq!(missing.class, Class::NotFound, "{missing}");

    moto.call("DisableKey", &format!(r#"{{"KeyId":"{other}"}}"#));
    let disabled = moto.kms(&other).describe().await.unwrap_err();
    assert_eq!(disabled.class, Class::Disabled, "{disabled}");

    let leaving = format!(r#"{{"KeyId":"{other}","PendingWindowInDays":7}}"#);
    moto.call("ScheduleKeyDeletion", &leaving);
    let leaves = moto.kms(&other).describe().await.unwrap_err();
    assert_eq!(leaves.class, Class::PendingDeletion, "{leaves}");

    let signing = moto.new_key(r#"{"KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256"}"#);
    let usage = moto.kms(&signing).describe().await.unwrap_err();
    assert_eq!(usage.class, Class::WrongKey, "{usage}");

    let endpoint = moto.kms(&key);
    drop(moto);
    let down = endpoint.describe().await.unwrap_err();
    assert_eq!(down.class, Class::Unavailable, "{down}");
}

const INSIDE: &str = "TIKV_SECURITY_TEST_NO_ROOTS";

/// In an image without the roots of trust, as bare ones of distributions are.
#[tokio::test]
async fn without_roots_of_trust_it_is_told_and_nobody_panics() {
    if std::env::var_os(INSIDE).is_none() {
        let done = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "without_roots_of_trust_it_is_told_and_nobody_panics",
            ])
            .env(INSIDE, "1")
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nowhere")
            .status();
        assert!(done.unwrap().success(), "in a process of its own");
        return;
    }
    let kms = AwsKms::new(Settings {
        key_id: "one".to_owned(),
        region: None,
        endpoint: None,
        credentials: Some(StaticCredentials::new("id", "secret", None)),
    });
    for error in [
        kms.describe().await.err().unwrap(),
        kms.generate().await.err().unwrap(),
        kms.unwrap(b"wrapped").await.err().unwrap(),
    ] {
        assert_eq!(error.class, Class::Malformed, "{error}");
        assert!(
            error.message.contains("certificates of authorities"),
            "{error}"
        );
    }
}
