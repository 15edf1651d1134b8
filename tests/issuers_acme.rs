//! The issuer `acme` on real servers: step-ca and pebble, with names that a real name server is asked for.
#![allow(clippy::unwrap_used)]

mod acme;
#[allow(dead_code)]
mod contract;
#[allow(dead_code)]
mod corporate;

use std::net::SocketAddr;
use std::sync::Arc;

use acme::{HMAC, KEY_ID, Kept, Pebble, StepCa, TSIG, World, free_port};
use contract::{contract_for, go};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use instant_acme::ChallengeType;
use jiff::{SignedDuration, Timestamp};
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::issuer::acme::{AcmeCa, AcmeSettings, ExternalAccount, Files, Proof, Solver};
use tikv_security::issuer::{Issuer, IssuerClass, IssuerError, NewCa, Order};
use tikv_security::tls::anchor::CaCertificates;
use tikv_security::tls::leaf::{LeafSpec, LeafUse};
use tikv_security::tls::private::PrivatePem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a store's certificate says where its names are checked: no addresses, and a common name that is one of them.
fn checkable(key: KeyAlgorithm) -> LeafSpec {
    let name = "tikv.basic.tikv.tikv-security".to_owned();
    LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        dns: [
            name.clone(),
            "*.peer.tikv.svc".to_owned(),
            "peer.tikv.svc".to_owned(),
        ]
        .into(),
        common_name: name,
        ips: std::iter::empty().collect(),
        duration: SignedDuration::from_hours(24),
        key,
    }
}

/// The same without wildcards, which no file proves.
fn by_files(key: KeyAlgorithm) -> LeafSpec {
    let mut spec = checkable(key);
    spec.dns.remove("*.peer.tikv.svc");
    spec.dns.insert("tikv-0.peer.tikv.svc".to_owned());
    spec
}

fn order(spec: LeafSpec, root: &[u8], what_for: LeafUse) -> Order {
    Order {
        spec,
        what_for,
        anchor_pem: String::from_utf8(root.to_vec()).unwrap(),
        now: Timestamp::now(),
        pointers: None,
        number: None,
    }
}

fn of_step(server: &StepCa, accounts: &Arc<Kept>, solver: impl Solver + 'static) -> AcmeCa {
    let settings = AcmeSettings {
        server: server.server("tikv"),
        client_server: Some(server.server("clients")),
        root: server.root.clone(),
        roots: server.root.clone(),
        email: Some("tikv@example.com".to_owned()),
        profile: None,
        external_account: None,
    };
    AcmeCa::new("acme", settings, accounts.clone(), Arc::new(solver))
}

fn of_pebble(server: &Pebble, key: Option<&[u8]>, solver: impl Solver + 'static) -> AcmeCa {
    let settings = AcmeSettings {
        server: server.server(),
        client_server: None,
        root: server.root.clone(),
        roots: server.trusted.clone(),
        email: None,
        profile: Some("default".to_owned()),
        external_account: key.map(|key| ExternalAccount {
            key_id: KEY_ID.to_owned(),
            key: SecretBytes::new(key.to_vec()),
        }),
    };
    AcmeCa::new(
        "acme",
        settings,
        Arc::new(Kept::default()),
        Arc::new(solver),
    )
}

/// Files on a port of this machine.
struct Served(Files);

impl Served {
    async fn on(port: u16) -> Self {
        let files = Files::default();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let served = files.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let length = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                let token = asked
                    .split(' ')
                    .nth(1)
                    .and_then(|path| path.rsplit('/').next());
                let file = token.and_then(|token| served.get(token));
                let answer = match file {
                    Some(file) => format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{file}",
                        file.len()
                    ),
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self(files)
    }
}

impl Solver for Served {
    fn kind(&self) -> ChallengeType {
        ChallengeType::Http01
    }

