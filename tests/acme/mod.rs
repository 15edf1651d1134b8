//! Real ACME servers, which check names by a real name server: step-ca, pebble and Knot, each on loopback ports of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_net::proto::rr::rdata::tsig::TsigAlgorithm;
use openssl::nid::Nid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::issuer::IssuerError;
use tikv_security::issuer::acme::{Accounts, Rfc2136, Rfc2136Settings};
use tikv_security::tls::authority::Authority;

use crate::corporate::{corporate, curve, pem};

/// Set to 1 where they must be there, as in CI.
const REQUIRED: &str = "TIKV_SECURITY_REQUIRE_ACME";
/// The key by which the zones may be changed.
pub const TSIG: &[u8] = b"32 bytes that name servers share";
/// The zones.
pub const ZONES: [&str; 2] = ["svc", "tikv-security"];

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(command: &mut Command, log: &Path, port: u16) -> Self {
        let file = fs::File::create(log).unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        let mut this = Self(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = this.0.try_wait().unwrap();
            let told = || fs::read_to_string(log).unwrap();
            assert!(ended.is_none(), "{command:?} ended: {}", told());
            assert!(begun.elapsed() < Duration::from_mins(1), "{}", told());
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }
}

/// A port that nobody has just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A name server with the zones, which every name in them leads to this machine.
pub struct Knot {
    _program: Program,
    directory: TempDir,
    pub port: u16,
}

impl Knot {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let place = directory.path().display();
        fs::create_dir(directory.path().join("db")).unwrap();
        let zones =
            ZONES.map(|zone| format!("  - domain: {zone}\n    file: {zone}.zone\n    acl: ours\n"));
        let zones = zones.concat();
        let secret = STANDARD.encode(TSIG);
        let config = format!(
            "server:\n  rundir: {place}\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: {place}/db\n\
             log:\n  - target: stderr\n    any: info\n\
             key:\n  - id: ours\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             acl:\n  - id: ours\n    key: ours\n    action: update\n    update-type: [TXT]\n\
             template:\n  - id: default\n    storage: {place}\n    zonefile-sync: -1\n\
             zone:\n{zones}"
        );
        fs::write(directory.path().join("knot.conf"), config).unwrap();
        for zone in ZONES {
            let text = format!(
                "$ORIGIN {zone}.\n@ 60 SOA ns.{zone}. admin.{zone}. 1 60 60 600 0\n@ 60 NS ns.{zone}.\n* 60 A 127.0.0.1\n"
            );
            fs::write(directory.path().join(format!("{zone}.zone")), text).unwrap();
        }
        let mut command = Command::new("/usr/sbin/knotd");
        command.arg("-c").arg(directory.path().join("knot.conf"));
        let program = Program::start(&mut command, &directory.path().join("log"), port);
        Self {
            _program: program,
            directory,
            port,
        }
    }

    /// The solver that writes there.
    pub fn solver(&self, key: &[u8]) -> Rfc2136 {
        let settings = Rfc2136Settings {
            server: format!("127.0.0.1:{}", self.port),
            key_name: "ours".to_owned(),
            algorithm: TsigAlgorithm::HmacSha256,
            key: SecretBytes::new(key.to_vec()),
        };
        Rfc2136::new("acme", &settings).unwrap()
    }

    /// What the server wrote down.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

/// What ACME servers need.
pub struct World {
    programs: PathBuf,
    pub knot: Knot,
}

impl World {
    /// `None` without the programs, unless they are required.
    pub fn start() -> Option<Self> {
        let knot = Path::new("/usr/sbin/knotd").exists();
        let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/ci/acme")).output();
        let built = built.ok().filter(|done| done.status.success() && knot);
        let Some(built) = built else {
            let lacking = "ACME servers are not there: install Go 1.25, and knot";
            assert!(std::env::var(REQUIRED).as_deref() != Ok("1"), "{lacking}");
            eprintln!("NOT RUN: {lacking}");
            return None;
        };
        let programs = String::from_utf8(built.stdout).unwrap();
        Some(Self {
            programs: PathBuf::from(programs.trim()),
            knot: Knot::start(),
        })
    }
}

/// step-ca, with an intermediate CA under a company's root. Its certificates are for servers and clients, those of `clients` for clients alone.
pub struct StepCa {
    _program: Program,
    _directory: TempDir,
    pub root: Vec<u8>,
    port: u16,
}

