//! The contract of issuers with CA keys in Google Cloud KMS and Azure Key Vault, which are stand-ins with real cryptography.
#![allow(clippy::unwrap_used)]

mod contract;
#[allow(dead_code)]
mod corporate;
#[allow(dead_code)]
mod kms_standin;

use std::sync::Arc;

use contract::{contract, go, order};
use corporate::curve;
use kms_standin::azure::{Azure, VERSION};
use kms_standin::gcp::Gcp;
use kms_standin::{Standin, Weather};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::issuer::{AzureSigner, GcpSigner, Issuer, IssuerClass, KeySigner, RemoteCa};
use tikv_security::tls::anchor::CaCertificates;
use tikv_security::tls::leaf::LeafUse;
use tikv_security::tls::private::PrivatePem;

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// The contract, and what a service that does not sign makes of it. `other` is another key.
async fn keeps(
    name: &str,
    signer: Arc<dyn KeySigner>,
    other: Arc<dyn KeySigner>,
    directory: &std::path::Path,
) {
    let issuer = RemoteCa::new(name, signer.clone(), None);
    let made = |certificates: &CaCertificates, key: Option<PrivatePem>| -> Arc<dyn Issuer> {
        assert!(key.is_none(), "the key stays where it is");
        let certificates = Some(certificates.clone());
        Arc::new(RemoteCa::new(name, signer.clone(), certificates))
    };
    let ca = contract(name, &issuer, made, directory).await;
    let other = RemoteCa::new(name, other, Some(ca.clone()));
    let wanted = order(&ca, KeyAlgorithm::EcdsaP256, LeafUse::Both);
    let error = other.issue(&wanted).await.unwrap_err();
    assert_eq!(error.class, IssuerClass::Malformed, "{error}");
}

async fn class(signer: Arc<dyn KeySigner>) -> IssuerClass {
    let issuer = RemoteCa::new("kms", signer, None);
    let error = issuer.look().await.unwrap_err();
    println!("{error} [{}]", error.remedy);
    error.class
}

/// Each failure keeps its class.
async fn told_apart(standin: &dyn Standin, signer: Arc<dyn KeySigner>) {
    for (weather, expected) in [
        (Weather::Throttled, IssuerClass::Unavailable),
        (Weather::Down, IssuerClass::Unavailable),
        (Weather::Torn, IssuerClass::Unavailable),
        (Weather::Proxy, IssuerClass::Unavailable),
        (Weather::Nonsense, IssuerClass::Malformed),
        (Weather::Expired, IssuerClass::Denied),
        (Weather::Forbidden, IssuerClass::Denied),
        (Weather::Disabled, IssuerClass::Refused),
        (Weather::PendingDeletion, IssuerClass::Refused),
    ] {
        standin.set(weather);
        let found = class(signer.clone()).await;
        // Half of an answer is none, or one that can not be read.
        let torn = weather == Weather::Torn && found == IssuerClass::Malformed;
        assert!(found == expected || torn, "{weather:?}: {found:?}");
    }
    standin.set(Weather::Fair);
    RemoteCa::new("kms", signer, None).look().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_google_cloud_kms_keeps_the_contract() {
    let service = Gcp::start().await;
    let directory = tempfile::tempdir().unwrap();
    let signer = |version: &str| -> Arc<dyn KeySigner> {
        let key = service.with(version, &service.service_account());
        Arc::new(GcpSigner::new("kms", key))
    };
    let p256 = curve(Nid::X9_62_PRIME256V1);
    let p256 = service.new_signing("p256", p256, "EC_SIGN_P256_SHA256");
    let wide = rsa(3072);
    let wide = service.new_signing("rsa", wide, "RSA_SIGN_PKCS1_3072_SHA256");
    keeps("gcp-p256", signer(&p256), signer(&wide), directory.path()).await;
    keeps("gcp-rsa", signer(&wide), signer(&p256), directory.path()).await;
    go(directory.path());
    told_apart(&service, signer(&p256)).await;

    let key = curve(Nid::SECP384R1);
    let p384 = service.new_signing("p384", key, "EC_SIGN_P384_SHA384");
    assert_eq!(class(signer(&p384)).await, IssuerClass::Malformed);
    let key = rsa(2048);
    let pss = service.new_signing("pss", key, "RSA_SIGN_PSS_2048_SHA256");
    assert_eq!(class(signer(&pss)).await, IssuerClass::Malformed);
    let missing = signer("p256/cryptoKeyVersions/9");
    assert_eq!(class(missing).await, IssuerClass::NotFound);
    assert_eq!(class(signer("p256")).await, IssuerClass::Malformed);
    // One bit on the way: tried again, never signed with.
    service.flip_bits();
    assert_eq!(class(signer(&p256)).await, IssuerClass::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_azure_key_vault_keeps_the_contract() {
    let service = Azure::start().await;
    let directory = tempfile::tempdir().unwrap();
    let of = |key: &str, version: &str| -> Arc<dyn KeySigner> {
        let vault = service.with(key, service.certificate(""));
        Arc::new(AzureSigner::new("kms", vault, version))
    };
    let signer = |key: &str| of(key, VERSION);
    service.new_signing("p256", curve(Nid::X9_62_PRIME256V1));
    service.new_signing("rsa", rsa(2048));
    keeps(
        "azure-p256",
        signer("p256"),
        signer("rsa"),
        directory.path(),
    )
    .await;
    keeps("azure-rsa", signer("rsa"), signer("p256"), directory.path()).await;
    go(directory.path());
    told_apart(&service, signer("p256")).await;

    service.new_signing("p384", curve(Nid::SECP384R1));
    assert_eq!(class(signer("p384")).await, IssuerClass::Malformed);
    assert_eq!(class(signer("missing")).await, IssuerClass::NotFound);
    // A key that wraps and does not sign.
    assert_eq!(class(signer("one")).await, IssuerClass::Malformed);
    assert_eq!(class(of("p256", "../x")).await, IssuerClass::Malformed);
    let other = "f".repeat(32);
    assert_eq!(class(of("p256", &other)).await, IssuerClass::NotFound);
}
