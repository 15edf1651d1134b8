//! A CA that is asked by ACME (RFC 8555): the key is made here; names are shown to be ours, and the CA signs.

mod account;
mod error;
mod http;
mod rfc2136;
mod solver;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use instant_acme::{
    AuthorizationStatus, Identifier, NewOrder, Order as AcmeOrder, OrderStatus, RetryPolicy,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

pub use self::account::{Accounts, ExternalAccount};
use self::http::Http;
pub use self::rfc2136::{Rfc2136, Rfc2136Settings};
pub use self::solver::{Files, Proof, Solver};
use super::own::checked;
use super::{IssuedCa, Issuer, IssuerClass, IssuerError, NewCa, Order, request};
use crate::api::v1alpha1::Subject;
use crate::tls::anchor::CaCertificates;
use crate::tls::leaf::{IssuedLeaf, LeafSpec, LeafUse};

/// Time for a server to look at what is shown, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(100))
    .backoff(1.5)
    .timeout(Duration::from_secs(30));

/// A server and what it wants to know.
pub struct AcmeSettings {
    /// URL of its directory.
    pub server: String,
    /// URL of a directory that gives certificates for clients alone.
    pub client_server: Option<String>,
    /// The root that its certificates lead to, PEM.
    pub root: Vec<u8>,
    /// Roots that the server's own certificate leads to, PEM.
    pub roots: Vec<u8>,
    /// Whom it may write to.
    pub email: Option<String>,
    /// Profile that is asked for.
    pub profile: Option<String>,
    /// The account at its register.
    pub external_account: Option<ExternalAccount>,
}

/// An ACME server.
pub struct AcmeCa {
    name: String,
    settings: AcmeSettings,
    accounts: Arc<dyn Accounts>,
    solver: Arc<dyn Solver>,
}

/// What matters of a directory (RFC 8555 §7.1.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    #[serde(rename = "newOrder")]
    _new_order: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    external_account_required: bool,
}

impl AcmeCa {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(
        name: impl Into<String>,
        settings: AcmeSettings,
        accounts: Arc<dyn Accounts>,
        solver: Arc<dyn Solver>,
    ) -> Self {
        Self {
            name: name.into(),
            settings,
            accounts,
            solver,
        }
    }

    fn root(&self) -> Result<CaCertificates, IssuerError> {
        CaCertificates::parse(&self.settings.root, None).map_err(|error| {
            self.error(
                IssuerClass::Malformed,
                error.to_string(),
                "Put the root that the server's certificates lead to, and nothing else, into the Secret that tls.issuer.acme.rootSecret names.",
            )
        })
    }

    /// The root, once the server answers as one of ACME.
    async fn ask(&self) -> Result<CaCertificates, IssuerError> {
        let root = self.root()?;
        let servers = [
            Some(&self.settings.server),
            self.settings.client_server.as_ref(),
        ];
        for server in servers.into_iter().flatten() {
            let answer = Http::new(&self.settings.roots).get(server).await;
            let answer = answer.map_err(|failure| self.unreached(&failure))?;
            let status = answer.status();
            let directory = serde_json::from_slice::<Directory>(answer.body()).ok();
            let Some(directory) = directory.filter(|_| status.is_success()) else {
                let class = match status.as_u16() {
                    429 | 500.. => IssuerClass::Unavailable,
                    _ => IssuerClass::NotFound,
                };
                let message = format!("{server} is no directory of ACME (HTTP status {status})");
                return Err(self.error(class, message, error::CORRECT));
            };
            if directory.meta.external_account_required && self.settings.external_account.is_none()
            {
                return Err(self.error(
                    IssuerClass::Denied,
                    "it asks for an external account".to_owned(),
                    error::EXTERNAL,
                ));
            }
        }
        Ok(root)
    }

