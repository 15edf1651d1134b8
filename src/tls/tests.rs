use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, CLOCK_SKEW, IssueError};
use super::bundle::{BundleProblem, TlsSet};
use super::leaf::{LeafSpec, LeafUse};
use super::parse::{ParseError, parse_one};
use super::private::PrivatePem;
use super::probe::{ProbeError, Protocol, probe};
use super::request::signing_request;
use crate::api::v1alpha1::{KeyAlgorithm, Subject};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const PATIENCE: Duration = Duration::from_secs(5);

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn authority() -> Authority {
    Authority::generate("demo CA", now(), DAY * 10).unwrap()
}

fn spec() -> LeafSpec {
    LeafSpec {
        subject: crate::api::v1alpha1::Subject::default(),
        common_name: "tikv.demo.default.tikv-security".into(),
        dns: ["basic-tikv.ns.svc".into(), "*.basic-tikv-peer".into()].into(),
        ips: [IpAddr::from(Ipv4Addr::LOCALHOST)].into(),
        duration: DAY,
        key: KeyAlgorithm::EcdsaP256,
    }
}

fn set(ca: &Authority, spec: &LeafSpec) -> TlsSet {
    let leaf = ca.issue(spec, now()).unwrap();
    TlsSet {
        ca: ca.certificate_pem().as_bytes().to_vec(),
        certificate: leaf.certificate_pem.into_bytes(),
        key: leaf.key_pem,
    }
}

#[test]
fn leaf_is_what_was_ordered() {
    let ca = authority();
    let leaf = set(&ca, &spec()).check_against(&spec(), now()).unwrap();
    assert_eq!(leaf.common_name.as_deref(), Some(&*spec().common_name));
    assert!(leaf.server_auth && leaf.client_auth && !leaf.is_ca);
    assert!(leaf.serial.len() >= 16, "serial {} is short", leaf.serial);
    assert!(leaf.not_before <= now() - CLOCK_SKEW);
    assert_eq!(leaf.issuer, ca.info().subject);
}

