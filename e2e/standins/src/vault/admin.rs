//! What an administrator sets up, by the same requests as in Vault: policies (in their JSON form), roles, the issuer of
//! service accounts' tokens.

use std::time::Duration;

use openssl::pkey::PKey;
use serde_json::Value;

use super::{Role, Rule, Said, Vault, parse, text};

impl Vault {
    /// `None` when the path is not one of an administrator.
    pub(super) fn administer(&mut self, method: &str, path: &str, body: &[u8]) -> Option<Said> {
        let parts: Vec<&str> = path.split('/').collect();
        let body = parse(body);
        let done = match (method, parts.as_slice()) {
            ("PUT" | "POST", ["sys", "policies", "acl", name]) => self.set_policy(name, &body),
            ("PUT" | "POST", ["auth", "kubernetes", "config"]) => self.set_issuer(&body),
            ("PUT" | "POST", ["auth", "kubernetes", "role", name]) => self.set_role(name, &body),
            _ => return None,
        };
        Some(done.map_or_else(|words| Said::error(400, words), |()| Said::nothing()))
    }

    fn set_policy(&mut self, name: &str, body: &Value) -> Result<(), &'static str> {
        let policy: Value = serde_json::from_str(text(body, "policy"))
            .map_err(|_| "failed to parse policy: this stand-in reads the JSON form only")?;
        let paths = policy["path"]
            .as_object()
            .ok_or("failed to parse policy: no path")?;
        let rules = paths.iter().map(|(path, rule)| Rule {
            path: path.clone(),
            capabilities: words(&rule["capabilities"]),
        });
        self.policies.insert(name.to_owned(), rules.collect());
        Ok(())
    }

    fn set_issuer(&mut self, body: &Value) -> Result<(), &'static str> {
        let keys = words(&body["pem_keys"]);
        let keys = keys
            .iter()
            .map(|pem| PKey::public_key_from_pem(pem.as_bytes()));
        self.issuer = keys
            .collect::<Result<_, _>>()
            .map_err(|_| "data does not contain any valid RSA or ECDSA public keys")?;
        Ok(())
    }

    fn set_role(&mut self, name: &str, body: &Value) -> Result<(), &'static str> {
        let first = |field: &str| words(&body[field]).into_iter().next();
        let namespace = first("bound_service_account_namespaces");
        let account = first("bound_service_account_names");
        let (Some(namespace), Some(account)) = (namespace, account) else {
            return Err("\"bound_service_account_names\" can not be empty");
        };
        let role = Role {
            account: format!("{namespace}:{account}"),
            audience: text(body, "audience").to_owned(),
            policy: first("token_policies").unwrap_or_default(),
        };
        if let Some(seconds) = body["token_ttl"].as_u64() {
            self.lease = Duration::from_secs(seconds);
        }
        self.roles.insert(name.to_owned(), role);
        Ok(())
    }
}

fn words(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}
