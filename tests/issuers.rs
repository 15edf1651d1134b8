//! One contract for all issuers, on real services: OpenBao, moto, SoftHSM; and foreign judges of each certificate: OpenSSL and Go.
#![allow(clippy::unwrap_used)]

mod contract;
mod corporate;
#[allow(dead_code)]
mod moto;
#[allow(dead_code)]
mod openbao;
#[allow(dead_code)]
mod pki;
#[allow(dead_code)]
mod softhsm;

use std::sync::Arc;

use contract::{HOUR, contract, go, order, spec, wanted};
use corporate::{corporate, curve, pem};
use jiff::Timestamp;
use moto::Moto;
use openbao::OpenBao;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::issuer::{
    AwsSigner, CaFiles, HsmSigner, Issuer, IssuerClass, OwnCa, RemoteCa, SelfSigning, VaultPki,
    VaultPkiSettings,
};
use tikv_security::kms::vault::{Auth, Connection, VaultClient};
use tikv_security::tls::anchor::CaCertificates;
use tikv_security::tls::authority::Authority;
use tikv_security::tls::leaf::LeafUse;
use tikv_security::tls::private::PrivatePem;

fn stored(certificates: &CaCertificates, key: Option<PrivatePem>) -> Arc<dyn Issuer> {
    let key = key.expect("the cluster keeps the key");
    let authority = Authority::stored(certificates.clone(), key.expose()).unwrap();
    Arc::new(OwnCa::new("stored", authority))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_made_here_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract("selfSigned", &SelfSigning, stored, directory.path()).await;
    go(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_of_a_company_keeps_the_contract_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let keys = [
        ("rsa", PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
        ("p256", curve(Nid::X9_62_PRIME256V1)),
        ("p384", curve(Nid::SECP384R1)),
    ];
    let root_key = PKey::from_rsa(Rsa::generate(3072).unwrap()).unwrap();
    let root = corporate("Root", &root_key, None, 900);
    let middle = corporate("Middle", &root_key, Some((&root, &root_key)), 800);
    for (name, key) in &keys {
        let issuing = corporate("Issuing", key, Some((&middle, &root_key)), 700);
        let traditional = match key.rsa() {
            Ok(rsa) => rsa.private_key_to_pem().unwrap(),
            Err(_) => key.ec_key().unwrap().private_key_to_pem().unwrap(),
        };
        let forms = [
            ("pkcs8", key.private_key_to_pem_pkcs8().unwrap(), true),
            ("traditional", traditional, false),
        ];
        for (form, key, apart) in forms {
            let (certificate, anchor) = if apart {
                (pem(&[&issuing, &middle]), Some(pem(&[&root])))
            } else {
                (pem(&[&issuing, &middle, &root]), None)
            };
            let files = CaFiles {
                certificate,
                key: PrivatePem::new(key),
                anchor,
            };
            let issuer = OwnCa::of_files("caSecret corporate", &files).unwrap();
            let name = format!("caSecret-{name}-{form}");
            let ca = contract(&name, &issuer, stored, directory.path()).await;
            assert!(ca.signer().subject.contains("Issuing"), "{ca:?}");
            assert!(ca.anchor().subject.contains("Root"), "{ca:?}");
            assert_eq!(ca.ends(), ca.signer().not_after);
        }
    }
    go(directory.path());
}

#[tokio::test]
async fn what_is_no_usable_ca_is_refused_with_its_reason() {
    let key = curve(Nid::X9_62_PRIME256V1);
    let root = corporate("Root", &key, None, 900);
    let below = curve(Nid::X9_62_PRIME256V1);
    let issuing = corporate("Issuing", &below, Some((&root, &key)), 700);
    let other = corporate("Other", &key, None, 900);
    let pkcs8 = |key: &PKey<Private>| key.private_key_to_pem_pkcs8().unwrap();
    let own = Authority::generate("x", Timestamp::now(), HOUR * 100).unwrap();
    let leaf = own
        .issue(&spec(KeyAlgorithm::EcdsaP256), Timestamp::now())
        .unwrap();
    let cases = [
        (
            "another one than the root",
            pem(&[&root]),
            pkcs8(&key),
            Some(pem(&[&other])),
        ),
        (
            "neither in ca.crt nor the last",
            pem(&[&issuing]),
            pkcs8(&below),
            None,
        ),
        (
            "not signed by the one after it",
            pem(&[&issuing]),
            pkcs8(&below),
            Some(pem(&[&other])),
        ),
        (
            "did not sign itself",
            pem(&[&root]),
            pkcs8(&key),
            Some(pem(&[&issuing])),
        ),
        ("does not belong", pem(&[&root]), pkcs8(&below), None),
        (
            "not a CA certificate",
            leaf.certificate_pem.into_bytes(),
            pkcs8(&key),
            None,
        ),
        (
            "not a private key",
            pem(&[&root]),
            b"nonsense".to_vec(),
            None,
        ),
    ];
    for (words, certificate, key, anchor) in cases {
        let files = CaFiles {
            certificate,
            key: PrivatePem::new(key),
            anchor,
        };
        let error = OwnCa::of_files("caSecret corporate", &files).err().unwrap();
        assert_eq!(error.class, IssuerClass::Malformed);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("caSecret corporate"), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE KEY"));
    }
    let ending = corporate("Ending", &key, None, 0);
    let files = CaFiles {
        certificate: pem(&[&ending]),
        key: PrivatePem::new(pkcs8(&key)),
        anchor: None,
    };
    let ending = OwnCa::of_files("caSecret corporate", &files).unwrap();
    let ca = ending.authority(&wanted()).await.unwrap().certificates;
    let order = order(&ca, KeyAlgorithm::EcdsaP256, LeafUse::Both);
    let error = ending.issue(&order).await.unwrap_err();
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
}

fn vault(server: &OpenBao, role: &str, auth: Auth) -> VaultPki {
    let client = VaultClient::new(Connection {
        address: server.address(),
        ca: Some(server.trusted()),
        namespace: None,
        auth,
    });
    let settings = VaultPkiSettings {
        mount: "pki".to_owned(),
        role: role.to_owned(),
        client_role: Some("clients".to_owned()),
    };
    VaultPki::new(format!("vault pki/{role}"), Arc::new(client), settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_contract_and_says_what_it_refuses() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    pki::engine(&server);
    let directory = tempfile::tempdir().unwrap();
    let issuer = vault(&server, "tikv", server.service_account("operator"));
    let same = |_: &CaCertificates, key: Option<PrivatePem>| -> Arc<dyn Issuer> {
        assert!(key.is_none(), "Vault keeps its key");
        Arc::new(vault(&server, "tikv", server.service_account("operator")))
    };
    let ca = contract("vault", &issuer, same, directory.path()).await;
    assert!(ca.anchor().subject.contains("Company Root"), "{ca:?}");
    assert!(ca.signer().subject.contains("Company Issuing"), "{ca:?}");
    go(directory.path());

    let wanted = order(&ca, KeyAlgorithm::EcdsaP256, LeafUse::Both);
    let refused = async |issuer: VaultPki| {
        let error = issuer.issue(&wanted).await.unwrap_err();
        println!("{error} [{}]", error.remedy);
        assert!(error.issuer.starts_with("vault pki/"), "{error}");
        error
    };
    let account = || server.service_account("operator");
    let error = refused(vault(&server, "narrow", account())).await;
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
    assert!(
        error.message.contains("tikv.basic.tikv.tikv-security"),
        "{error}"
    );
    let error = refused(vault(&server, "missing", account())).await;
    assert_eq!(error.class, IssuerClass::NotFound, "{error}");
    let error = refused(vault(
        &server,
        "tikv",
        OpenBao::app_role("operator", "do-not-print"),
    ))
    .await;
    assert_eq!(error.class, IssuerClass::Denied, "{error}");
    assert!(!error.to_string().contains("do-not-print"));
    // A role whose certificates servers can not show.
    let error = refused(vault(&server, "clients", account())).await;
    assert_eq!(error.class, IssuerClass::WrongAnswer, "{error}");
    server.policy("operator", r#"path "pki/*" { capabilities = ["deny"] }"#);
    let error = refused(vault(&server, "tikv", account())).await;
    assert_eq!(error.class, IssuerClass::Denied, "{error}");
    server.seal();
    let error = refused(vault(&server, "tikv", account())).await;
    assert_eq!(error.class, IssuerClass::Unavailable, "{error}");
    let error = issuer.look().await.unwrap_err();
    assert_eq!(error.class, IssuerClass::Unavailable, "{error}");
    server.unseal();
    let told = issuer.look().await.unwrap();
    assert_eq!(told, Some(ca), "it is there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_aws_kms_keeps_the_contract() {
    let Some(moto) = Moto::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    for kind in ["ECC_NIST_P256", "RSA_2048"] {
        let key = moto.new_key(&format!(
            r#"{{"KeySpec": "{kind}", "KeyUsage": "SIGN_VERIFY"}}"#
        ));
        let signer = Arc::new(AwsSigner::new("kms", moto.kms(&key)));
        let issuer = RemoteCa::new("kms", signer.clone(), None);
        let made = |certificates: &CaCertificates, key: Option<PrivatePem>| -> Arc<dyn Issuer> {
            assert!(key.is_none(), "the key stays where it is");
            let certificates = Some(certificates.clone());
            Arc::new(RemoteCa::new("kms", signer.clone(), certificates))
        };
        let ca = contract(&format!("kms-{kind}"), &issuer, made, directory.path()).await;
        // Another key can not sign for this CA.
        let other = moto.new_key(r#"{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}"#);
        let other = Arc::new(AwsSigner::new("kms", moto.kms(&other)));
        let other = RemoteCa::new("kms", other, Some(ca.clone()));
        let wanted = order(&ca, KeyAlgorithm::EcdsaP256, LeafUse::Both);
        let error = other.issue(&wanted).await.unwrap_err();
        assert_eq!(error.class, IssuerClass::Malformed, "{error}");
    }
    go(directory.path());

    let look = async |key: &str| {
        let signer = Arc::new(AwsSigner::new("kms", moto.kms(key)));
        let error = RemoteCa::new("kms", signer, None).look().await.unwrap_err();
        println!("{error} [{}]", error.remedy);
        error.class
    };
    assert_eq!(look("missing").await, IssuerClass::NotFound);
    let symmetric = moto.new_key("{}");
    assert_ne!(look(&symmetric).await, IssuerClass::Unavailable);
    let wide = moto.new_key(r#"{"KeySpec": "ECC_NIST_P384", "KeyUsage": "SIGN_VERIFY"}"#);
    assert_eq!(look(&wide).await, IssuerClass::Malformed);
}

#[test]
fn a_key_in_a_token_keeps_the_contract() {
    let Some(_) = softhsm::inside("a_key_in_a_token_keeps_the_contract") else {
        return;
    };
    softhsm::make_pairs(
        "ca",
        &[
            ("p256", softhsm::Kind::P256),
            ("rsa", softhsm::Kind::Rsa(2048)),
            ("p384", softhsm::Kind::P384),
            ("weak", softhsm::Kind::Rsa(1024)),
        ],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        for key in ["p256", "rsa"] {
            let signer = Arc::new(HsmSigner::new("pkcs11", softhsm::key("ca", key)));
            let issuer = RemoteCa::new("pkcs11", signer.clone(), None);
            let made =
                |certificates: &CaCertificates, key: Option<PrivatePem>| -> Arc<dyn Issuer> {
                    assert!(key.is_none(), "the key stays where it is");
                    Arc::new(RemoteCa::new(
                        "pkcs11",
                        signer.clone(),
                        Some(certificates.clone()),
                    ))
                };
            contract(&format!("pkcs11-{key}"), &issuer, made, directory.path()).await;
        }
        go(directory.path());
        let look = async |token: &str, key: &str| {
            let signer = Arc::new(HsmSigner::new("pkcs11", softhsm::key(token, key)));
            let error = RemoteCa::new("pkcs11", signer, None)
                .look()
                .await
                .unwrap_err();
            println!("{error} [{}]", error.remedy);
            error.class
        };
        assert_eq!(look("ca", "missing").await, IssuerClass::NotFound);
        assert_eq!(look("ca", "p384").await, IssuerClass::Malformed);
        assert_eq!(look("ca", "weak").await, IssuerClass::Malformed);
        assert_eq!(look("absent", "p256").await, IssuerClass::Unavailable);
    });
}
