//! Vault: the stand-in of the e2e cases, in weather.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::Kms;
use tikv_security::kms::vault::{Auth, Settings, Source, VaultTransit};

use super::tape::Tape;
use super::{Asked, Said, Standin, Weather, html, serve};

#[allow(dead_code)]
#[path = "../../e2e/standins/src/vault/mod.rs"]
pub mod engine;

pub const ROOT: &str = "hvs.root";
pub const SECRET: &str = "5f4dcc3b-5aa7-65d6-1d83-27deb882cf99";
const AUDIENCE: &str = "vault.example.com";

pub struct Vault {
    pub url: String,
    tape: Tape,
    weather: Arc<Mutex<Weather>>,
    engine: Arc<Mutex<engine::Vault>>,
    cluster: PKey<Private>,
}

impl Vault {
    pub async fn start() -> Self {
        let cluster = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut vault = engine::Vault::new(ROOT, "unseal");
        vault.make_key("one", "aes256-gcm96");
        vault.make_key("other", "aes256-gcm96");
        vault.make_key("signing", "ed25519");
        let pem = String::from_utf8(cluster.public_key_to_pem().unwrap()).unwrap();
        let config = json!({"pem_keys": [pem]});
        as_root(&mut vault, "PUT", "/v1/auth/kubernetes/config", &config);
        let update = json!({"capabilities": ["update"]});
        let operator = json!({"path": {
            "transit/keys/*": {"capabilities": ["read"]}, "transit/datakey/plaintext/*": update,
            "transit/decrypt/*": update,
        }});
        let store = json!({"path": {"transit/decrypt/one": update}});
        for (name, policy, rules) in [
            ("tikv-operator", "operator", operator),
            ("tikv", "store", store),
        ] {
            let path = format!("/v1/sys/policies/acl/{policy}");
            let rules = json!({"policy": rules.to_string()});
            as_root(&mut vault, "PUT", &path, &rules);
            let role = json!({
                "bound_service_account_names": ["default"], "bound_service_account_namespaces": ["tikv"],
                "audience": AUDIENCE, "token_policies": [policy], "token_ttl": 3600,
            });
            let path = format!("/v1/auth/kubernetes/role/{name}");
            as_root(&mut vault, "POST", &path, &role);
            let secret = (SECRET.to_owned(), policy.to_owned());
            vault.app_roles.insert(format!("{name}-id"), secret);
        }
        let (weather, engine) = (
            Arc::new(Mutex::new(Weather::Fair)),
            Arc::new(Mutex::new(vault)),
        );
        let (looks, says, works) = (weather.clone(), weather.clone(), engine.clone());
        let tape = Tape::default();
        let looks = move || *looks.lock().unwrap();
        let url = serve(tape.clone(), looks, move |asked| {
            let weather = *says.lock().unwrap();
            answer(&mut works.lock().unwrap(), weather, &asked)
        })
        .await;
        Self {
            url,
            tape,
            weather,
            engine,
            cluster,
        }
    }

    pub fn engine(&self) -> MutexGuard<'_, engine::Vault> {
        self.engine.lock().unwrap()
    }

    /// A service account's token as the API server signs it, good for so many seconds.
    pub fn jwt(&self, account: &str, audience: &str, seconds: i64) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let now = i64::try_from(now).unwrap();
        let (namespace, name) = account.split_once(':').unwrap();
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "aud": [audience], "iat": now, "nbf": now, "exp": now + seconds,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "0"}},
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "RS256"})), part(&claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.cluster).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub fn kubernetes(&self, role: &str) -> Auth {
        Auth::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: role.to_owned(),
            token: given(&self.jwt("tikv:default", AUDIENCE, 600)),
        }
    }

    pub fn with(&self, key: &str, auth: Auth) -> VaultTransit {
        VaultTransit::new(Settings {
            address: self.url.clone(),
            ca: None,
            namespace: None,
            mount: "transit".to_owned(),
            key: key.to_owned(),
            auth,
        })
    }

    /// One request as root.
    pub fn root(&self, method: &str, path: &str, body: &Value) {
        as_root(&mut self.engine(), method, path, body);
    }

    pub fn lease(&self, lease: Duration) {
        self.engine().lease = lease;
    }
}

fn as_root(vault: &mut engine::Vault, method: &str, path: &str, body: &Value) {
    let body = body.to_string();
    let said = vault.answer(&engine::Asked {
        method,
        path,
        token: ROOT,
        namespace: "",
        body: body.as_bytes(),
    });
    assert!(said.status < 300, "{}", said.body);
}

pub fn given(text: &str) -> Source {
    Source::Given(SecretBytes::new(text.as_bytes().to_vec()))
}

pub fn app_role(role_id: &str, secret: &str) -> Auth {
    Auth::AppRole {
        mount: "approle".to_owned(),
        role_id: role_id.to_owned(),
        secret_id: given(secret),
    }
}

impl Standin for Vault {
    fn kms(&self, key: &str) -> Box<dyn Kms> {
        Box::new(self.with(key, self.kubernetes("tikv-operator")))
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }

    fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
        self.engine().soft_delete_all(weather == Weather::Disabled);
        self.engine().sealed = weather == Weather::Down;
    }

    fn rotate(&self, key: &str) {
        self.root(
            "POST",
            &format!("/v1/transit/keys/{key}/rotate"),
            &json!({}),
        );
    }

    fn deletes_later(&self) -> bool {
        false
    }
}

fn answer(vault: &mut engine::Vault, weather: Weather, asked: &Asked) -> Said {
    let said = |status, words: &str| Said::json(status, &json!({"errors": [words]}));
    match weather {
        Weather::Throttled => {
            let mut said = said(429, "request path \"transit\": rate limit quota exceeded");
            said.after = Some(2);
            return said;
        }
        Weather::Proxy => return html(502),
        Weather::Nonsense => return Said::json(200, &json!({"hello": "world"})),
        // A policy that was taken away; a token that is not valid any more.
        Weather::Forbidden | Weather::Expired if !asked.path.ends_with("/login") => {
            return said(403, "permission denied");
        }
        // The service account's token is of another time.
        Weather::ClockSkew if asked.path.ends_with("/login") => {
            return said(403, "permission denied");
        }
        _ => {}
    }
    let said = vault.answer(&engine::Asked {
        method: &asked.method,
        path: &asked.path,
        token: asked.header("authorization").trim_start_matches("Bearer "),
        namespace: asked.header("x-vault-namespace"),
        body: &asked.body,
    });
    assert_eq!(asked.header("x-vault-request"), "true");
    Said::json(said.status, &said.body)
}