impl StepCa {
    /// `http` is the port where files are looked for.
    pub fn start(world: &World, http: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let key = curve(Nid::X9_62_PRIME256V1);
        let root = corporate("Company Root", &key, None, 900);
        let below = curve(Nid::X9_62_PRIME256V1);
        let issuing = corporate("Company Issuing", &below, Some((&root, &key)), 700);
        fs::write(place("root.crt"), pem(&[&root])).unwrap();
        fs::write(place("ca.crt"), pem(&[&issuing])).unwrap();
        fs::write(place("ca.key"), below.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let port = free_port();
        let claims = json!({"maxTLSCertDuration": "720h", "defaultTLSCertDuration": "48h"});
        let clients = r#"{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["digitalSignature"], "extKeyUsage": ["clientAuth"]}"#;
        let config = json!({
            "root": place("root.crt"), "crt": place("ca.crt"), "key": place("ca.key"),
            "address": format!("127.0.0.1:{port}"),
            "dnsNames": ["localhost"],
            "logger": {"format": "text"},
            "db": {"type": "badgerv2", "dataSource": place("db")},
            "authority": {"provisioners": [
                {"type": "ACME", "name": "tikv", "claims": claims},
                {"type": "ACME", "name": "clients", "claims": claims, "options": {"x509": {"template": clients}}},
            ]},
        });
        fs::write(place("ca.json"), config.to_string()).unwrap();
        let mut command = Command::new(world.programs.join("step-ca"));
        command
            .args(["--insecure", "--acme-http-port", &http.to_string()])
            .args(["--resolver", &format!("127.0.0.1:{}", world.knot.port)])
            .arg(place("ca.json"))
            .env("STEPPATH", directory.path());
        let program = Program::start(&mut command, &place("log"), port);
        Self {
            _program: program,
            root: pem(&[&root]),
            port,
            _directory: directory,
        }
    }

    /// URL of a directory.
    pub fn server(&self, provisioner: &str) -> String {
        format!(
            "https://localhost:{}/acme/{provisioner}/directory",
            self.port
        )
    }
}

/// pebble, without its dice (delays, nonces that it refuses). It asks for external accounts, and gives certificates for servers alone.
pub struct Pebble {
    _program: Program,
    _directory: TempDir,
    /// What its own certificate leads to.
    pub trusted: Vec<u8>,
    /// What the certificates that it gives lead to.
    pub root: Vec<u8>,
    port: u16,
}

/// The external account that pebble knows.
pub const KEY_ID: &str = "account-7";
/// Its key.
pub const HMAC: &[u8] = b"an HMAC key that pebble knows of";

impl Pebble {
    /// `http` is the port where files are looked for.
    pub fn start(world: &World, http: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let (certificate, key, trusted) = of_server();
        fs::write(place("tls.crt"), certificate).unwrap();
        fs::write(place("tls.key"), key).unwrap();
        let (port, management) = (free_port(), free_port());
        let hmac = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(HMAC);
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": place("tls.crt"), "privateKey": place("tls.key"),
            "httpPort": http, "tlsPort": 1,
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": {(KEY_ID): hmac},
            "profiles": {"default": {"description": "all", "validityPeriod": 604_800}},
        }});
        fs::write(place("pebble.json"), config.to_string()).unwrap();
        let mut command = Command::new(world.programs.join("pebble"));
        command
            .args(["-strict", "-config"])
            .arg(place("pebble.json"))
            .args(["-dnsserver", &format!("127.0.0.1:{}", world.knot.port)])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0");
        let program = Program::start(&mut command, &place("log"), port);
        let url = format!("https://127.0.0.1:{management}/roots/0");
        let root = Command::new("curl").args(["-ks", &url]).output().unwrap();
        Self {
            _program: program,
            _directory: directory,
            trusted,
            root: root.stdout,
            port,
        }
    }

    /// URL of its directory.
    pub fn server(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }
}

/// A certificate for `localhost`, its key, and whom to trust.
fn of_server() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    use tikv_security::api::v1alpha1::KeyAlgorithm;
    use tikv_security::tls::leaf::LeafSpec;
    let now = jiff::Timestamp::now();
    let day = jiff::SignedDuration::from_hours(24);
    let ca = Authority::generate("pebble", now, day * 2).unwrap();
    let spec = LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        common_name: "localhost".to_owned(),
        dns: ["localhost".to_owned()].into(),
        ips: std::iter::empty().collect(),
        duration: day,
        key: KeyAlgorithm::EcdsaP256,
    };
    let leaf = ca.issue(&spec, now).unwrap();
    (
        leaf.certificate_pem.into_bytes(),
        leaf.key_pem.expose().to_vec(),
        ca.certificate_pem().as_bytes().to_vec(),
    )
}

/// Accounts in memory.
#[derive(Default)]
pub struct Kept(Mutex<Vec<(String, Vec<u8>)>>);

impl Kept {
    /// How many were made.
    pub fn made(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Replaces what is kept.
    pub fn damage(&self, with: impl Fn(&mut Value)) {
        for (_, content) in self.0.lock().unwrap().iter_mut() {
            let mut value: Value = serde_json::from_slice(content).unwrap();
            with(&mut value);
            *content = value.to_string().into_bytes();
        }
    }
}

impl Accounts for Kept {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretBytes>, IssuerError>> {
        let all = self.0.lock().unwrap();
        let found = all.iter().rev().find(|(name, _)| name == account);
        let found = found.map(|(_, content)| SecretBytes::new(content.clone()));
        async move { Ok(found) }.boxed()
    }

    fn keep<'a>(
        &'a self,
        account: &'a str,
        content: SecretBytes,
    ) -> BoxFuture<'a, Result<(), IssuerError>> {
        let entry = (account.to_owned(), content.expose().to_vec());
        self.0.lock().unwrap().push(entry);
        async move { Ok(()) }.boxed()
    }
}
