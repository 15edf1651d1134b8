//! `tikv-security certificate`, against OpenSSL as a foreign peer.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tikv-security"));
    command.arg("certificate").args(arguments).output().unwrap()
}

fn issue(directory: &Path, more: &[&str]) -> Output {
    let to = directory.to_string_lossy();
    run(&[
        &[
            "issue",
            "--common-name",
            "tikv.demo",
            "--ip",
            "127.0.0.1",
            "--to",
            &to,
        ],
        more,
    ]
    .concat())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `openssl s_server`, ended with the test.
struct Server(Child, u16);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(directory: &Path, more: &[&str]) -> Server {
    // Freed for the server; nobody else takes it within the moment in between.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let mut child = Command::new("openssl")
        .args(["s_server", "-www", "-accept", &format!("127.0.0.1:{port}")])
        .args([
            "-cert",
            &file("tls.crt"),
            "-key",
            &file("tls.key"),
            "-CAfile",
            &file("ca.crt"),
        ])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("ACCEPT"))
    );
    Server(child, port)
}

fn probe(server: &Server, directory: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let address = format!("127.0.0.1:{}", server.1);
    let ca = directory.join("ca.crt").to_string_lossy().into_owned();
    let output = run(&[&["probe", &address, "--ca", &ca, "--output", "json"], more].concat());
    let document = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        document.unwrap_or_else(|_| panic!("{}", told(&output))),
    )
}

fn codes(document: &Value) -> Vec<&str> {
    let all = document["findings"].as_array().unwrap();
    all.iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect()
}

#[test]
fn what_is_issued_is_taken_by_openssl_and_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("set");
    let done = issue(
        &directory,
        &["--new-ca", "test CA", "--dns", "*.peer.ns.svc"],
    );
    assert!(done.status.success(), "{}", told(&done));
    for (name, mode) in [("tls.key", 0o600), ("ca.key", 0o600), ("tls.crt", 0o644)] {
        use std::os::unix::fs::PermissionsExt as _;
        let found = directory
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    for purpose in ["sslserver", "sslclient"] {
        let verified = Command::new("openssl")
            .args([
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-CAfile",
                &file("ca.crt"),
                &file("tls.crt"),
            ])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", told(&verified));
    }
    let before = std::fs::read(directory.join("tls.key")).unwrap();
    let again = issue(&directory, &["--new-ca", "test CA"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        told(&again).contains("nothing is overwritten"),
        "{}",
        told(&again)
    );
    assert_eq!(std::fs::read(directory.join("tls.key")).unwrap(), before);

    let second = place.path().join("second");
    let done = issue(
        &second,
        &["--ca", &file("ca.crt"), "--ca-key", &file("ca.key")],
    );
    assert!(done.status.success(), "{}", told(&done));
    let second = second.join("tls.crt").to_string_lossy().into_owned();
    let fits = run(&[
        "inspect",
        &file("tls.crt"),
        "--key",
        &file("tls.key"),
        "--ca",
        &file("ca.crt"),
    ]);
    assert!(fits.status.success(), "{}", told(&fits));
    let mixed = run(&[
        "inspect",
        &second,
        "--key",
        &file("tls.key"),
        "--ca",
        &file("ca.crt"),
    ]);
    assert_eq!(mixed.status.code(), Some(1));
    assert!(
        told(&mixed).contains("tls.key does not belong to tls.crt"),
        "{}",
        told(&mixed)
    );
}

#[test]
fn each_kind_of_key_is_issued_and_another_is_told_what_there_is() {
    let place = tempfile::tempdir().unwrap();
    for (kind, bits) in [
        ("EcdsaP256", 256),
        ("Rsa2048", 2048),
        ("Rsa3072", 3072),
        ("Rsa4096", 4096),
    ] {
        let directory = place.path().join(kind);
        let done = issue(
            &directory,
            &["--new-ca", "test CA", "--key-algorithm", kind],
        );
        assert!(done.status.success(), "{}", told(&done));
        let pem = std::fs::read(directory.join("tls.crt")).unwrap();
        let key = X509::from_pem(&pem).unwrap().public_key().unwrap();
        assert_eq!(key.bits(), bits, "{kind}");
        let own = std::fs::read(directory.join("tls.key")).unwrap();
        let own = PKey::private_key_from_pem(&own).unwrap();
        assert!(own.public_eq(&key), "{kind}");
    }
    let wrong = place.path().join("wrong");
    let refused = issue(
        &wrong,
        &["--new-ca", "test CA", "--key-algorithm", "Ed25519"],
    );
    assert!(!refused.status.success());
    assert!(
        told(&refused).contains("EcdsaP256, Rsa2048, Rsa3072, Rsa4096"),
        "{}",
        told(&refused)
    );
}

#[test]
fn a_good_port_has_no_finding() {
    let place = tempfile::tempdir().unwrap();
    assert!(
        issue(place.path(), &["--new-ca", "test CA"])
            .status
            .success()
    );
    let server = serve(
        place.path(),
        &["-Verify", "1", "-cipher", "ECDHE+AESGCM:ECDHE+CHACHA20"],
    );
    let file = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let shown = ["--cert", &file("tls.crt"), "--key", &file("tls.key")];
    let (code, document) = probe(&server, place.path(), &shown);
    assert_eq!(codes(&document), [""; 0], "{document:#}");
    assert_eq!(code, Some(0));
    assert_eq!(document["trust"], "trusted");
    for version in document["versions"].as_array().unwrap() {
        assert_eq!(version["accepted"], true, "{version}");
        assert_eq!(version["asksForCertificate"], true, "{version}");
        assert!(
            version["fullMicroseconds"].as_u64().unwrap() > 0,
            "{version}"
        );
        assert!(version["resumedMicroseconds"].is_u64(), "{version}");
    }
    let suites = document["suites"].to_string();
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ] {
        assert!(suites.contains(suite), "{suites}");
    }
    let serial = String::from_utf8(
        Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-in", &file("tls.crt")])
            .output()
            .unwrap()
            .stdout,
    );
    let serial = serial.unwrap().trim().replace("serial=", "").to_lowercase();
    assert_eq!(document["chain"][0]["serial"], serial);
}

#[test]
fn what_a_port_should_refuse_is_found() {
    let place = tempfile::tempdir().unwrap();
    assert!(
        issue(place.path(), &["--new-ca", "test CA"])
            .status
            .success()
    );
    let weak = ["-tls1_2", "-cipher", "ALL:@SECLEVEL=0"];
    let server = serve(place.path(), &weak);
    let (code, document) = probe(&server, place.path(), &["--warn-within", "100000h"]);
    assert_eq!(code, Some(1));
    let found = codes(&document);
    for wanted in ["WeakAccepted", "CertificateEndsSoon", "NoClientCertificate"] {
        assert!(found.contains(&wanted), "{wanted}: {document:#}");
    }
    assert_eq!(document["versions"][0]["accepted"], false, "{document:#}");
    let (_, document) = probe(&server, place.path(), &["--name", "another.example"]);
    assert!(
        codes(&document).contains(&"CertificateUntrusted"),
        "{document:#}"
    );
}

#[test]
fn a_port_without_tls_is_an_error_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = run(&["probe", &address]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains(&address), "{}", told(&output));
    let output = run(&["probe", "nowhere"]);
    assert!(
        told(&output).contains("write HOST:PORT"),
        "{}",
        told(&output)
    );
}
