//! What every key management service must do, and how each of its failures must be told apart: one suite for the
//! stand-ins of Google and Azure and for a real Vault. AWS, which has an emulator, is in `kms_aws.rs`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod kms_standin;

use std::time::Duration;

use kms_standin::azure::{Azure, SECRET};
use kms_standin::gcp::Gcp;
use kms_standin::vault::Vault;
use kms_standin::{Standin, Weather};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::azure::Credential;
use tikv_security::kms::gcp::{Credentials, GcpKms, Settings, Vendor};
use tikv_security::kms::retry::Retry;
use tikv_security::kms::{Class, Kms, MasterKey, MasterKeyError, prove};

/// What an attempt to use `key` ends with, in this weather.
async fn class(service: &dyn Standin, weather: Weather, key: &str) -> Option<Class> {
    service.set(Weather::Fair);
    let wrapped = service.kms("one").generate().await.unwrap().wrapped;
    service.set(weather);
    let kms = service.kms(key);
    let [described, unwrapped] = [kms.describe().await.err(), kms.unwrap(&wrapped).await.err()];
    service.set(Weather::Fair);
    for error in [&described, &unwrapped].into_iter().flatten() {
        println!("{weather:?} {key}: {error} [{}]", error.remedy());
        assert!(error.to_string().contains(kms.key()), "{error}");
    }
    let [described, unwrapped] = [described, unwrapped].map(|error| error.map(|error| error.class));
    assert_eq!(
        described, unwrapped,
        "{weather:?} {key}: one failure, one class"
    );
    described
}

async fn contract(service: &dyn Standin) {
    let kms = service.kms("one");
    assert_eq!(prove(kms.as_ref()).await, Ok(()));

    let made = kms.generate().await.unwrap();
    assert_eq!(made.plaintext.expose().len(), 32);
    let again = kms.generate().await.unwrap();
    assert_ne!(made.plaintext.expose(), again.plaintext.expose());
    let back = service.kms("one").unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());

    for (weather, expected) in [
        (Weather::Fair, None),
        (Weather::Throttled, Some(Class::Unavailable)),
        (Weather::Down, Some(Class::Unavailable)),
        (Weather::Proxy, Some(Class::Unavailable)),
        (Weather::Torn, Some(Class::Malformed)),
        (Weather::Nonsense, Some(Class::Malformed)),
        (Weather::Forbidden, Some(Class::Denied)),
        (Weather::Expired, Some(Class::Denied)),
        (Weather::ClockSkew, Some(Class::Denied)),
        (Weather::Disabled, Some(Class::Disabled)),
        (Weather::PendingDeletion, Some(Class::PendingDeletion)),
    ] {
        if weather == Weather::PendingDeletion && !service.deletes_later() {
            continue;
        }
        assert_eq!(
            class(service, weather, "one").await,
            expected,
            "{weather:?}"
        );
    }
    assert_eq!(
        class(service, Weather::Fair, "missing").await,
        Some(Class::NotFound)
    );

    let wrong = service.kms("other").unwrap(&made.wrapped).await;
    assert_eq!(wrong.unwrap_err().class, Class::WrongKey);
    let garbage = kms.unwrap(&[7; 256]).await.unwrap_err();
    assert_eq!(garbage.class, Class::WrongKey, "{garbage}");
    let signs = service.kms("signing").describe().await.unwrap_err();
    assert_eq!(signs.class, Class::WrongKey, "{signs}");

    service.set(Weather::Throttled);
    let busy = service.kms("one").describe().await.unwrap_err();
    assert_eq!(busy.after, Some(Duration::from_secs(2)), "{busy}");

    service.set(Weather::Slow);
    let patience = Retry {
        deadline: Duration::from_millis(300),
        ..Retry::DEFAULT
    };
    let silent = service.kms("one");
    let error = patience.run(silent.as_ref(), || silent.describe()).await;
    assert_eq!(error.unwrap_err().class, Class::Unavailable);
    service.set(Weather::Fair);
}