    async fn ask_leaf(&self, order: &Order) -> Result<IssuedLeaf, IssuerError> {
        let server = match (order.what_for, &self.settings.client_server) {
            (LeafUse::Both, _) => &self.settings.server,
            (LeafUse::Client, Some(server)) => server,
            (LeafUse::Client, None) => {
                return Err(self.error(
                    IssuerClass::Refused,
                    "a certificate for a client alone was asked for, and no directory gives such ones".to_owned(),
                    "Name a directory that does in tls.issuer.acme.clientServer, or ask for usages: [clientAuth, serverAuth].",
                ));
            }
        };
        if let Some(ip) = order.spec.ips.first() {
            return Err(self.error(
                IssuerClass::Refused,
                format!("it is not asked for addresses, and {ip} is wanted"),
                "Take it out of ipAddresses, and let clients dial a name.",
            ));
        }
        // The names are what is proven; some servers refuse a request that says more.
        let spec = LeafSpec {
            subject: Subject::default(),
            ..order.spec.clone()
        };
        let request = request(&self.name, &spec, order.what_for, order.now).await?;
        let der = CertificateSigningRequestDer::from_pem_slice(request.pem.as_bytes());
        let der = der.map_err(|error| {
            self.error(IssuerClass::Malformed, error.to_string(), "Report this.")
        })?;
        // A common name is a name that is checked like others.
        let mut names = order.spec.dns.clone();
        names.insert(order.spec.common_name.clone());
        let names: Vec<Identifier> = names.into_iter().map(Identifier::Dns).collect();
        let mut begun = self.begin(server, &names, false).await;
        if let Err(error) = &begun
            && error.class == IssuerClass::NotFound
        {
            begun = self.begin(server, &names, true).await;
        }
        let mut certificate = self.finish(&mut begun?, der.as_ref()).await?;
        if !certificate.ends_with('\n') {
            certificate.push('\n');
        }
        let leaf = IssuedLeaf {
            certificate_pem: certificate,
            key_pem: request.key,
        };
        checked(&self.name, order, leaf)
    }

    async fn begin(
        &self,
        server: &str,
        names: &[Identifier],
        anew: bool,
    ) -> Result<AcmeOrder, IssuerError> {
        let account = self.account(server, anew).await?;
        let mut wanted = NewOrder::new(names);
        if let Some(profile) = &self.settings.profile {
            wanted = wanted.profile(profile);
        }
        let order = account.new_order(&wanted).await;
        order.map_err(|error| self.of_acme(error))
    }

    async fn finish(&self, order: &mut AcmeOrder, request: &[u8]) -> Result<String, IssuerError> {
        let mut proofs = Vec::new();
        let ready = self.prove(order, &mut proofs).await;
        if !proofs.is_empty()
            && let Err(error) = self.solver.take_back(&proofs).await
        {
            tracing::warn!(%error, "what was shown to an ACME server was not taken back; it harms nobody");
        }
        ready?;
        let of_acme = |error| self.of_acme(error);
        order.finalize_csr(request).await.map_err(of_acme)?;
        order.poll_certificate(&PATIENCE).await.map_err(of_acme)
    }

    /// Shows that the names are ours, those that the server does not know to be.
    async fn prove(
        &self,
        order: &mut AcmeOrder,
        proofs: &mut Vec<Proof>,
    ) -> Result<(), IssuerError> {
        let kind = self.solver.kind();
        let mut all = order.authorizations();
        while let Some(next) = all.next().await {
            let mut one = next.map_err(|error| self.of_acme(error))?;
            if one.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = one.identifier().to_string();
            let challenge = one.challenge(kind.clone()).ok_or_else(|| {
                self.error(
                    IssuerClass::Refused,
                    format!("it does not offer {kind:?} for {name}"),
                    "Use the other solver, or let the CA offer this one. Wildcards are to be had by dns01 alone.",
                )
            })?;
            let key = challenge.key_authorization();
            proofs.push(Proof {
                name: name.trim_start_matches("*.").to_owned(),
                token: challenge.token.clone(),
                file: key.as_str().to_owned(),
                record: key.dns_value(),
            });
        }
        if proofs.is_empty() {
            return Ok(());
        }
        self.solver.show(proofs).await?;
        let mut all = order.authorizations();
        while let Some(next) = all.next().await {
            let mut one = next.map_err(|error| self.of_acme(error))?;
            if one.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = one.identifier().to_string();
            if let Some(mut challenge) = one.challenge(kind.clone()) {
                let told = challenge.set_ready().await;
                told.map_err(|error| self.not_proven(&name, error))?;
            }
        }
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) | Err(instant_acme::Error::Api(_)) => Err(self.why(order).await),
            Err(error) => Err(self.of_acme(error)),
        }
    }

    /// What the server says of the names that it does not take to be ours.
    async fn why(&self, order: &mut AcmeOrder) -> IssuerError {
        let mut told = Vec::new();
        let mut all = order.authorizations();
        while let Some(next) = all.next().await {
            let Ok(mut one) = next else { continue };
            let name = one.identifier().to_string();
            let Ok(state) = one.refresh().await else {
                continue;
            };
            let errors = state.challenges.iter().filter_map(|one| one.error.as_ref());
            told.extend(errors.map(|error| format!("{name}: {error}")));
        }
        self.unproven(&told.join("; "))
    }
}

impl Issuer for AcmeCa {
    fn authority<'a>(&'a self, _: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        async move {
            Ok(IssuedCa {
                certificates: self.ask().await?,
                key: None,
            })
        }
        .boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async move { self.ask().await.map(Some) }.boxed()
    }

    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        self.ask_leaf(order).boxed()
    }
}