#[test]
fn openssl_takes_leaf_for_both_directions() {
    use openssl::stack::Stack;
    use openssl::x509::store::X509StoreBuilder;
    use openssl::x509::verify::X509VerifyParam;
    use openssl::x509::{X509, X509PurposeId, X509StoreContext};

    let ca = authority();
    let set = set(&ca, &spec());
    let leaf = X509::from_pem(&set.certificate).unwrap();
    let root = X509::from_pem(&set.ca).unwrap();
    assert!(leaf.authority_key_id().is_some());
    assert_eq!(
        leaf.authority_key_id().unwrap().as_slice(),
        root.subject_key_id().unwrap().as_slice()
    );
    for purpose in [X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT] {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(root.clone()).unwrap();
        let mut param = X509VerifyParam::new().unwrap();
        param.set_purpose(purpose).unwrap();
        store.set_param(&param).unwrap();
        let store = store.build();
        let mut context = X509StoreContext::new().unwrap();
        let valid = context
            .init(&store, &leaf, &Stack::new().unwrap(), |context| {
                context.verify_cert()
            })
            .unwrap();
        assert!(valid, "{}", context.error());
    }
    let key = openssl::pkey::PKey::private_key_from_pem(set.key.expose()).unwrap();
    assert!(leaf.public_key().unwrap().public_eq(&key));
    assert!(set.key.expose().starts_with(b"-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn leaf_never_outlives_its_authority() {
    let ca = authority();
    let long = LeafSpec {
        duration: DAY * 1000,
        ..spec()
    };
    let leaf = set(&ca, &long).check(now()).unwrap();
    assert_eq!(leaf.not_after, ca.info().not_after);
    let end = ca.info().not_after;
    assert!(matches!(
        ca.issue(&spec(), end),
        Err(IssueError::AuthorityExpired(at)) if at == end
    ));
}

#[test]
fn a_subject_is_in_the_leaf_and_in_the_request_and_the_common_name_stays() {
    let subject = Subject {
        country: Some("DE".into()),
        province: Some("Hessen".into()),
        locality: Some("Köln".into()),
        organization: Some("Example, Ltd".into()),
        organizational_unit: Some("Storage".into()),
    };
    let wanted = LeafSpec { subject, ..spec() };
    let ca = authority();
    let leaf = set(&ca, &wanted).check(now()).unwrap();
    assert_eq!(
        leaf.common_name.as_deref(),
        Some(wanted.common_name.as_str())
    );
    let read = |name: &openssl::x509::X509NameRef| -> Vec<String> {
        let texts = name.entries().map(|one| {
            let value = one.data().to_string().unwrap();
            format!("{}={value}", one.object().nid().short_name().unwrap())
        });
        texts.collect()
    };
    let cn = format!("CN={}", wanted.common_name);
    let all = [
        "C=DE",
        "ST=Hessen",
        "L=Köln",
        "O=Example, Ltd",
        "OU=Storage",
        &cn,
    ];
    let made = openssl::x509::X509::from_pem(&set(&ca, &wanted).certificate).unwrap();
    assert_eq!(read(made.subject_name()), all);
    let asked = signing_request(&wanted, LeafUse::Both, now()).unwrap();
    let asked = openssl::x509::X509Req::from_pem(asked.pem.as_bytes()).unwrap();
    assert_eq!(read(asked.subject_name()), all);
}

#[test]
fn stored_authority_goes_on_signing() {
    let made = authority();
    let key = made.key_pem().unwrap();
    let again = Authority::from_pem(made.certificate_pem().as_bytes(), key.expose()).unwrap();
    let mut set = set(&again, &spec());
    set.ca = made.certificate_pem().as_bytes().to_vec();
    set.check(now()).unwrap();
}

#[test]
fn authority_with_wrong_key_is_refused() {
    let (one, other) = (authority(), authority());
    let mixed = Authority::from_pem(
        one.certificate_pem().as_bytes(),
        other.key_pem().unwrap().expose(),
    );
    assert!(matches!(mixed.err(), Some(IssueError::KeyMismatch)));
    let garbage = Authority::from_pem(one.certificate_pem().as_bytes(), b"\xff");
    assert!(matches!(garbage.err(), Some(IssueError::Key)));
    let leaf = set(&one, &spec());
    let leaf = Authority::from_pem(&leaf.certificate, leaf.key.expose());
    assert!(matches!(leaf.err(), Some(IssueError::NotAnAuthority)));
}

#[test]
fn what_is_wrong_with_a_set_is_said() {
    let (ca, other) = (authority(), authority());
    let good = set(&ca, &spec());

    let foreign_key = TlsSet {
        key: set(&ca, &spec()).key,
        ..good.clone()
    };
    assert_eq!(
        foreign_key.check(now()).unwrap_err(),
        BundleProblem::KeyMismatch
    );

    let foreign_ca = TlsSet {
        ca: other.certificate_pem().as_bytes().to_vec(),
        ..good.clone()
    };
    assert!(matches!(
        foreign_ca.check(now()).unwrap_err(),
        BundleProblem::Untrusted(_)
    ));

    let no_certificate = TlsSet {
        certificate: b"nothing".to_vec(),
        ..good.clone()
    };
    assert_eq!(
        no_certificate.check(now()).unwrap_err(),
        BundleProblem::Certificate(ParseError::Empty)
    );

    let no_key = TlsSet {
        key: PrivatePem::new(b"nothing".to_vec()),
        ..good.clone()
    };
    assert_eq!(no_key.check(now()).unwrap_err(), BundleProblem::Key);

    assert!(matches!(
        good.check(now() + DAY * 2).unwrap_err(),
        BundleProblem::Expired(_)
    ));
    assert!(matches!(
        good.check(now() - DAY).unwrap_err(),
        BundleProblem::NotYetValid(_)
    ));

    let mut more = spec();
    more.dns.insert("another.example".into());
    assert_eq!(
        good.check_against(&more, now()).unwrap_err(),
        BundleProblem::MissingName("another.example".into())
    );
}

#[test]
fn private_keys_are_never_shown() {
    let set = set(&authority(), &spec());
    let shown = format!("{set:?}");
    let body = std::str::from_utf8(set.key.expose()).unwrap();
    let body = body.lines().nth(1).unwrap();
    assert!(!shown.contains(body));
    assert!(shown.contains("PrivatePem(..)"));
}

async fn serve(set: &TlsSet, alpn: &[&[u8]]) -> std::net::SocketAddr {
    let (chain, key) = super::client::identity(set).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        super::client::roots(&set.ca).unwrap().into(),
        super::client::provider(),
    )
    .build()
    .unwrap();
    let mut config = ServerConfig::builder_with_provider(super::client::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test]
async fn probe_reads_the_served_serial() {
    let ca = authority();
    let served = set(&ca, &spec());
    let ours = set(&ca, &spec());
    let address = serve(&served, &[b"h2"]).await;
    let name = "basic-tikv.ns.svc";
    let seen = probe(address, name, Protocol::Grpc, &ours, now(), PATIENCE)
        .await
        .unwrap();
    let stored = parse_one(&served.certificate).unwrap();
    assert_eq!(seen.certificate.serial, stored.serial);
    assert!(seen.trusted);
}

#[tokio::test]
async fn probe_reads_a_foreign_certificate_and_says_so() {
    let served = set(&authority(), &spec());
    let ours = set(&authority(), &spec());
    let address = serve(&served, &[]).await;
    let seen = probe(address, "127.0.0.1", Protocol::Http, &ours, now(), PATIENCE)
        .await
        .unwrap();
    assert!(!seen.trusted);
}

#[tokio::test]
async fn probe_tells_plaintext_and_silence() {
    let ours = set(&authority(), &spec());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(200);
    let silent = probe(address, "127.0.0.1", Protocol::Http, &ours, now(), short).await;
    assert!(
        matches!(silent, Err(ProbeError::TimedOut(..))),
        "{silent:?}"
    );
    drop(listener);
    let closed = probe(address, "127.0.0.1", Protocol::Http, &ours, now(), PATIENCE).await;
    assert!(matches!(closed, Err(ProbeError::Connect(..))), "{closed:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let plain = probe(address, "127.0.0.1", Protocol::Http, &ours, now(), PATIENCE).await;
    assert!(matches!(plain, Err(ProbeError::NoTls(..))), "{plain:?}");
}
