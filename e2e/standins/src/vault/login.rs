//! Who logs in: a service account by its token, or an AppRole.

use std::time::{SystemTime, UNIX_EPOCH};

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::Id;
use openssl::sign::Verifier;
use serde_json::Value;

use super::{Asked, Said, Vault, decode, granted, parse, text};

impl Vault {
    /// `POST auth/METHOD/login`.
    pub(super) fn log_in(&mut self, method: &str, asked: &Asked<'_>) -> Said {
        let body = parse(asked.body);
        let policy = match method {
            "kubernetes" => self.by_account(&body),
            "approle" => self.by_secret(&body),
            _ => return Said::error(404, &super::no_route(&format!("auth/{method}/login"))),
        };
        match policy {
            Ok(policy) => {
                let token = self.give_token(&policy, self.lease);
                granted(&token, &policy, self.lease)
            }
            Err(said) => said,
        }
    }

    fn by_account(&self, body: &Value) -> Result<String, Said> {
        let denied = || Said::error(403, "permission denied");
        let name = text(body, "role");
        let role = self.roles.get(name);
        let role =
            role.ok_or_else(|| Said::error(400, &format!("invalid role name \"{name}\"")))?;
        let claims = self.claims(text(body, "jwt")).ok_or_else(denied)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = |name: &str| claims[name].as_u64();
        let timely = seconds("exp").is_some_and(|end| end > now.as_secs())
            && seconds("nbf").is_none_or(|begin| begin <= now.as_secs() + 60);
        let audience = match &claims["aud"] {
            Value::Array(all) => all.iter().any(|one| one == role.audience.as_str()),
            one => one == role.audience.as_str(),
        };
        let who = &claims["kubernetes.io"];
        let account = format!(
            "{}:{}",
            text(who, "namespace"),
            text(&who["serviceaccount"], "name")
        );
        if timely && audience && account == role.account {
            Ok(role.policy.clone())
        } else {
            Err(denied())
        }
    }

    fn by_secret(&self, body: &Value) -> Result<String, Said> {
        let role = self.app_roles.get(text(body, "role_id"));
        match role {
            Some((secret, policy)) if secret == text(body, "secret_id") => Ok(policy.clone()),
            _ => Err(Said::error(400, "invalid role or secret ID")),
        }
    }

    /// The claims of a token that one of the issuer's keys signed, with RS256 or ES256.
    fn claims(&self, jwt: &str) -> Option<Value> {
        let (signed, signature) = jwt.rsplit_once('.')?;
        let signature = of_url(signature)?;
        let good = self.issuer.iter().any(|key| {
            let signature = match key.id() {
                Id::EC => in_der(&signature),
                _ => Some(signature.clone()),
            };
            let verifier = Verifier::new(MessageDigest::sha256(), key).ok();
            verifier
                .zip(signature)
                .is_some_and(|(mut verifier, signature)| {
                    let verified = verifier.verify_oneshot(&signature, signed.as_bytes());
                    verified.unwrap_or(false)
                })
        });
        let (_, claims) = signed.split_once('.')?;
        good.then(|| serde_json::from_slice(&of_url(claims)?).ok())?
    }
}

/// A signature of ES256, two numbers of 32 bytes, as OpenSSL wants it.
fn in_der(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(32)?;
    let [r, s] = [r, s].map(|bytes| BigNum::from_slice(bytes).ok());
    EcdsaSig::from_private_components(r?, s?)
        .ok()?
        .to_der()
        .ok()
}

/// Base64 in the alphabet of URLs, without padding.
fn of_url(text: &str) -> Option<Vec<u8>> {
    let mut text = text.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    decode(&text)
}