fn dictionary() -> SecretBytes {
    SecretBytes::new(b"a key dictionary".to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_the_contract() {
    let service = Gcp::start().await;
    contract(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_opens_what_was_sealed_before_a_rotation_and_by_the_same_client_only() {
    let service = Gcp::start().await;
    let account = service.service_account();
    let key = |vendor| MasterKey::from_kms(service.as_vendor("one", &account, vendor));
    let sealed = key(Vendor::V1).seal(&dictionary(), None).unwrap();
    assert_eq!(sealed.metadata["kms_vendor"], b"gcp");
    service.rotate("one");
    let opened = key(Vendor::V1).open(&sealed).unwrap();
    assert_eq!(opened.expose(), dictionary().expose());
    let error = key(Vendor::V2).open(&sealed).unwrap_err();
    assert!(matches!(error, MasterKeyError::Mismatch(_)), "{error}");
    let sealed = key(Vendor::V2).seal(&dictionary(), None).unwrap();
    assert_eq!(sealed.metadata["kms_vendor"], b"gcp_v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract() {
    let service = Azure::start().await;
    contract(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_does_not_open_what_was_sealed_before_a_rotation_and_says_what_to_do() {
    let service = Azure::start().await;
    let key = || MasterKey::from_kms(service.with("one", service.certificate("")));
    let sealed = key().seal(&dictionary(), None).unwrap();
    assert_eq!(sealed.metadata["kms_vendor"], b"azure");
    let opened = key().open(&sealed).unwrap();
    assert_eq!(opened.expose(), dictionary().expose());
    service.rotate("one");
    let error = key().open(&sealed).unwrap_err();
    assert_eq!(error.class(), Class::WrongKey, "{error}");
    assert!(error.remedy().contains("rotated in the vault"));
}

#[tokio::test]
async fn azure_admits_a_certificate_by_file_and_a_secret() {
    let service = Azure::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("azure.pfx");
    for password in ["", "with a password"] {
        std::fs::write(&path, service.pkcs12(password)).unwrap();
        let credential = Credential::CertificateFile {
            path: path.clone(),
            password: password.to_owned().into(),
        };
        assert_eq!(prove(&service.with("one", credential)).await, Ok(()));
    }
    let secret = |text: &str| Credential::Secret(text.to_owned().into());
    assert_eq!(prove(&service.with("one", secret(SECRET))).await, Ok(()));
    let kms = service.with("one", secret("do-not-print"));
    assert!(!format!("{kms:?}").contains("do-not-print"));
    let error = kms.describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied);
    assert!(error.message.contains("AADSTS7000215"), "{error}");

    let wrong = Credential::CertificateFile {
        path: path.clone(),
        password: String::new().into(),
    };
    let error = service.with("one", wrong).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Malformed, "{error}");
    std::fs::remove_file(&path).unwrap();
    let gone = Credential::CertificateFile {
        path,
        password: String::new().into(),
    };
    let error = service.with("one", gone).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied);
    assert!(error.message.contains("azure.pfx"), "{error}");
}

#[tokio::test]
async fn google_is_asked_again_when_bytes_changed_on_the_way() {
    let service = Gcp::start().await;
    let kms = service.kms("one");
    let made = kms.generate().await.unwrap();
    service.flip_bits();
    for error in [
        kms.generate().await.err().unwrap(),
        kms.unwrap(&made.wrapped).await.err().unwrap(),
    ] {
        assert_eq!(error.class, Class::Unavailable, "{error}");
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}

#[tokio::test]
async fn google_admits_workload_identity_federation() {
    let service = Gcp::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    for (token, impersonate) in [("of-the-pod", false), ("to-impersonate", true)] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let account = service.external_account(&file, impersonate);
        assert_eq!(prove(&service.with("one", &account)).await, Ok(()));
    }
    std::fs::write(&file, "of-somebody-else").unwrap();
    let account = service.external_account(&file, false);
    let error = service.with("one", &account).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied);
    assert!(error.message.contains("attribute condition"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = service.with("one", &account).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
}

#[tokio::test]
async fn a_bad_credentials_file_is_told_without_its_content() {
    let service = Gcp::start().await;
    let mut account = service.service_account();
    account["private_key"] = "do-not-print".into();
    let kms = service.with("one", &account);
    assert!(!format!("{kms:?}").contains("do-not-print"));
    let error = kms.describe().await.unwrap_err();
    assert_eq!(error.class, Class::Malformed);
    assert!(!error.to_string().contains("do-not-print"), "{error}");
    account["type"] = "do-not-print".into();
    let error = service.with("one", &account).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Malformed);
    assert!(!error.to_string().contains("do-not-print"), "{error}");

    let missing = GcpKms::new(Settings {
        key_id: "projects/p/locations/l/keyRings/r/cryptoKeys/k/".to_owned(),
        vendor: Vendor::V1,
        endpoint: Some(service.url.clone()),
        credentials: Credentials::File("/nowhere/key.json".into()),
    });
    let error = missing.describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied);
    assert!(error.message.contains("/nowhere/key.json"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_no_key_of_google_is_refused_before_anything_is_sent() {
    for name in [
        "abc",
        "projects/p/locations/l/keyRings/r/cryptoKeys/",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k//",
    ] {
        let kms = GcpKms::new(Settings {
            key_id: name.to_owned(),
            vendor: Vendor::V1,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            credentials: Credentials::Default,
        });
        let error = kms.describe().await.unwrap_err();
        assert_eq!(error.class, Class::Malformed, "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_contract() {
    let Some(service) = Vault::start().await else {
        return;
    };
    contract(&service).await;
}
