//! When a renewed certificate is served, and who is let in: the rules of each port.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslConnector, SslMethod, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tikv_security_standins::net::server::{Port, Reply, serve};
use tikv_security_standins::net::tls::{Acceptor, Files, Rules};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

struct Issued {
    certificate: X509,
    key: PKey<Private>,
}

struct Server {
    directory: tempfile::TempDir,
    ca: Issued,
    address: SocketAddr,
}

#[tokio::test(flavor = "multi_thread")]
async fn tikv_looks_at_the_certificate_alone_and_keeps_the_old_pair() {
    let server = Server::start(Rules::TikvGrpc, 1).await;
    assert_eq!(server.serial().await, Some(1));
    // A key that does not fit: the old pair stays, and nobody looks again until the certificate changes.
    let renewed = issue("tikv", 2, Some(&server.ca));
    server.write("tls.crt", &renewed.certificate.to_pem().unwrap(), 1);
    assert_eq!(server.serial().await, Some(1));
    server.write(
        "tls.key",
        &renewed.key.private_key_to_pem_pkcs8().unwrap(),
        2,
    );
    assert_eq!(server.serial().await, Some(1));
    server.write("tls.crt", &renewed.certificate.to_pem().unwrap(), 3);
    assert_eq!(server.serial().await, Some(2));
    // Without h2 nobody is let in.
    assert_eq!(server.ask(|_| {}, false).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_port_looks_after_a_failure_only_and_speaks_tls_1_2() {
    let server = Server::start(Rules::TikvStatus, 1).await;
    server.renew(2);
    assert_eq!(server.serial().await, Some(1));
    let newer = |builder: &mut openssl::ssl::SslConnectorBuilder| {
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_3))
            .unwrap();
    };
    assert_eq!(server.ask(newer, true).await, None);
    assert_eq!(server.serial().await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn pd_reads_its_leaf_each_time_and_its_ca_once() {
    let server = Server::start(Rules::PdClient, 1).await;
    server.renew(2);
    assert_eq!(server.serial().await, Some(2));
    let other = issue("ca", 9, None);
    let both = [
        server.ca.certificate.to_pem().unwrap(),
        other.certificate.to_pem().unwrap(),
    ]
    .concat();
    server.write("ca.crt", &both, 4);
    assert_eq!(
        server.serial_with(&issue("client", 3, Some(&other))).await,
        None
    );
    // What does not fit is not served, and nothing else is.
    let renewed = issue("pd", 5, Some(&server.ca));
    server.write(
        "tls.key",
        &renewed.key.private_key_to_pem_pkcs8().unwrap(),
        5,
    );
    assert_eq!(server.serial().await, None);
    server.write("tls.crt", &renewed.certificate.to_pem().unwrap(), 6);
    assert_eq!(server.serial().await, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_caller_blocks_the_status_port() {
    let server = Server::start(Rules::TikvStatus, 1).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(500), server.serial()).await;
    assert!(waiting.is_err(), "it was answered");
    drop(silent);
    assert_eq!(server.serial().await, Some(1));
}

impl Server {
    async fn start(rules: Rules, serial: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = issue("ca", 100, None);
        // Free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let server = Self {
            directory,
            ca,
            address,
        };
        server.write("ca.crt", &server.ca.certificate.to_pem().unwrap(), 0);
        server.renew(serial);
        let path = |name: &str| server.path(name).to_string_lossy().into_owned();
        let files = Files {
            ca: path("ca.crt"),
            cert: path("tls.crt"),
            key: path("tls.key"),
        };
        let acceptor = Arc::new(Acceptor::new(rules, files, Vec::new()).unwrap());
        let port = Port {
            tls: Some(acceptor),
            plain: false,
        };
        let listen = address.to_string();
        tokio::spawn(async move {
            serve(&listen, port, |_| async { Reply::Http(200, Vec::new()) }).await
        });
        // A connection without a handshake would count as a failed one.
        while server.serial().await.is_none() {
            tokio::task::yield_now().await;
        }
        server
    }

    fn renew(&self, serial: u32) {
        let renewed = issue("server", serial, Some(&self.ca));
        self.write(
            "tls.key",
            &renewed.key.private_key_to_pem_pkcs8().unwrap(),
            serial,
        );
        self.write("tls.crt", &renewed.certificate.to_pem().unwrap(), serial);
    }

    // Each content has a time of its own, however quick the test is.
    fn write(&self, name: &str, content: &[u8], time: u32) {
        fs::write(self.path(name), content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + u64::from(time));
        fs::File::options()
            .write(true)
            .open(self.path(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    async fn serial(&self) -> Option<u32> {
        self.ask(|_| {}, true).await
    }

    async fn serial_with(&self, client: &Issued) -> Option<u32> {
        self.shake(client, |_| {}, true).await
    }

    async fn ask(
        &self,
        change: impl FnOnce(&mut openssl::ssl::SslConnectorBuilder),
        h2: bool,
    ) -> Option<u32> {
        self.shake(&issue("client", 50, Some(&self.ca)), change, h2)
            .await
    }

    // The serial number that is served to a caller who is let in.
    async fn shake(
        &self,
        client: &Issued,
        change: impl FnOnce(&mut openssl::ssl::SslConnectorBuilder),
        h2: bool,
    ) -> Option<u32> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder
            .cert_store_mut()
            .add_cert(self.ca.certificate.clone())
            .unwrap();
        builder.set_certificate(&client.certificate).unwrap();
        builder.set_private_key(&client.key).unwrap();
        if h2 {
            builder.set_alpn_protos(b"\x02h2").unwrap();
        }
        change(&mut builder);
        let ssl: Ssl = builder
            .build()
            .configure()
            .unwrap()
            .into_ssl("localhost")
            .unwrap();
        let mut stream = SslStream::new(ssl, TcpStream::connect(self.address).await.ok()?).unwrap();
        std::pin::Pin::new(&mut stream).connect().await.ok()?;
        // With TLS 1.3 a caller learns only by reading that it was refused; an HTTP/2 server speaks first.
        let mut first = [0; 9];
        tokio::io::AsyncWriteExt::write_all(
            &mut stream,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        )
        .await
        .ok()?;
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)
            .await
            .ok()?;
        let served = stream
            .ssl()
            .peer_certificate()?
            .serial_number()
            .to_bn()
            .ok()?;
        served.to_dec_str().ok()?.parse().ok()
    }
}

fn issue(name: &str, serial: u32, by: Option<&Issued>) -> Issued {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(by.map_or(&*subject, |by| by.certificate.subject_name()))
        .unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    if by.is_none() {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
    } else {
        let mut names = SubjectAlternativeName::new();
        let names = names
            .dns("localhost")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
    }
    builder
        .sign(by.map_or(&key, |by| &by.key), MessageDigest::sha256())
        .unwrap();
    Issued {
        certificate: builder.build(),
        key,
    }
}
