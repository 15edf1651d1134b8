//! The PKI engine of HashiCorp Vault, or of OpenBao: the key is made here, Vault signs the request for its certificate.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::own::checked;
use super::{IssuedCa, Issuer, IssuerClass, IssuerError, NewCa, Order, request};
use crate::kms::Class;
use crate::kms::rest::{Answer, Failure, excerpt};
use crate::kms::vault::VaultClient;
use crate::tls::anchor::CaCertificates;
use crate::tls::leaf::{IssuedLeaf, LeafUse};

/// An engine and its roles.
#[derive(Clone, Debug)]
pub struct VaultPkiSettings {
    /// Path at which the engine is mounted.
    pub mount: String,
    /// Role for certificates of servers, which are clients too.
    pub role: String,
    /// Role for certificates of clients alone.
    pub client_role: Option<String>,
}

/// A PKI engine.
pub struct VaultPki {
    name: String,
    client: Arc<VaultClient>,
    settings: VaultPkiSettings,
}

/// What Vault tells of an issuer.
#[derive(Deserialize)]
struct Ca {
    certificate: String,
    #[serde(default)]
    ca_chain: Vec<String>,
}

/// What Vault signed.
#[derive(Deserialize)]
struct Signed {
    certificate: String,
    issuing_ca: String,
    #[serde(default)]
    ca_chain: Vec<String>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<String>,
}

impl VaultPki {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(
        name: impl Into<String>,
        client: Arc<VaultClient>,
        settings: VaultPkiSettings,
    ) -> Self {
        Self {
            name: name.into(),
            client,
            settings,
        }
    }

    async fn ask_ca(&self) -> Result<CaCertificates, IssuerError> {
        self.client.keep_token().await;
        let path = format!("{}/issuer/default/json", self.settings.mount);
        let answer = self.client.look(&path).await;
        let answer = answer.map_err(|failure| self.broken(&failure))?;
        let Data { data } = self.read::<Data<Ca>>(&answer)?;
        self.chain(&data.certificate, &data.ca_chain)
    }

    /// The chain as it is served; a root at its end is the anchor.
    fn chain(&self, issuing: &str, rest: &[String]) -> Result<CaCertificates, IssuerError> {
        let chain = joined(issuing, rest);
        CaCertificates::parse(chain.as_bytes(), None).map_err(|error| {
            self.error(
                IssuerClass::Malformed,
                error.to_string(),
                "Import the certificates up to the root into the engine (MOUNT/issuers/import/cert), so that the issuer's ca_chain is whole.",
            )
        })
    }

