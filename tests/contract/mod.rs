//! One contract for all issuers, and foreign judges of each certificate: OpenSSL and Go.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::issuer::{Issuer, IssuerClass, NewCa, Order};
use tikv_security::tls::anchor::CaCertificates;
use tikv_security::tls::authority::Authority;
use tikv_security::tls::leaf::{LeafSpec, LeafUse};
use tikv_security::tls::private::PrivatePem;

/// One.
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What a store's certificate says.
pub fn spec(key: KeyAlgorithm) -> LeafSpec {
    LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        common_name: "tikv.basic.tikv.tikv-security".to_owned(),
        dns: ["*.peer.tikv.svc".to_owned(), "localhost".to_owned()].into(),
        ips: ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()].into(),
        duration: HOUR * 24,
        key,
    }
}

/// A CA to be made.
pub fn wanted() -> NewCa {
    NewCa {
        common_name: "basic.tikv.tikv-security CA".to_owned(),
        duration: HOUR * 8760,
        now: Timestamp::now(),
    }
}

/// An order of a certificate that any CA can give.
pub fn order(certificates: &CaCertificates, key: KeyAlgorithm, what_for: LeafUse) -> Order {
    Order {
        spec: spec(key),
        what_for,
        anchor_pem: certificates.anchor_pem().to_owned(),
        now: Timestamp::now(),
        pointers: None,
        number: None,
    }
}

/// All that every issuer must do. `signer` is who signs once its CA is stored. Answers the CA.
pub async fn contract(
    name: &str,
    issuer: &dyn Issuer,
    signer: impl Fn(&CaCertificates, Option<PrivatePem>) -> Arc<dyn Issuer>,
    directory: &Path,
) -> CaCertificates {
    contract_for(spec, name, issuer, signer, directory).await
}

/// The same, with certificates that say what this issuer can give.
pub async fn contract_for(
    spec: fn(KeyAlgorithm) -> LeafSpec,
    name: &str,
    issuer: &dyn Issuer,
    signer: impl Fn(&CaCertificates, Option<PrivatePem>) -> Arc<dyn Issuer>,
    directory: &Path,
) -> CaCertificates {
    let order = |certificates: &CaCertificates, key, what_for| Order {
        spec: spec(key),
        ..order(certificates, key, what_for)
    };
    let made = issuer.authority(&wanted()).await.unwrap();
    let signer = signer(&made.certificates, made.key);
    let anchor = made.certificates.anchor();
    assert_eq!(
        anchor.subject, anchor.issuer,
        "{name}: OpenSSL takes no other"
    );
    if let Some(told) = issuer.look().await.unwrap() {
        assert_eq!(told, made.certificates, "{name}");
    }
    let uses = [
        (KeyAlgorithm::EcdsaP256, LeafUse::Both),
        (KeyAlgorithm::EcdsaP256, LeafUse::Client),
        (KeyAlgorithm::Rsa2048, LeafUse::Both),
        (KeyAlgorithm::Rsa4096, LeafUse::Both),
    ];
    let mut keys = Vec::new();
    for (key, what_for) in uses {
        let order = order(&made.certificates, key, what_for);
        let leaf = signer.issue(&order).await.unwrap();
        let mut leaf_name = format!("{name}-{key:?}");
        if what_for == LeafUse::Client {
            leaf_name += "-client";
        }
        openssl(
            &leaf_name,
            &made.certificates,
            &leaf.certificate_pem,
            what_for,
        );
        let place = directory.join(&leaf_name);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("ca.crt"), made.certificates.anchor_pem()).unwrap();
        fs::write(place.join("tls.crt"), &leaf.certificate_pem).unwrap();
        fs::write(place.join("tls.key"), leaf.key_pem.expose()).unwrap();
        let told = format!("{leaf:?}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
        keys.push(leaf.key_pem.expose().to_vec());
    }
    keys.dedup();
    assert_eq!(
        keys.len(),
        uses.len(),
        "{name}: each certificate has a key of its own"
    );

    // What leads to another CA is not given out, whatever the issuer says.
    let foreign = Authority::generate("foreign", Timestamp::now(), HOUR * 100).unwrap();
    let mut wrong = order(&made.certificates, KeyAlgorithm::EcdsaP256, LeafUse::Both);
    wrong.anchor_pem = foreign.certificate_pem().to_owned();
    let error = signer.issue(&wrong).await.unwrap_err();
    assert_eq!(error.class, IssuerClass::WrongAnswer, "{name}: {error}");
    made.certificates
}

/// OpenSSL's verdict, by the root alone and without its partial chains.
fn openssl(name: &str, ca: &CaCertificates, chain: &str, what_for: LeafUse) {
    let mut chain = X509::stack_from_pem(chain.as_bytes()).unwrap();
    let leaf = chain.remove(0);
    let root = X509::from_pem(ca.anchor_pem().as_bytes()).unwrap();
    let purposes = [
        (X509PurposeId::SSL_CLIENT, true),
        (X509PurposeId::SSL_SERVER, what_for == LeafUse::Both),
    ];
    for (purpose, allowed) in purposes {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(root.clone()).unwrap();
        let mut param = X509VerifyParam::new().unwrap();
        param.set_purpose(purpose).unwrap();
        store.set_param(&param).unwrap();
        let mut between = Stack::new().unwrap();
        for one in &chain {
            between.push(one.clone()).unwrap();
        }
        let mut context = X509StoreContext::new().unwrap();
        let verdict = context.init(&store.build(), &leaf, &between, |context| {
            context.verify_cert()
        });
        assert_eq!(verdict.unwrap(), allowed, "{name}: {}", context.error());
    }
}

/// Go's verdict on all of them at once, and what zlint finds: both take their time to start.
pub fn go(directory: &Path) {
    let sets = fs::read_dir(directory).unwrap();
    let sets: Vec<_> = sets.map(|entry| entry.unwrap().path()).collect();
    assert!(!sets.is_empty());
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    for (place, program) in [(foreign.clone(), "verify.go"), (foreign.join("lint"), ".")] {
        let done = Command::new("go")
            .args(["run", program])
            .args(&sets)
            .current_dir(place)
            .output()
            .expect("install Go: https://go.dev/dl");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{program}: {told}");
    }
}
