//! Stand-in for HashiCorp Vault: the transit engine, three ways to log in, policies, leases and the seal, in the words
//! of Vault's API documentation and with real cryptography. Not Vault: nothing is stored, one process, one namespace.
//!
//! No network in here: who serves it passes requests in. The tests of the operator's own client use the same file.

mod admin;
mod login;
mod transit;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use openssl::base64;
use openssl::pkey::{PKey, Public};
use serde_json::{Value, json};

use transit::Key;

/// A request.
pub struct Asked<'a> {
    pub method: &'a str,
    /// Without a query.
    pub path: &'a str,
    /// `X-Vault-Token`, or the bearer of `Authorization`.
    pub token: &'a str,
    /// `X-Vault-Namespace`.
    pub namespace: &'a str,
    pub body: &'a [u8],
}

/// An answer: status and body.
pub struct Said {
    pub status: u16,
    pub body: Value,
}

impl Said {
    fn data(data: &Value) -> Self {
        let body = json!({"request_id": "0", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data});
        Self { status: 200, body }
    }

    fn nothing() -> Self {
        let (status, body) = (204, Value::Null);
        Self { status, body }
    }

    fn error(status: u16, words: &str) -> Self {
        let errors: Vec<&str> = if words.is_empty() {
            vec![]
        } else {
            vec![words]
        };
        let body = json!({"errors": errors});
        Self { status, body }
    }
}

/// Who may log in with a service account's token.
pub struct Role {
    /// `NAMESPACE:NAME` of a service account.
    pub account: String,
    pub audience: String,
    pub policy: String,
}

/// What a policy allows of a path; one that ends with `*` is all that begin with it.
pub struct Rule {
    pub path: String,
    pub capabilities: Vec<String>,
}

/// The server.
pub struct Vault {
    pub sealed: bool,
    /// The only namespace that is known beside the root.
    pub namespace: String,
    /// What `auth/kubernetes` verifies tokens with (`pem_keys` of its configuration).
    pub issuer: Vec<PKey<Public>>,
    pub roles: BTreeMap<String, Role>,
    /// `secret_id` and policy by `role_id`.
    pub app_roles: BTreeMap<String, (String, String)>,
    /// By name.
    pub policies: BTreeMap<String, Vec<Rule>>,
    /// How long a token from a login is good.
    pub lease: Duration,
    keys: BTreeMap<String, Key>,
    tokens: BTreeMap<String, Lease>,
    unseal_key: String,
}

/// A token.
struct Lease {
    policy: String,
    made: Instant,
    /// None: for ever.
    lasts: Option<Duration>,
    creation: Duration,
}

impl Vault {
    /// Unsealed, without keys; `root` may do everything, `unseal_key` opens it again.
    pub fn new(root: &str, unseal_key: &str) -> Self {
        let root_lease = Lease {
            policy: "root".into(),
            made: Instant::now(),
            lasts: None,
            creation: Duration::ZERO,
        };
        Self {
            sealed: false,
            namespace: String::new(),
            issuer: Vec::new(),
            roles: BTreeMap::new(),
            app_roles: BTreeMap::new(),
            policies: BTreeMap::new(),
            lease: Duration::from_hours(1),
            keys: BTreeMap::new(),
            tokens: BTreeMap::from([(root.to_owned(), root_lease)]),
            unseal_key: unseal_key.to_owned(),
        }
    }

    /// A token with a policy, as `auth/token/create` makes it.
    pub fn give_token(&mut self, policy: &str, lasts: Duration) -> String {
        let token = format!("hvs.{}", hex(&random::<24>()));
        let lease = Lease {
            policy: policy.to_owned(),
            made: Instant::now(),
            lasts: Some(lasts),
            creation: lasts,
        };
        self.tokens.insert(token.clone(), lease);
        token
    }

    /// As if all tokens but the root's had been revoked.
    pub fn revoke_all(&mut self) {
        self.tokens.retain(|_, lease| lease.policy == "root");
    }

