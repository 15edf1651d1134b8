//! CRLs and answers of OCSP, as OpenSSL judges them.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tikv_security::api::v1alpha1::{KeyAlgorithm, RevocationReason};
use tikv_security::tls::authority::Authority;
use tikv_security::tls::leaf::{LeafSpec, LeafUse};
use tikv_security::tls::parse::parse_one;
use tikv_security::tls::revocation::Pointers;
use tikv_security::tls::revocation::crl::{CrlSpec, RevokedLine};
use tikv_security::tls::revocation::ocsp::{Responder, answer};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn openssl(dir: &Path, line: &str) -> Output {
    Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn content(dir: &Path, line: &str) -> String {
    let output = openssl(dir, line);
    let said = said(&output);
    assert!(output.status.success(), "openssl {line}: {said}");
    said
}

/// Writes a leaf of the CA; its serial number.
fn leaf(dir: &Path, ca: &Authority, name: &str) -> String {
    let spec = LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        common_name: format!("{name}.tikv-security"),
        dns: [format!("{name}.example")].into(),
        ips: [IpAddr::from([127, 0, 0, 1])].into(),
        duration: DAY,
        key: KeyAlgorithm::EcdsaP256,
    };
    let made = ca.issue_for(&spec, LeafUse::Client, now()).unwrap();
    std::fs::write(dir.join(format!("{name}.crt")), &made.certificate_pem).unwrap();
    parse_one(made.certificate_pem.as_bytes()).unwrap().serial
}

/// A CA, two leaves of which the first is revoked, and the list.
struct Scene {
    dir: TempDir,
    revoked: String,
    crl: Vec<u8>,
}

impl Scene {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn new(ca: &Authority) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).unwrap();
        let revoked = leaf(dir.path(), ca, "bad");
        leaf(dir.path(), ca, "good");
        let spec = CrlSpec {
            number: 0x8000_0001,
            this_update: now(),
            next_update: now() + DAY,
            revoked: vec![RevokedLine {
                serial: revoked.clone(),
                at: now(),
                reason: RevocationReason::KeyCompromise,
            }],
        };
        let crl = ca.sign_crl(&spec).unwrap();
        std::fs::write(dir.path().join("ca.crl"), crl.pem).unwrap();
        std::fs::write(dir.path().join("ca.crl.der"), &crl.der).unwrap();
        Self {
            dir,
            revoked,
            crl: crl.der,
        }
    }
}

fn again(ca: &Authority) -> Authority {
    let key = ca.key_pem().unwrap();
    Authority::from_pem(ca.certificate_pem().as_bytes(), key.expose()).unwrap()
}

/// CAs that can be in use: made here, and by others.
fn authorities() -> Vec<(&'static str, Authority)> {
    let mut all = vec![(
        "P-256, made here",
        Authority::generate("demo CA", now(), DAY * 10).unwrap(),
    )];
    for (name, key) in [
        ("RSA 2048 of OpenSSL", "rsa:2048"),
        ("P-384 of OpenSSL", "ec:p384"),
    ] {
        let dir = TempDir::new().unwrap();
        if key == "ec:p384" {
            content(
                dir.path(),
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key",
            );
        } else {
            content(
                dir.path(),
                "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key",
            );
        }
        content(
            dir.path(),
            "req -x509 -key key -subj /O=corp/CN=issuing -days 10 -out crt -addext keyUsage=critical,keyCertSign,cRLSign",
        );
        let read = |file: &str| std::fs::read(dir.path().join(file)).unwrap();
        let ca = Authority::from_pem(&read("crt"), &read("key")).unwrap();
        all.push((name, ca));
    }
    all
}

#[test]
fn openssl_finds_the_revoked_certificate_in_the_list_and_no_other() {
    for (name, ca) in authorities() {
        let scene = Scene::new(&ca);
        let text = content(scene.path(), "crl -in ca.crl -CAfile ca.crt -noout -text");
        for word in [
            "verify OK",
            &scene.revoked.to_uppercase(),
            "Key Compromise",
            "X509v3 CRL Number",
            "X509v3 Authority Key Identifier",
        ] {
            assert!(text.contains(word), "{name}: {word}\n{text}");
        }
        let der = content(
            scene.path(),
            "crl -inform DER -in ca.crl.der -noout -crlnumber",
        );
        assert!(der.contains("80000001"), "{name}: {der}");
        let line = "verify -CAfile ca.crt -CRLfile ca.crl -crl_check";
        content(scene.path(), &format!("{line} good.crt"));
        let refused = openssl(scene.path(), &format!("{line} bad.crt"));
        assert!(!refused.status.success(), "{name}");
        assert!(said(&refused).contains("certificate revoked"), "{name}");
    }
}

