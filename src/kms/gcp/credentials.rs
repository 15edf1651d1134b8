//! Who asks: a credentials file of Google, or the identity that the machine or the pod has.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::crypto::secret::SecretBytes;
use crate::kms::error::Class;
use crate::kms::jwt::Signer;
use crate::kms::oauth::{Token, exchange, granted, no_token, now};
use crate::kms::rest::{Failure, Request, secret, send};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str = "metadata.google.internal";

/// Where the identity comes from.
pub enum Credentials {
    /// As Google's libraries find it: `GOOGLE_APPLICATION_CREDENTIALS`, else the metadata server, which is workload
    /// identity on GKE.
    Default,
    /// A file, read at each use.
    File(PathBuf),
    /// The content of such a file.
    Json(SecretBytes),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("Default"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Json(_) => f.write_str("Json(..)"),
        }
    }
}

impl Credentials {
    /// A new token and how long it is good.
    pub(super) async fn token(&self) -> Result<Token, Failure> {
        match self {
            Self::Json(content) => of_content(content.expose()).await,
            Self::File(path) => of_file(path).await,
            Self::Default => match std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS") {
                Some(path) => of_file(&PathBuf::from(path)).await,
                None => of_metadata().await,
            },
        }
    }
}

/// A credentials file, by its `type`. Unknown fields are Google's business.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount {
        client_email: String,
        private_key_id: Option<String>,
        #[serde(deserialize_with = "secret")]
        private_key: Zeroizing<String>,
        token_uri: String,
    },
    AuthorizedUser {
        client_id: String,
        #[serde(deserialize_with = "secret")]
        client_secret: Zeroizing<String>,
        #[serde(deserialize_with = "secret")]
        refresh_token: Zeroizing<String>,
        token_uri: Option<String>,
    },
    ExternalAccount {
        audience: String,
        subject_token_type: String,
        token_url: String,
        service_account_impersonation_url: Option<String>,
        credential_source: Source,
    },
}

/// Where the token of another identity provider is: the projected token of a service account, in Kubernetes.
#[derive(Deserialize)]
struct Source {
    file: Option<PathBuf>,
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
struct Format {
    subject_token_field_name: Option<String>,
}

async fn of_file(path: &PathBuf) -> Result<Token, Failure> {
    let content = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        let message = format!("the credentials file {}: {error}", path.display());
        Failure::new(Class::Denied, message)
    })?;
    of_content(&content).await
}

async fn of_content(content: &[u8]) -> Result<Token, Failure> {
    let file = serde_json::from_slice(content).map_err(|error| {
        // Only where and which kind: the text around it is a secret.
        let place = format!("line {} column {}", error.line(), error.column());
        let message = format!(
            "the credentials file is none of service_account, authorized_user, external_account ({place})"
        );
        Failure::new(Class::Malformed, message)
    })?;
    match file {
        File::ServiceAccount {
            client_email,
            private_key_id,
            private_key,
            token_uri,
        } => {
            let now = now();
            let mut header = json!({"alg": "RS256", "typ": "JWT"});
            if let Some(id) = private_key_id {
                header["kid"] = json!(id);
            }
            let claims = json!({
                "iss": client_email, "scope": SCOPE, "aud": token_uri, "iat": now, "exp": now + 3600,
            });
            let assertion = Signer::from_pem(&private_key)?.sign(&header, &claims)?;
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            let pairs = [("grant_type", grant), ("assertion", &assertion)];
            exchange(&token_uri, &pairs).await
        }
        File::AuthorizedUser {
            client_id,
            client_secret,
            refresh_token,
            token_uri,
        } => {
            let uri = token_uri.as_deref();
            let uri = uri.unwrap_or("https://oauth2.googleapis.com/token");
            let pairs = [
                ("grant_type", "refresh_token"),
                ("client_id", &client_id),
                ("client_secret", &client_secret),
                ("refresh_token", &refresh_token),
            ];
            exchange(uri, &pairs).await
        }
        File::ExternalAccount {
            audience,
            subject_token_type,
            token_url,
            service_account_impersonation_url,
            credential_source,
        } => {
            let subject = credential_source.read()?;
            let pairs = [
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:token-exchange",
                ),
                ("audience", &audience),
                ("scope", SCOPE),
                (
                    "requested_token_type",
                    "urn:ietf:params:oauth:token-type:access_token",
                ),
                ("subject_token_type", &subject_token_type),
                ("subject_token", &subject),
            ];
            let (token, lasts) = exchange(&token_url, &pairs).await?;
            match service_account_impersonation_url {
                None => Ok((token, lasts)),
                Some(url) => impersonate(&url, &token).await,
            }
        }
    }
}

impl Source {
    fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let path = self.file.as_ref().ok_or_else(|| {
            let message = "credential_source of the credentials file names no file; other sources are not supported";
            Failure::new(Class::Malformed, message)
        })?;
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| {
            let message = format!(
                "the token file {} of the credentials: {error}",
                path.display()
            );
            Failure::new(Class::Denied, message)
        })?;
        let Some(field) = &self.format.subject_token_field_name else {
            return Ok(Zeroizing::new(text.trim().to_owned()));
        };
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let token = json[field].as_str().map(str::to_owned).map(Zeroizing::new);
        token.ok_or_else(|| {
            let message = format!("the token file {} has no {field}", path.display());
            Failure::new(Class::Malformed, message)
        })
    }
}

async fn of_metadata() -> Result<Token, Failure> {
    let host = std::env::var("GCE_METADATA_HOST").unwrap_or_else(|_| METADATA.to_owned());
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let request = Request {
        headers: &[("metadata-flavor", "Google")],
        ..Request::get(&url)
    };
    let answer = send(request).await.map_err(|mut failure| {
        failure.message = format!(
            "no credentials are given, and the metadata server does not answer: {}",
            failure.message
        );
        failure
    })?;
    granted("the metadata server", &answer)
}

/// The token of the service account that this identity may act as.
async fn impersonate(url: &str, token: &str) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Impersonated {
        #[serde(deserialize_with = "secret")]
        access_token: Zeroizing<String>,
    }
    let body = format!(r#"{{"scope":["{SCOPE}"],"lifetime":"3600s"}}"#);
    let request = Request::post(url, "application/json", body.as_bytes());
    let answer = send(request.bearer(token)).await?;
    if answer.status != 200 {
        return Err(super::classify(&answer));
    }
    let found: Impersonated = serde_json::from_slice(&answer.body).map_err(|_| no_token(url))?;
    Ok((found.access_token, Duration::from_hours(1)))
}
