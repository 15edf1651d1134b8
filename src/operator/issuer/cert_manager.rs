//! An issuer of cert-manager: the key is made here, a `CertificateRequest` carries the request for its certificate.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::v1alpha1::{CertManagerRef, KeyAlgorithm};
use crate::api::{LABEL_MANAGED_BY, LABEL_NAME, MANAGER};
use crate::issuer::{IssuedCa, Issuer, IssuerClass, IssuerError, NewCa, Order, checked, request};
use crate::operator::objects::Objects;
use crate::tls::anchor::CaCertificates;
use crate::tls::leaf::{IssuedLeaf, LeafSpec, LeafUse};
use crate::tls::private::PrivatePem;

/// A request that nobody signed by then is taken back: the next one has another key.
const PATIENCE: Duration = Duration::from_secs(30);
/// Validity of the certificate by which an issuer shows its CA.
const SHOWN: SignedDuration = SignedDuration::from_hours(1);

const AGAIN: &str = "It is tried again by itself.";
const LOOK: &str = "See the issuer's status (kubectl describe) and cert-manager's log; requests must be approved without a person.";

/// An issuer of cert-manager.
pub(super) struct CertManager {
    requests: Api<DynamicObject>,
    kind: ApiResource,
    owner: String,
    name: String,
    issuer: CertManagerRef,
    root: Option<Vec<u8>>,
}

/// What was signed.
struct Signed {
    certificate: String,
    ca: Option<Vec<u8>>,
    key: PrivatePem,
}

impl CertManager {
    /// Nothing is asked yet. `root` is what a person says that its certificates lead to.
    pub fn new(
        client: Client,
        objects: &Objects,
        name: String,
        issuer: &CertManagerRef,
        root: Option<Vec<u8>>,
    ) -> Self {
        let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
        let kind = ApiResource::from_gvk(&kind);
        Self {
            requests: Api::namespaced_with(client, objects.namespace(), &kind),
            kind,
            owner: objects.owner().to_owned(),
            name,
            issuer: issuer.clone(),
            root,
        }
    }

    fn error(&self, class: IssuerClass, message: String, remedy: &'static str) -> IssuerError {
        IssuerError {
            issuer: self.name.clone(),
            class,
            message,
            remedy,
        }
    }

    fn of_kube(&self, error: &kube::Error) -> IssuerError {
        let code = match error {
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        let (class, remedy) = match code {
            404 => (
                IssuerClass::NotFound,
                "Install cert-manager: the API server knows no CertificateRequest.",
            ),
            401 | 403 => (
                IssuerClass::Denied,
                "Let the operator create, watch and delete certificaterequests (certManager.enabled of the chart).",
            ),
            400 | 422 => (IssuerClass::Refused, LOOK),
            _ => (IssuerClass::Unavailable, AGAIN),
        };
        self.error(class, error.to_string(), remedy)
    }

    async fn sign(
        &self,
        spec: &LeafSpec,
        what_for: LeafUse,
        now: Timestamp,
    ) -> Result<Signed, IssuerError> {
        let made = request(&self.name, spec, what_for, now).await?;
        let object = self.object(&made.pem, spec, what_for);
        let created = self.requests.create(&PostParams::default(), &object).await;
        let created = created.map_err(|error| self.of_kube(&error))?;
        let name = created.name_any();
        let done = self.awaited(&name).await;
        // Whatever came of it: the key beside it is in no other hands than these.
        drop(self.requests.delete(&name, &DeleteParams::default()).await);
        let (certificate, ca) = done?;
        Ok(Signed {
            certificate,
            ca,
            key: made.key,
        })
    }

    fn object(&self, request: &str, spec: &LeafSpec, what_for: LeafUse) -> DynamicObject {
        // In the order of the request itself: cert-manager compares them so.
        let usages: &[&str] = match what_for {
            LeafUse::Both => &["digital signature", "server auth", "client auth"],
            LeafUse::Client => &["digital signature", "client auth"],
        };
        let mut object = DynamicObject::new("", &self.kind).data(json!({"spec": {
            "request": STANDARD.encode(request),
            "isCA": false,
            "usages": usages,
            "duration": format!("{}s", spec.duration.as_secs()),
            "issuerRef": self.issuer,
        }}));
        object.metadata.name = None;
        let stem: String = self.owner.chars().take(200).collect();
        object.metadata.generate_name = Some(format!("{stem}-tikv-security-"));
        let labels = [(LABEL_MANAGED_BY, MANAGER), (LABEL_NAME, &self.owner)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        object.metadata.labels = Some(labels.into());
        object
    }

    async fn awaited(&self, name: &str) -> Result<(String, Option<Vec<u8>>), IssuerError> {
        let decided = |found: Option<&DynamicObject>| {
            found.is_none_or(|found| outcome(&found.data).is_some())
        };
        let waiting = await_condition(self.requests.clone(), name, decided);
        let found = match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(self.error(IssuerClass::Unavailable, error.to_string(), AGAIN));
            }
            Err(_) => {
                let message = format!("nobody signed CertificateRequest {name} in {PATIENCE:?}");
                return Err(self.error(IssuerClass::Unavailable, message, LOOK));
            }
        };
        let found = found.ok_or_else(|| {
            let message = format!("CertificateRequest {name} was deleted by somebody");
            self.error(IssuerClass::Unavailable, message, AGAIN)
        })?;
        match outcome(&found.data) {
            Some(Outcome::Signed) => {}
            Some(Outcome::Refused(why)) => {
                return Err(self.error(IssuerClass::Refused, why, LOOK));
            }
            None => return Err(self.error(IssuerClass::Unavailable, name.to_owned(), AGAIN)),
        }
        let bytes = |field: &str| {
            let text = found.data.pointer(&format!("/status/{field}"))?.as_str()?;
            STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
        };
        let certificate = bytes("certificate").and_then(|bytes| String::from_utf8(bytes).ok());
        let certificate = certificate.ok_or_else(|| {
            let message = format!("CertificateRequest {name} is Ready and has no certificate");
            self.error(IssuerClass::WrongAnswer, message, LOOK)
        })?;
        Ok((certificate, bytes("ca")))
    }