#[test]
fn an_empty_list_is_one() {
    let ca = Authority::generate("demo CA", now(), DAY).unwrap();
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).unwrap();
    leaf(dir.path(), &ca, "good");
    let spec = CrlSpec {
        number: 1,
        this_update: now(),
        next_update: now() + DAY,
        revoked: Vec::new(),
    };
    let crl = ca.sign_crl(&spec).unwrap();
    std::fs::write(dir.path().join("ca.crl"), crl.pem).unwrap();
    content(
        dir.path(),
        "verify -CAfile ca.crt -CRLfile ca.crl -crl_check good.crt",
    );
}

/// Asks and answers; what OpenSSL makes of it.
fn ask(scene: &Scene, responders: &[Responder], certificate: &str, hash: &str) -> String {
    let dir = scene.path();
    content(
        dir,
        &format!("ocsp {hash} -issuer ca.crt -cert {certificate} -reqout request"),
    );
    let request = std::fs::read(dir.join("request")).unwrap();
    let answered = answer(responders, &request, now()).unwrap();
    std::fs::write(dir.join("answer"), answered.der).unwrap();
    // The nonce is that of the request.
    let judged = content(
        dir,
        "ocsp -reqin request -respin answer -CAfile ca.crt -verify_other ca.crt -resp_text",
    );
    assert!(judged.contains("OCSP Nonce"), "{judged}");
    let about = format!("{hash} -issuer ca.crt -cert {certificate} -no_nonce");
    content(dir, &format!("ocsp {about} -respin answer -CAfile ca.crt"))
}

#[test]
fn openssl_takes_the_answers_of_ocsp() {
    for (name, ca) in authorities() {
        let scene = Scene::new(&ca);
        let other = Authority::generate("other CA", now(), DAY).unwrap();
        let theirs = Scene::new(&other);
        let responders = [
            Responder::new(other, &theirs.crl).unwrap(),
            Responder::new(again(&ca), &scene.crl).unwrap(),
        ];
        for hash in ["-sha1", "-sha256"] {
            let bad = ask(&scene, &responders, "bad.crt", hash);
            for word in [
                "Response verify OK",
                "bad.crt: revoked",
                "Reason: keyCompromise",
            ] {
                assert!(bad.contains(word), "{name} {hash}: {word}\n{bad}");
            }
            let good = ask(&scene, &responders, "good.crt", hash);
            assert!(good.contains("Response verify OK"), "{name} {hash}: {good}");
            assert!(good.contains("good.crt: good"), "{name} {hash}: {good}");
            assert!(good.contains("Next Update"), "{name} {hash}: {good}");
        }
    }
}

#[test]
fn what_no_ca_of_ours_signed_is_unknown_and_nonsense_is_malformed() {
    let ca = Authority::generate("demo CA", now(), DAY).unwrap();
    let scene = Scene::new(&ca);
    let stranger = Authority::generate("other CA", now(), DAY).unwrap();
    let theirs = Scene::new(&stranger);
    content(
        theirs.path(),
        "ocsp -issuer ca.crt -cert good.crt -reqout request -no_nonce",
    );
    let request = std::fs::read(theirs.path().join("request")).unwrap();
    let responders = [Responder::new(again(&ca), &scene.crl).unwrap()];
    let answered = answer(&responders, &request, now()).unwrap();
    assert!(answered.next_update.is_some(), "it may be kept");
    std::fs::write(scene.path().join("answer"), answered.der).unwrap();
    let text = content(
        scene.path(),
        "ocsp -respin answer -CAfile ca.crt -noverify -resp_text",
    );
    assert!(text.contains("Cert Status: unknown"), "{text}");
    for nonsense in [&b""[..], b"\x30\x00", b"GET / HTTP/1.1", &[0xff; 9000]] {
        let answered = answer(&responders, nonsense, now()).unwrap();
        std::fs::write(scene.path().join("answer"), answered.der).unwrap();
        let text = said(&openssl(
            scene.path(),
            "ocsp -respin answer -noverify -resp_text",
        ));
        assert!(text.contains("malformedrequest"), "{text}");
    }
}

#[test]
fn certificates_name_the_list_and_the_responder_when_they_are_to() {
    let ca = Authority::generate("demo CA", now(), DAY).unwrap();
    let serial = ca.info().serial.clone();
    let dir = TempDir::new().unwrap();
    leaf(dir.path(), &ca, "plain");
    let pointers = Pointers::below("http://tks.example:8082/", "tikv", "demo", &serial);
    leaf(dir.path(), &ca.pointing_to(Some(pointers)), "pointing");
    let text = content(dir.path(), "x509 -in pointing.crt -noout -text");
    for word in [
        &*format!("URI:http://tks.example:8082/crl/tikv/demo/{serial}.crl"),
        "OCSP - URI:http://tks.example:8082/ocsp/tikv/demo",
    ] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let said = content(dir.path(), "x509 -in pointing.crt -noout -ocsp_uri");
    assert_eq!(said.trim(), "http://tks.example:8082/ocsp/tikv/demo");
    let plain = content(dir.path(), "x509 -in plain.crt -noout -text");
    assert!(!plain.contains("URI:"), "{plain}");
}
