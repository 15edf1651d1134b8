//! A server of Vault or OpenBao and who asks it. Whatever is asked of it goes through here.

use hyper::Method;

use super::auth::{self, Auth, Source};
use super::wire;
use crate::kms::oauth::Tokens;
use crate::kms::rest::{self, Answer, Failure, Request};

/// Tokens are for one thing only.
const TOKEN: &str = "";

/// Where a server is, and who asks.
#[derive(Debug)]
pub struct Connection {
    /// URL of the server: `https://vault.example.com:8200`.
    pub address: String,
    /// Certificates of the authorities that are trusted, in PEM; those of the system without it.
    pub ca: Option<Source>,
    /// Namespace, where the server has some.
    pub namespace: Option<String>,
    /// Who asks.
    pub auth: Auth,
}

/// A connection with its tokens.
#[derive(Debug)]
pub struct VaultClient {
    connection: Connection,
    tokens: Tokens,
}

impl VaultClient {
    /// Nothing is asked yet.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            tokens: Tokens::default(),
        }
    }

    /// Where the server is.
    pub fn address(&self) -> &str {
        &self.connection.address
    }

    /// Asks, as whoever logs in. A token that is not taken any more (revoked, or of a server that was restored) is asked for anew, once.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        let old = self.tokens.holds(TOKEN);
        let mut answer = self.send(method.clone(), path, body).await?;
        if answer.status == 403 {
            self.tokens.forget();
            if old {
                answer = self.send(method, path, body).await?;
            }
        }
        Ok(answer)
    }

    /// Reads what everybody may read.
    pub(crate) async fn look(&self, path: &str) -> Result<Answer, Failure> {
        self.request(Method::GET, path, None, None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        let login = auth::token(&self.connection);
        let token = self.tokens.get(TOKEN, login).await?;
        self.request(method, path, body, Some(&token)).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
        token: Option<&str>,
    ) -> Result<Answer, Failure> {
        let url = auth::url(&self.connection, path);
        let roots = auth::roots(&self.connection)?;
        let headers = auth::headers(&self.connection);
        let request = Request {
            method,
            token,
            headers: &headers,
            roots: roots.as_ref().map(|pem| pem.as_bytes()),
            body: body.map(|body| ("application/json", body)),
            ..Request::get(&url)
        };
        rest::send(request).await
    }

    /// A token that was given, and that is past half of its life, is renewed. Whatever goes wrong shows when it is used.
    pub(crate) async fn keep_token(&self) {
        let Auth::Token(_) = self.connection.auth else {
            return;
        };
        let Ok(answer) = self.send(Method::GET, "auth/token/lookup-self", None).await else {
            return;
        };
        let due = wire::read::<wire::Data<wire::Lease>>(&answer).is_ok_and(|it| it.data.is_due());
        if due {
            let renewed = self.send(Method::POST, "auth/token/renew-self", Some(b"{}"));
            drop(renewed.await);
        }
    }
}