    fn show<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        for proof in proofs {
            self.0.put(proof);
        }
        async { Ok(()) }.boxed()
    }

    fn take_back<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        for proof in proofs {
            self.0.remove(proof);
        }
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn step_ca_keeps_the_contract_by_txt_records() {
    let Some(world) = World::start() else { return };
    let server = StepCa::start(&world, free_port());
    let accounts = Arc::new(Kept::default());
    let directory = tempfile::tempdir().unwrap();
    let issuer = of_step(&server, &accounts, world.knot.solver(TSIG));
    let same = |_: &CaCertificates, key: Option<PrivatePem>| -> Arc<dyn Issuer> {
        assert!(key.is_none(), "the CA keeps its key");
        Arc::new(of_step(&server, &accounts, world.knot.solver(TSIG)))
    };
    let ca = contract_for(checkable, "acme", &issuer, same, directory.path()).await;
    go(directory.path());
    assert_eq!(
        accounts.made(),
        2,
        "one for each directory, and then the same"
    );
    assert!(ca.anchor().subject.contains("Company Root"), "{ca:?}");
    let log = world.knot.log();
    assert!(!log.contains("denied"), "{log}");

    let wanted = || {
        order(
            checkable(KeyAlgorithm::EcdsaP256),
            &server.root,
            LeafUse::Both,
        )
    };
    let refused = async |issuer: &AcmeCa, wanted: Order| {
        let error = issuer.issue(&wanted).await.unwrap_err();
        println!("{error} [{}]", error.remedy);
        assert_eq!(error.issuer, "acme", "{error}");
        error
    };
    // A key that the name server does not know, for a name that was not shown before.
    let stranger = of_step(
        &server,
        &accounts,
        world.knot.solver(b"another key of the same length!!"),
    );
    let mut new_name = wanted();
    new_name.spec.dns.insert("new.tikv.svc".to_owned());
    let error = refused(&stranger, new_name).await;
    assert_eq!(error.class, IssuerClass::Denied, "{error}");
    let mut elsewhere = wanted();
    elsewhere.spec.dns.insert("tikv.example.com".to_owned());
    let error = refused(&issuer, elsewhere).await;
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
    assert!(error.message.contains("tikv.example.com"), "{error}");
    let mut address = wanted();
    address.spec.ips.insert("127.0.0.1".parse().unwrap());
    let error = refused(&issuer, address).await;
    assert!(error.message.contains("127.0.0.1"), "{error}");

    // An account that the server forgot is made again.
    accounts
        .damage(|account| account["id"] = format!("{}0", account["id"].as_str().unwrap()).into());
    issuer.issue(&wanted()).await.unwrap();
    assert_eq!(accounts.made(), 3);
    accounts.damage(|account| *account = "nonsense".into());
    let error = refused(&issuer, wanted()).await;
    assert_eq!(error.class, IssuerClass::Malformed, "{error}");
    assert!(!error.to_string().contains("nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn step_ca_keeps_the_contract_by_files() {
    let Some(world) = World::start() else { return };
    let port = free_port();
    let server = StepCa::start(&world, port);
    let served = Served::on(port).await;
    let files = served.0.clone();
    let accounts = Arc::new(Kept::default());
    let directory = tempfile::tempdir().unwrap();
    let issuer = of_step(&server, &accounts, served);
    let same = |_: &CaCertificates, _: Option<PrivatePem>| -> Arc<dyn Issuer> {
        Arc::new(of_step(&server, &accounts, Served(files.clone())))
    };
    contract_for(by_files, "acme", &issuer, same, directory.path()).await;
    go(directory.path());
    let wildcard = order(
        checkable(KeyAlgorithm::EcdsaP256),
        &server.root,
        LeafUse::Both,
    );
    let error = issuer.issue(&wildcard).await.unwrap_err();
    println!("{error} [{}]", error.remedy);
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
    assert!(error.message.contains("*.peer.tikv.svc"), "{error}");
    // Nobody answers there.
    let silent = of_step(&server, &accounts, Served(Files::default()));
    let mut new_name = order(
        by_files(KeyAlgorithm::EcdsaP256),
        &server.root,
        LeafUse::Both,
    );
    new_name.spec.dns.insert("new.tikv.svc".to_owned());
    let error = silent.issue(&new_name).await.unwrap_err();
    println!("{error} [{}]", error.remedy);
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
    assert!(error.message.contains("new.tikv.svc"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pebble_is_understood_and_what_it_gives_is_not_used_for_stores() {
    let Some(world) = World::start() else { return };
    let port = free_port();
    let server = Pebble::start(&world, port);
    let wanted = order(
        checkable(KeyAlgorithm::EcdsaP256),
        &server.root,
        LeafUse::Both,
    );
    let new = NewCa {
        common_name: String::new(),
        duration: SignedDuration::ZERO,
        now: Timestamp::now(),
    };
    let dns = || world.knot.solver(TSIG);

    let error = of_pebble(&server, None, dns()).look().await.unwrap_err();
    println!("{error} [{}]", error.remedy);
    assert_eq!(error.class, IssuerClass::Denied, "{error}");
    let wrong = of_pebble(&server, Some(b"an HMAC key that nobody gave out"), dns());
    let error = wrong.issue(&wanted).await.unwrap_err();
    println!("{error} [{}]", error.remedy);
    assert_eq!(error.class, IssuerClass::Denied, "{error}");

    let issuer = of_pebble(&server, Some(HMAC), dns());
    let ca = issuer.authority(&new).await.unwrap().certificates;
    assert!(ca.anchor().subject.contains("Pebble Root"), "{ca:?}");
    // All of ACME is gone through, and then its certificate is for servers alone, as public CAs give them.
    let mut both = wanted.clone();
    for _ in 0..5 {
        let error = issuer.issue(&both).await.unwrap_err();
        println!("{error} [{}]", error.remedy);
        assert_eq!(error.class, IssuerClass::WrongAnswer, "{error}");
        let name = format!("another-{}.tikv.svc", both.spec.dns.len());
        both.spec.dns.insert(name);
    }
    let files = of_pebble(&server, Some(HMAC), Served::on(port).await);
    let mut named = order(by_files(KeyAlgorithm::Rsa2048), &server.root, LeafUse::Both);
    named.spec.dns.insert("by-file.tikv.svc".to_owned());
    let error = files.issue(&named).await.unwrap_err();
    assert_eq!(error.class, IssuerClass::WrongAnswer, "{error}");
    let unasked = order(named.spec.clone(), &server.root, LeafUse::Client);
    let error = files.issue(&unasked).await.unwrap_err();
    assert_eq!(error.class, IssuerClass::Refused, "{error}");
}

#[tokio::test]
async fn a_server_that_is_none_is_told() {
    let settings = |server: &str| AcmeSettings {
        server: server.to_owned(),
        client_server: None,
        root: Vec::new(),
        roots: Vec::new(),
        email: None,
        profile: None,
        external_account: None,
    };
    let files = Served(Files::default());
    let ca = AcmeCa::new(
        "acme",
        settings("https://127.0.0.1:1/directory"),
        Arc::new(Kept::default()),
        Arc::new(files),
    );
    let error = ca.look().await.unwrap_err();
    assert_eq!(error.class, IssuerClass::Malformed, "no root: {error}");
}