    /// Answers one request.
    pub fn answer(&mut self, asked: &Asked<'_>) -> Said {
        let Some(path) = asked.path.strip_prefix("/v1/") else {
            return Said::error(404, "");
        };
        match (asked.method, path) {
            ("GET", "sys/health") => {
                let status = if self.sealed { 503 } else { 200 };
                let body = json!({"initialized": true, "sealed": self.sealed, "standby": false});
                return Said { status, body };
            }
            ("GET", "sys/seal-status") => return self.seal_status(),
            ("PUT" | "POST", "sys/unseal") => return self.unseal(asked),
            _ if self.sealed => return Said::error(503, "Vault is sealed"),
            _ => {}
        }
        if asked.namespace.trim_matches('/') != self.namespace {
            return Said::error(404, &no_route(path));
        }
        if let ("PUT" | "POST", Some(method)) = (
            asked.method,
            path.strip_prefix("auth/")
                .and_then(|rest| rest.strip_suffix("/login")),
        ) {
            return self.log_in(method, asked);
        }
        let Some(policy) = self.policy_of(asked.token) else {
            return Said::error(403, "permission denied");
        };
        if !self.allows(&policy, asked.method, path) {
            return Said::error(403, "permission denied");
        }
        match (asked.method, path) {
            ("PUT" | "POST", "sys/seal") => {
                self.sealed = true;
                Said::nothing()
            }
            ("GET", "auth/token/lookup-self") => self.look_up(asked.token),
            ("PUT" | "POST", "auth/token/renew-self") => self.renew(asked.token),
            _ => match path.strip_prefix("transit/") {
                Some(operation) => self.transit(asked.method, operation, asked.body),
                None => {
                    let done = self.administer(asked.method, path, asked.body);
                    done.unwrap_or_else(|| Said::error(404, &no_route(path)))
                }
            },
        }
    }

    fn seal_status(&self) -> Said {
        let body =
            json!({"type": "shamir", "initialized": true, "sealed": self.sealed, "t": 1, "n": 1});
        let status = 200;
        Said { status, body }
    }

    fn unseal(&mut self, asked: &Asked<'_>) -> Said {
        if text(&parse(asked.body), "key") != self.unseal_key {
            return Said::error(400, "'key' must be a valid hex or base64 string");
        }
        self.sealed = false;
        self.seal_status()
    }

    fn policy_of(&self, token: &str) -> Option<String> {
        let lease = self.tokens.get(token)?;
        let good = lease.lasts.is_none_or(|lasts| lease.made.elapsed() < lasts);
        good.then(|| lease.policy.clone())
    }

    fn allows(&self, policy: &str, method: &str, path: &str) -> bool {
        // The policy `default`, which every token has.
        let own = matches!(path, "auth/token/lookup-self" | "auth/token/renew-self");
        let listed = self.policies.get(policy);
        let capability = if method == "GET" { "read" } else { "update" };
        let listed = listed.is_some_and(|rules| {
            rules.iter().any(|rule| {
                let fits = match rule.path.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == rule.path,
                };
                fits && rule.capabilities.iter().any(|one| one == capability)
            })
        });
        policy == "root" || own || listed
    }

    fn look_up(&self, token: &str) -> Said {
        let lease = &self.tokens[token];
        let left = lease.lasts.map_or(0, |lasts| {
            lasts.saturating_sub(lease.made.elapsed()).as_secs()
        });
        Said::data(&json!({
            "ttl": left, "creation_ttl": lease.creation.as_secs(), "renewable": lease.lasts.is_some(),
            "policies": ["default", lease.policy], "type": "service",
        }))
    }

    fn renew(&mut self, token: &str) -> Said {
        let Some(lease) = self.tokens.get_mut(token) else {
            return Said::error(403, "permission denied");
        };
        lease.made = Instant::now();
        let (policy, lasts) = (lease.policy.clone(), lease.creation);
        granted(token, &policy, lasts)
    }
}

/// The answer to a login or a renewal.
fn granted(token: &str, policy: &str, lasts: Duration) -> Said {
    let auth = json!({
        "client_token": token, "accessor": "0", "policies": ["default", policy], "token_type": "service",
        "lease_duration": lasts.as_secs(), "renewable": true, "orphan": true,
    });
    let (status, body) = (
        200,
        json!({"request_id": "0", "lease_id": "", "auth": auth}),
    );
    Said { status, body }
}

fn no_route(path: &str) -> String {
    format!("no handler for route \"{path}\". route entry not found.")
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes).expect("OpenSSL has randomness");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn encode(bytes: &[u8]) -> String {
    base64::encode_block(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    base64::decode_block(text).ok()
}
