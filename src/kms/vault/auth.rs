//! Who asks: a service account of Kubernetes, an AppRole, or whoever has a token.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::classify::{Asking, classify};
use super::client::Connection;
use super::wire;
use crate::crypto::secret::SecretBytes;
use crate::kms::error::Class;
use crate::kms::oauth::Token;
use crate::kms::rest::{Failure, Request, send};

/// A token without an end is looked at again after this time.
const ENDLESS: Duration = Duration::from_hours(1);

/// A text that is given or read from a file each time it is used.
pub enum Source {
    /// In a file, which others may replace.
    File(PathBuf),
    /// Here.
    Given(SecretBytes),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Given(_) => f.write_str("Given(..)"),
        }
    }
}

/// How Vault is shown who asks.
#[derive(Debug)]
pub enum Auth {
    /// By the token of a service account.
    Kubernetes {
        /// Path of the method, below `auth/`.
        mount: String,
        /// Role.
        role: String,
        /// The token, made for an audience that the role names.
        token: Source,
    },
    /// By role and secret.
    AppRole {
        /// Path of the method, below `auth/`.
        mount: String,
        /// `role_id`.
        role_id: String,
        /// `secret_id`.
        secret_id: Source,
    },
    /// By a token of Vault. It is renewed at half of its life when the key is described.
    Token(Source),
}

impl Source {
    /// The text, without white space around it.
    fn read(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        let text = match self {
            Self::Given(bytes) => String::from_utf8(bytes.expose().to_vec()),
            Self::File(path) => {
                let bytes = std::fs::read(path).map_err(|error| {
                    let message = format!("{what} in {}: {error}", path.display());
                    Failure::new(Class::Denied, message)
                })?;
                String::from_utf8(bytes)
            }
        };
        let unusable = || Failure::new(Class::Malformed, format!("{what} is empty or no text"));
        let text = Zeroizing::new(text.map_err(|_| unusable())?);
        match text.trim() {
            "" => Err(unusable()),
            trimmed => Ok(Zeroizing::new(trimmed.to_owned())),
        }
    }
}

/// A new token and how long it is good.
pub(super) async fn token(connection: &Connection) -> Result<Token, Failure> {
    match &connection.auth {
        Auth::Token(token) => Ok((token.read("the token for Vault")?, ENDLESS)),
        Auth::Kubernetes { mount, role, token } => {
            let jwt = token.read("the token of the service account")?;
            log_in(connection, mount, [("role", role), ("jwt", &jwt)]).await
        }
        Auth::AppRole {
            mount,
            role_id,
            secret_id,
        } => {
            let secret = secret_id.read("the secret id of the AppRole")?;
            let pairs = [("role_id", role_id.as_str()), ("secret_id", &secret)];
            log_in(connection, mount, pairs).await
        }
    }
}

async fn log_in(
    connection: &Connection,
    mount: &str,
    fields: [(&str, &str); 2],
) -> Result<Token, Failure> {
    let url = url(
        connection,
        &format!("auth/{}/login", mount.trim_matches('/')),
    );
    // Written by hand so that the only copy of a secret is one that is wiped.
    let [first, second] = fields.map(|(name, value)| {
        Zeroizing::new(format!(
            "{}:{}",
            json!(name),
            Zeroizing::new(json!(value).to_string()).as_str()
        ))
    });
    let body = Zeroizing::new(format!("{{{},{}}}", first.as_str(), second.as_str()));
    let (roots, headers) = (roots(connection)?, headers(connection));
    let request = Request {
        method: Method::POST,
        headers: &headers,
        roots: roots.as_ref().map(|pem| pem.as_bytes()),
        body: Some(("application/json", body.as_bytes())),
        ..Request::get(&url)
    };
    let answer = send(request).await?;
    if answer.status != 200 {
        return Err(classify(&answer, Asking::Login));
    }
    let wire::LoggedIn { auth } = wire::read(&answer)?;
    let lasts = match auth.lease_duration {
        0 => ENDLESS,
        seconds => Duration::from_secs(seconds),
    };
    Ok((auth.client_token, lasts))
}

/// A path below the API.
pub(super) fn url(connection: &Connection, path: &str) -> String {
    format!("{}/v1/{path}", connection.address.trim_end_matches('/'))
}

/// Vault wants to see that nobody was talked into asking it.
pub(super) fn headers(connection: &Connection) -> Vec<(&'static str, &str)> {
    let mut headers = vec![("x-vault-request", "true")];
    if let Some(namespace) = &connection.namespace {
        headers.push(("x-vault-namespace", namespace));
    }
    headers
}

/// The authorities that are trusted, in PEM.
pub(super) fn roots(connection: &Connection) -> Result<Option<Zeroizing<String>>, Failure> {
    let ca = connection.ca.as_ref();
    ca.map(|ca| ca.read("the CA of Vault")).transpose()
}