    async fn ask_leaf(&self, order: &Order) -> Result<IssuedLeaf, IssuerError> {
        let role = match (order.what_for, &self.settings.client_role) {
            (LeafUse::Both, _) => &self.settings.role,
            (LeafUse::Client, Some(role)) => role,
            (LeafUse::Client, None) => {
                return Err(self.error(
                    IssuerClass::Refused,
                    "a certificate for a client alone was asked for, and no role gives such ones".to_owned(),
                    "Name a role with client_flag=true and server_flag=false in tls.issuer.vault.clientRole, or ask for usages: [clientAuth, serverAuth].",
                ));
            }
        };
        let spec = &order.spec;
        let request = request(&self.name, spec, order.what_for, order.now).await?;
        let dns: Vec<&str> = spec.dns.iter().map(String::as_str).collect();
        let ips: Vec<String> = spec.ips.iter().map(ToString::to_string).collect();
        let body = json!({
            "csr": request.pem,
            "common_name": spec.common_name,
            "alt_names": dns.join(","),
            "ip_sans": ips.join(","),
            "ttl": format!("{}s", spec.duration.as_secs()),
            "exclude_cn_from_sans": true,
            "format": "pem",
        });
        let path = format!("{}/sign/{role}", self.settings.mount);
        let body = body.to_string();
        let answer = self.client.ask(Method::POST, &path, Some(body.as_bytes()));
        let answer = answer.await.map_err(|failure| self.broken(&failure))?;
        let Data { data } = self.read::<Data<Signed>>(&answer)?;
        let chain = self.chain(&data.issuing_ca, &data.ca_chain)?;
        let mut certificate = data.certificate.trim().to_owned();
        certificate.push('\n');
        let leaf = IssuedLeaf {
            certificate_pem: certificate + chain.intermediates_pem(),
            key_pem: request.key,
        };
        checked(&self.name, order, leaf)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, IssuerError> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            self.error(
                IssuerClass::Malformed,
                format!("its answer is not what the PKI engine says ({place})"),
                CORRECT,
            )
        })
    }

    /// Its statuses are few, so its words count.
    fn refused(&self, answer: &Answer) -> IssuerError {
        let words = serde_json::from_slice::<Refusal>(&answer.body)
            .map(|refusal| excerpt(&refusal.errors.join("; ")))
            .ok()
            .filter(|words| !words.is_empty());
        let unknown = words.as_ref().is_some_and(|words| {
            words.contains("unknown role") || words.contains("unable to find PKI issuer")
        });
        let (class, remedy) = match answer.status {
            // 412: a standby does not know yet what was written; 472, 473: a standby that does not answer itself.
            408 | 412 | 429 | 472 | 473 | 500.. => (IssuerClass::Unavailable, WAY),
            401 | 403 => (
                IssuerClass::Denied,
                "Give the operator's policy update on MOUNT/sign/ROLE, and check its role and the token's audience.",
            ),
            404 => (IssuerClass::NotFound, CORRECT),
            400 if unknown => (IssuerClass::NotFound, CORRECT),
            400 => (
                IssuerClass::Refused,
                "Let the role allow the names that the message tells, allow_bare_domains, allow_glob_domains or allow_subdomains, IP addresses, and the duration.",
            ),
            _ => (IssuerClass::Malformed, CORRECT),
        };
        let words = words.unwrap_or_else(|| match answer.status {
            404 => "there is nothing of this name".to_owned(),
            status => format!("HTTP status {status} without an error of Vault"),
        });
        self.error(class, words, remedy)
    }

    fn broken(&self, failure: &Failure) -> IssuerError {
        let (class, remedy) = match failure.class {
            Class::Unavailable => (IssuerClass::Unavailable, WAY),
            Class::Denied => (
                IssuerClass::Denied,
                "Check the role and its bound service accounts or secret ID, the audience, and that the operator's policy has update on MOUNT/sign/ROLE.",
            ),
            Class::NotFound => (IssuerClass::NotFound, CORRECT),
            Class::WrongKey | Class::Disabled | Class::PendingDeletion | Class::Malformed => {
                (IssuerClass::Malformed, CORRECT)
            }
        };
        self.error(class, failure.message.clone(), remedy)
    }

    fn error(&self, class: IssuerClass, message: String, remedy: &'static str) -> IssuerError {
        IssuerError {
            issuer: self.name.clone(),
            class,
            message,
            remedy,
        }
    }
}

const WAY: &str = "Check that Vault is unsealed and not throttling, and the way from the operator to it: network policy, DNS, proxy. It is tried again by itself.";
const CORRECT: &str = "Correct address, CA, namespace, mount and role of tls.issuer.vault; the engine must be of the kind pki and have a default issuer.";

/// Certificates in PEM, each on lines of its own, the first of them once.
fn joined(first: &str, rest: &[String]) -> String {
    let rest = rest.iter().map(|one| one.trim());
    let others = rest.filter(|one| *one != first.trim());
    let all: Vec<&str> = [first.trim()].into_iter().chain(others).collect();
    all.join("\n") + "\n"
}

impl Issuer for VaultPki {
    fn authority<'a>(&'a self, _: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        async move {
            Ok(IssuedCa {
                certificates: self.ask_ca().await?,
                key: None,
            })
        }
        .boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async move { self.ask_ca().await.map(Some) }.boxed()
    }

    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        self.ask_leaf(order).boxed()
    }
}