    fn of_root(&self, root: &[u8]) -> Result<CaCertificates, IssuerError> {
        CaCertificates::parse(root, None).map_err(|error| {
            self.error(
                IssuerClass::Malformed,
                error.to_string(),
                "Put the root that the issuer's certificates lead to, and nothing else, into the Secret that tls.issuer.certManager.caSecret names.",
            )
        })
    }

    async fn ask_ca(&self, now: Timestamp) -> Result<CaCertificates, IssuerError> {
        if let Some(root) = &self.root {
            return self.of_root(root);
        }
        let spec = LeafSpec {
            subject: crate::api::v1alpha1::Subject::default(),
            common_name: format!("ca-of.{}.tikv-security", self.owner)
                .chars()
                .take(64)
                .collect(),
            dns: ["localhost".to_owned()].into(),
            ips: std::iter::empty().collect(),
            duration: SHOWN,
            key: KeyAlgorithm::EcdsaP256,
        };
        let shown = self.sign(&spec, LeafUse::Both, now).await?;
        let ca = shown.ca.ok_or_else(|| {
            self.error(
                IssuerClass::Refused,
                "it does not tell which CA its certificates lead to".to_owned(),
                "Put the root into a Secret and name it in tls.issuer.certManager.caSecret.",
            )
        })?;
        self.of_root(&ca)
    }

    async fn ask_leaf(&self, order: &Order) -> Result<IssuedLeaf, IssuerError> {
        let signed = self.sign(&order.spec, order.what_for, order.now).await?;
        let mut certificate = signed.certificate;
        if !certificate.ends_with('\n') {
            certificate.push('\n');
        }
        let leaf = IssuedLeaf {
            certificate_pem: certificate,
            key_pem: signed.key,
        };
        checked(&self.name, order, leaf)
    }
}

/// What became of a request.
enum Outcome {
    Signed,
    Refused(String),
}

fn outcome(request: &Value) -> Option<Outcome> {
    let conditions = request.pointer("/status/conditions")?.as_array()?;
    let text = |one: &Value, field: &str| {
        let text = one.get(field).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    for one in conditions {
        let words = (text(one, "type"), text(one, "status"), text(one, "reason"));
        let said = || format!("{}: {}", text(one, "reason"), text(one, "message"));
        match (words.0.as_str(), words.1.as_str(), words.2.as_str()) {
            ("Denied" | "InvalidRequest", "True", _) => return Some(Outcome::Refused(said())),
            ("Ready", "False", "Failed" | "Denied") => return Some(Outcome::Refused(said())),
            ("Ready", "True", _) => return Some(Outcome::Signed),
            _ => {}
        }
    }
    None
}

impl Issuer for CertManager {
    fn authority<'a>(&'a self, wanted: &'a NewCa) -> BoxFuture<'a, Result<IssuedCa, IssuerError>> {
        async move {
            Ok(IssuedCa {
                certificates: self.ask_ca(wanted.now).await?,
                key: None,
            })
        }
        .boxed()
    }

    fn look(&self) -> BoxFuture<'_, Result<Option<CaCertificates>, IssuerError>> {
        async move {
            let root = self.root.as_deref();
            root.map(|root| self.of_root(root)).transpose()
        }
        .boxed()
    }

    fn issue<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<IssuedLeaf, IssuerError>> {
        self.ask_leaf(order).boxed()
    }
}
