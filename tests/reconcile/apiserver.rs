//! A real etcd and kube-apiserver on free loopback ports, shared by the tests of one binary. They end with the
//! test process, however that ends: each runs under a shell that waits for the end of its standard input.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, Config};
use tempfile::TempDir;
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::tls::authority::Authority;
use tikv_security::tls::leaf::LeafSpec;

/// Of an administrator.
pub const TOKEN: &str = "test-only-token";
const OPERATOR_TOKEN: &str = "test-only-operator";

/// The user of `operator_config`, who may nothing but what a test gives it. Its calls are audited.
pub const OPERATOR: &str = "operator";

/// The two servers.
pub struct ApiServer {
    port: u16,
    root: Vec<u8>,
    dir: TempDir,
    _children: [Child; 2],
}

impl ApiServer {
    /// The servers of this test binary; started by whoever asks first.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// How to reach the API server as an administrator.
    pub fn config(&self) -> Config {
        self.config_of(TOKEN)
    }

    /// How to reach it as the operator.
    pub fn operator_config(&self) -> Config {
        self.config_of(OPERATOR_TOKEN)
    }

    /// How another program reaches it as an administrator.
    pub fn kubeconfig(&self) -> String {
        let ca = self.dir.path().join("client-ca.crt");
        fs::write(&ca, &self.root).unwrap();
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(), "certificate-authority": ca,
            }}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
        .to_string()
    }

    /// Where the API server is.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority of its certificate, in PEM.
    pub fn root(&self) -> String {
        String::from_utf8(self.root.clone()).unwrap()
    }

    /// The API server's own record of the operator's calls, one JSON object a line.
    pub fn audit(&self) -> String {
        fs::read_to_string(self.dir.path().join("audit.log")).unwrap()
    }

    fn config_of(&self, token: &str) -> Config {
        let mut config = Config::new(self.url().parse().unwrap());
        config.root_cert = Some(vec![
            openssl::x509::X509::from_pem(&self.root)
                .unwrap()
                .to_der()
                .unwrap(),
        ]);
        config.auth_info = AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        };
        config
    }

    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let [clients, peers, port] = free_ports();
        let root = write_keys(dir.path());
        fs::write(
            at("tokens"),
            format!("{TOKEN},admin,admin,system:masters\n{OPERATOR_TOKEN},{OPERATOR},{OPERATOR}\n"),
        )
        .unwrap();
        let audited = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [OPERATOR]}, {"level": "None"}],
        });
        fs::write(at("audit.yaml"), audited.to_string()).unwrap();

        let etcd = spawn(
            dir.path(),
            "etcd",
            &[
                format!("--data-dir={}", at("etcd-data")),
                format!("--listen-client-urls=http://127.0.0.1:{clients}"),
                format!("--advertise-client-urls=http://127.0.0.1:{clients}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        );
        let apiserver = spawn(
            dir.path(),
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{clients}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", at("certs")),
                format!("--tls-cert-file={}", at("serving.crt")),
                format!("--tls-private-key-file={}", at("serving.key")),
                format!("--token-auth-file={}", at("tokens")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.254.0.0/24".to_owned(),
                "--service-account-issuer=https://test".to_owned(),
                format!("--service-account-key-file={}", at("serving.pub")),
                format!("--service-account-signing-key-file={}", at("serving.key")),
                format!("--audit-policy-file={}", at("audit.yaml")),
                format!("--audit-log-path={}", at("audit.log")),
                // As on clusters that check who may block the deletion of an owner.
                "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
                // Nobody makes service accounts here.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ],
        );
        let server = Self {
            port,
            root,
            dir,
            _children: [etcd, apiserver],
        };
        server.wait();
        server
    }

    fn wait(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let config = self.config();
        // Asked from a thread of its own: the caller may be inside a runtime already.
        let ready = move || {
            runtime.block_on(async {
                let client = kube::Client::try_from(config).unwrap();
                let until = Instant::now() + Duration::from_secs(30);
                loop {
                    match client.apiserver_version().await {
                        Ok(_) => return Ok(()),
                        Err(error) if Instant::now() > until => return Err(error.to_string()),
                        Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            })
        };
        let ready = std::thread::spawn(ready).join().unwrap();
        ready.unwrap_or_else(|error| {
            let log = fs::read_to_string(self.dir.path().join("kube-apiserver.log"));
            let log = log.unwrap_or_default();
            let tail = &log[log.len().saturating_sub(4000)..];
            panic!("kube-apiserver did not get ready: {error}\n{tail}")
        });
    }
}

/// Serving certificate and the key for service account tokens; returns the CA.
fn write_keys(dir: &Path) -> Vec<u8> {
    let now = Timestamp::now();
    let day = SignedDuration::from_hours(24);
    let authority = Authority::generate("test", now, day).unwrap();
    let spec = LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        common_name: "kube-apiserver".to_owned(),
        dns: ["localhost".to_owned()].into(),
        ips: ["127.0.0.1".parse().unwrap()].into(),
        duration: day,
        key: KeyAlgorithm::EcdsaP256,
    };
    let leaf = authority.issue(&spec, now).unwrap();
    fs::write(dir.join("serving.crt"), leaf.certificate_pem).unwrap();
    fs::write(dir.join("serving.key"), leaf.key_pem.expose()).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pem(leaf.key_pem.expose()).unwrap();
    fs::write(dir.join("serving.pub"), key.public_key_to_pem().unwrap()).unwrap();
    authority.certificate_pem().as_bytes().to_vec()
}

fn spawn(dir: &Path, name: &str, arguments: &[String]) -> Child {
    let log = fs::File::create(dir.join(format!("{name}.log"))).unwrap();
    Command::new("/bin/sh")
        .args([
            "-c",
            r#"trap "" TERM INT HUP; "$@" & child=$!; exec 1>&- 2>&-; read -r end; kill -9 $child"#,
            "sh",
        ])
        .arg(binary(name))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// `KUBEBUILDER_ASSETS`, or what `e2e/cluster` built.
fn binary(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let dirs = [
        std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from),
        Some(cache.join("tikv-security/e2e/bin")),
    ];
    for dir in dirs.iter().flatten() {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let versioned = format!("{name}-");
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| {
                let file = entry.file_name();
                let file = file.to_string_lossy();
                file == name || file.strip_prefix(&versioned).is_some_and(starts_with_digit)
            })
            .map(|entry| entry.path())
            .collect();
        found.sort();
        if let Some(path) = found.pop() {
            return path;
        }
    }
    panic!(
        "{name} was not found: set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver \
         (setup-envtest makes one), or run `e2e/cluster up` once, which builds them"
    );
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
