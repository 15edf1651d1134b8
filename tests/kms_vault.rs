//! Vault's transit engine in a real server, which no package registry carries: build or download OpenBao or Vault, then
//! `TIKV_SECURITY_VAULT=/path/to/bao cargo test --test kms_vault -- --ignored`. `kms_contract.rs` has the stand-in.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::vault::{Auth, Settings, Source, VaultTransit};
use tikv_security::kms::{Class, Kms, prove};

const ROOT: &str = "root-of-a-test";

/// The policies of `docs/kms-vault.md`, for the key `one`.
const OPERATOR: &str = r#"
path "transit/keys/one"              { capabilities = ["read"] }
path "transit/datakey/plaintext/one" { capabilities = ["update"] }
path "transit/decrypt/one"           { capabilities = ["update"] }
"#;
const STORE: &str = r#"path "transit/decrypt/one" { capabilities = ["update"] }"#;

/// A server in memory, with TLS of its own making.
struct Server {
    program: String,
    address: String,
    directory: TempDir,
    child: Child,
}

impl Server {
    async fn start() -> Self {
        let program = std::env::var("TIKV_SECURITY_VAULT").expect("names the server's program");
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let child = Command::new(&program)
            .args(["server", "-dev", "-dev-tls", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-tls-cert-dir={}", directory.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            program,
            address: format!("https://127.0.0.1:{port}"),
            directory,
            child,
        };
        let end = Instant::now() + Duration::from_mins(1);
        while !server.try_admin(&["status"]).1 {
            assert!(Instant::now() < end, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.admin(&["secrets", "enable", "transit"]);
        for key in ["one", "other"] {
            server.admin(&["write", "-f", &format!("transit/keys/{key}")]);
        }
        server.admin(&["write", "transit/keys/signing", "type=ed25519"]);
        server.admin(&["auth", "enable", "approle"]);
        for (name, rules) in [("operator", OPERATOR), ("store", STORE)] {
            let file = server.directory.path().join(name);
            std::fs::write(&file, rules).unwrap();
            server.admin(&["policy", "write", name, &file.display().to_string()]);
            let role = format!("auth/approle/role/{name}");
            server.admin(&["write", &role, &format!("token_policies={name}")]);
        }
        server
    }

    fn ca(&self) -> PathBuf {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        let is_ca = |path: &PathBuf| path.to_string_lossy().ends_with("-ca.pem");
        paths.find(is_ca).expect("the server writes its CA")
    }

    fn try_admin(&self, arguments: &[&str]) -> (Vec<u8>, bool) {
        let ca = std::fs::read_dir(self.directory.path()).unwrap().count() > 0;
        let mut command = Command::new(&self.program);
        for prefix in ["BAO", "VAULT"] {
            command.env(format!("{prefix}_ADDR"), &self.address);
            command.env(format!("{prefix}_TOKEN"), ROOT);
            command.env(format!("{prefix}_FORMAT"), "json");
            if ca {
                command.env(format!("{prefix}_CACERT"), self.ca());
            }
        }
        let done = command.args(arguments).output().unwrap();
        (done.stdout, done.status.success())
    }

    /// As an administrator.
    fn admin(&self, arguments: &[&str]) -> Value {
        let (answer, well) = self.try_admin(arguments);
        assert!(well, "{arguments:?}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    fn with(&self, key: &str, auth: Auth) -> VaultTransit {
        VaultTransit::new(Settings {
            address: self.address.clone(),
            ca: Some(Source::File(self.ca())),
            namespace: None,
            mount: "transit".to_owned(),
            key: key.to_owned(),
            auth,
        })
    }

    fn kms(&self, key: &str) -> VaultTransit {
        self.with(key, Auth::Token(given(ROOT)))
    }

    /// Logs in as this role.
    fn role(&self, name: &str) -> Auth {
        let role = format!("auth/approle/role/{name}");
        let id = self.admin(&["read", &format!("{role}/role-id")]);
        let secret = self.admin(&["write", "-f", &format!("{role}/secret-id")]);
        Auth::AppRole {
            mount: "approle".to_owned(),
            role_id: id["data"]["role_id"].as_str().unwrap().to_owned(),
            secret_id: given(secret["data"]["secret_id"].as_str().unwrap()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn given(text: &str) -> Source {
    Source::Given(SecretBytes::new(text.as_bytes().to_vec()))
}

#[tokio::test]
#[ignore = "needs a server: TIKV_SECURITY_VAULT=/path/to/bao"]
async fn a_real_server_keeps_the_contract() {
    let server = Server::start().await;
    let kms = server.kms("one");
    assert_eq!(prove(&kms).await, Ok(()));
    let made = kms.generate().await.unwrap();
    assert_eq!(made.plaintext.expose().len(), 32);

    // The documented rights are enough for the operator, and a store may unwrap and nothing else.
    assert_eq!(
        prove(&server.with("one", server.role("operator"))).await,
        Ok(())
    );
    let store = server.with("one", server.role("store"));
    let back = store.unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());
    for error in [
        store.describe().await.err().unwrap(),
        store.generate().await.err().unwrap(),
    ] {
        assert_eq!(error.class, Class::Denied, "{error}");
    }

    let mut stranger = server.role("store");
    if let Auth::AppRole { secret_id, .. } = &mut stranger {
        *secret_id = given("do-not-print");
    }
    for auth in [stranger, Auth::Token(given("do-not-print"))] {
        let kms = server.with("one", auth);
        let error = kms.describe().await.unwrap_err();
        assert_eq!(error.class, Class::Denied, "{error}");
        let all = format!("{kms:?} {error} {error:?}");
        assert!(!all.contains("do-not-print"), "{all}");
    }

    let missing = server.kms("missing").describe().await.unwrap_err();
    assert_eq!(missing.class, Class::NotFound, "{missing}");
    let wrong = server.kms("other").unwrap(&made.wrapped).await.unwrap_err();
    assert_eq!(wrong.class, Class::WrongKey, "{wrong}");
    let garbage = kms.unwrap(&[7; 256]).await.unwrap_err();
    assert_eq!(garbage.class, Class::WrongKey, "{garbage}");
    let signs = server.kms("signing").describe().await.unwrap_err();
    assert_eq!(signs.class, Class::WrongKey, "{signs}");
}

#[tokio::test]
#[ignore = "needs a server: TIKV_SECURITY_VAULT=/path/to/bao"]
async fn a_real_server_rotates_revokes_and_is_sealed() {
    let server = Server::start().await;
    let kms = server.with("one", server.role("operator"));
    let made = kms.generate().await.unwrap();
    server.admin(&["write", "-f", "transit/keys/one/rotate"]);
    let back = kms.unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());

    // Its token is gone: it logs in again.
    let accessors = server.admin(&["list", "auth/token/accessors"]);
    for accessor in accessors.as_array().unwrap() {
        let accessor = format!("accessor={}", accessor.as_str().unwrap());
        let about = server.admin(&["write", "auth/token/lookup-accessor", &accessor]);
        if about["data"]["path"] == "auth/approle/login" {
            server.admin(&["write", "auth/token/revoke-accessor", &accessor]);
        }
    }
    assert_eq!(kms.describe().await, Ok(()), "revoked");

    let config = ["write", "transit/keys/one/config"];
    server.admin(&[&config[..], &["min_decryption_version=2"]].concat());
    let error = kms.unwrap(&made.wrapped).await.unwrap_err();
    assert_eq!(error.class, Class::Disabled, "{error}");
    server.admin(&[&config[..], &["min_decryption_version=1"]].concat());

    server.admin(&["operator", "seal"]);
    for error in [
        kms.describe().await.err().unwrap(),
        kms.unwrap(&made.wrapped).await.err().unwrap(),
    ] {
        assert_eq!(error.class, Class::Unavailable, "{error}");
    }
}
