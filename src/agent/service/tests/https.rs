use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::agent::service::board::Board;
use crate::agent::service::desired::DesiredFile;
use crate::agent::service::server::Server;
use crate::api::report::AgentReport;
use crate::tls::bundle::TlsSet;
use crate::tls::client::{self, provider};
use crate::tls::private::PrivatePem;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn leaf(&self, name: &str) -> TlsSet {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        TlsSet {
            ca: self.pem.clone().into_bytes(),
            certificate: leaf.pem().into_bytes(),
            key: PrivatePem::new(key.serialize_pem().into_bytes()),
        }
    }
}

fn put(directory: &Path, set: &TlsSet) {
    std::fs::write(directory.join("ca.crt"), &set.ca).unwrap();
    std::fs::write(directory.join("tls.crt"), &set.certificate).unwrap();
    std::fs::write(directory.join("tls.key"), set.key.expose()).unwrap();
}

/// A server that admits `operator` only.
async fn serve(directory: &TempDir) -> SocketAddr {
    let desired = directory.path().join("desired.json");
    let text =
        r#"{"generation":1,"method":"aes256-ctr","reencrypt":true,"allowedNames":["operator"]}"#;
    std::fs::write(&desired, text).unwrap();
    let board = Arc::new(Board::new(Path::new("/var/lib/tikv")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(directory.path(), DesiredFile::new(desired), board);
    tokio::spawn(server.serve(listener));
    address
}

async fn get(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    path: &str,
) -> Result<(StatusCode, Bytes, Vec<u8>), Box<dyn std::error::Error>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(config).connect(name, socket).await?;
    let served = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost");
    let answer = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = answer.status();
    Ok((
        status,
        answer.into_body().collect().await?.to_bytes(),
        served,
    ))
}

#[tokio::test]
async fn who_is_named_reads_status_and_metrics() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    put(directory.path(), &authority.leaf("agent"));
    let address = serve(&directory).await;
    let operator = client::mutual(&authority.leaf("operator")).unwrap();
    let (status, body, _) = get(address, operator.clone(), "/v1/status").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let report: AgentReport = serde_json::from_slice(&body).unwrap();
    assert_eq!(report.data_dir, "/var/lib/tikv");
    let (_, body, _) = get(address, operator.clone(), "/metrics").await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("tikv_security_agent_gate_open 0\n"), "{text}");
    let (status, _, _) = get(address, operator, "/nothing").await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn others_get_no_further_than_they_should() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    put(directory.path(), &authority.leaf("agent"));
    let address = serve(&directory).await;
    let stranger = client::mutual(&authority.leaf("somebody")).unwrap();
    let (status, _, _) = get(address, stranger.clone(), "/v1/status").await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _, _) = get(address, stranger, "/healthz").await.unwrap();
    assert_eq!(status, StatusCode::OK);

    let mut foreign = Authority::new().leaf("operator");
    foreign.ca = authority.pem.clone().into_bytes();
    let foreign = client::mutual(&foreign).unwrap();
    assert!(get(address, foreign, "/healthz").await.is_err());

    let mut roots = rustls::RootCertStore::empty();
    for der in crate::tls::parse::ders(authority.pem.as_bytes()).unwrap() {
        roots.add(der).unwrap();
    }
    let nobody = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(get(address, Arc::new(nobody), "/healthz").await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_served_at_once_and_a_broken_one_never() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    put(directory.path(), &authority.leaf("agent"));
    let address = serve(&directory).await;
    let operator = client::mutual(&authority.leaf("operator")).unwrap();
    let served = async || {
        let answer = get(address, operator.clone(), "/healthz").await;
        answer.unwrap().2
    };
    let first = served().await;
    put(directory.path(), &authority.leaf("agent"));
    let second = served().await;
    assert_ne!(first, second);
    std::fs::write(directory.path().join("tls.key"), "half written").unwrap();
    assert_eq!(served().await, second);
}
