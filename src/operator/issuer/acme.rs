//! An ACME server, as the operator reaches it: accounts are kept in Secrets, files of HTTP-01 in a ConfigMap that every replica answers from.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hickory_net::proto::rr::rdata::tsig::TsigAlgorithm;
use instant_acme::ChallengeType;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::{Found, Unasked};
use crate::api::v1alpha1::{
    self as api, AcmeSolverChoice, SecretKeyRef, TsigAlgorithm as WantedAlgorithm,
};
use crate::api::{LABEL_ACME, LABEL_MANAGED_BY, LABEL_NAME, LABEL_PART, MANAGER};
use crate::crypto::digest::Sha256;
use crate::crypto::secret::SecretBytes;
use crate::issuer::acme::{
    Accounts, AcmeCa, AcmeSettings, ExternalAccount, Files, Proof, Rfc2136, Rfc2136Settings, Solver,
};
use crate::issuer::{IssuerClass, IssuerError};
use crate::operator::error::Error;
use crate::operator::missing::Missing;
use crate::operator::named::content;
use crate::operator::objects::Objects;
use crate::operator::observe::secrets::field;
use crate::operator::reconcile::Context;

const AGAIN: &str = "It is tried again by itself.";
/// What an account's Secret holds: the account and its key.
const ACCOUNT: &str = "account.json";

/// The server that is named, with what Secrets say.
pub(super) async fn find(
    context: &Context,
    objects: &Objects,
    name: String,
    wanted: &api::AcmeIssuer,
) -> Result<Result<Found, Unasked>, Error> {
    let mut versions = Vec::new();
    let mut read = async |reference: &SecretKeyRef| -> Result<Result<SecretBytes, Unasked>, Error> {
        let found = content(objects, reference).await?;
        Ok(found.map_err(Unasked::Missing).map(|(bytes, version)| {
            versions.push(version);
            bytes
        }))
    };
    let root = match read(&wanted.root_secret).await? {
        Ok(root) => root.expose().to_vec(),
        Err(unasked) => return Ok(Err(unasked)),
    };
    let mut roots = root.clone();
    if let Some(reference) = &wanted.ca_secret {
        match read(reference).await? {
            Ok(found) => roots = found.expose().to_vec(),
            Err(unasked) => return Ok(Err(unasked)),
        }
    }
    let unusable = |reference: &SecretKeyRef, what: &str| {
        Unasked::Unusable(IssuerError {
            issuer: name.clone(),
            class: IssuerClass::Malformed,
            message: format!(
                "{} of Secret {} is not {what}",
                reference.key, reference.name
            ),
            remedy: "Put the key there as it was given, and nothing else.",
        })
    };
    let mut external_account = None;
    if let Some(external) = &wanted.external_account {
        let reference = &external.key_secret;
        let text = match read(reference).await? {
            Ok(text) => text,
            Err(unasked) => return Ok(Err(unasked)),
        };
        let bare = text.expose().trim_ascii();
        let key = URL_SAFE_NO_PAD
            .decode(bare)
            .or_else(|_| URL_SAFE.decode(bare));
        let Ok(key) = key else {
            return Ok(Err(unusable(reference, "a key in base64url")));
        };
        external_account = Some(ExternalAccount {
            key_id: external.key_id.clone(),
            key: SecretBytes::new(key),
        });
    }
    let solver: Arc<dyn Solver> = match wanted.solver.choice() {
        None => return Ok(Err(Unasked::Missing(Missing::Solver))),
        Some(AcmeSolverChoice::Http01) => Arc::new(KubeFiles {
            objects: objects.clone(),
            issuer: name.clone(),
            files: context.issuers.files.clone(),
        }),
        Some(AcmeSolverChoice::Dns01(dns)) => {
            let text = match read(&dns.key_secret).await? {
                Ok(text) => text,
                Err(unasked) => return Ok(Err(unasked)),
            };
            let Ok(key) = STANDARD.decode(text.expose().trim_ascii()) else {
                return Ok(Err(unusable(&dns.key_secret, "a key in base64")));
            };
            match Rfc2136::new(name.clone(), &settings(dns, key)) {
                Ok(solver) => Arc::new(solver),
                Err(error) => return Ok(Err(Unasked::Unusable(error))),
            }
        }
    };
    let settings = AcmeSettings {
        server: wanted.server.clone(),
        client_server: wanted.client_server.clone(),
        root,
        roots,
        email: wanted.email.clone(),
        profile: wanted.profile.clone(),
        external_account,
    };
    let accounts = Arc::new(KubeAccounts {
        objects: objects.clone(),
        issuer: name.clone(),
    });
    Ok(Ok(Found {
        issuer: Arc::new(AcmeCa::new(name, settings, accounts, solver)),
        what: format!("{versions:?}"),
    }))
}

fn settings(dns: &api::Rfc2136, key: Vec<u8>) -> Rfc2136Settings {
    let has_port = dns
        .server
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let server = if has_port {
        dns.server.clone()
    } else {
        format!("{}:53", dns.server)
    };
    Rfc2136Settings {
        server,
        key_name: dns.key_name.clone(),
        algorithm: match dns.algorithm {
            WantedAlgorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            WantedAlgorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            WantedAlgorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        },
        key: SecretBytes::new(key),
    }
}

fn metadata(objects: &Objects, name: String, more: &[(&str, &str)]) -> ObjectMeta {
    let labels = [
        (LABEL_MANAGED_BY, MANAGER),
        (LABEL_NAME, objects.owner()),
        (LABEL_PART, "acme"),
    ];
    let labels = labels.iter().chain(more);
    ObjectMeta {
        name: Some(name),
        namespace: Some(objects.namespace().to_owned()),
        labels: Some(
            labels
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        ..ObjectMeta::default()
    }
}

fn of_kube(issuer: &str, error: &Error) -> IssuerError {
    IssuerError {
        issuer: issuer.to_owned(),
        class: IssuerClass::Unavailable,
        message: error.to_string(),
        remedy: AGAIN,
    }
}

/// A Secret for each account. It outlives the resource: another one of this name has the account again.
struct KubeAccounts {
    objects: Objects,
    issuer: String,
}

impl KubeAccounts {
    fn secret(&self, account: &str) -> String {
        let mut digest = Sha256::default();
        digest.update(account.as_bytes());
        let [a, b, c, d, ..] = digest.finish();
        let mark = u32::from_be_bytes([a, b, c, d]);
        format!("{}-acme-{mark:08x}", self.objects.owner())
    }
}

impl Accounts for KubeAccounts {
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretBytes>, IssuerError>> {
        async move {
            let name = self.secret(account);
            let guarded = self.objects.guard::<Secret>(&name).await;
            guarded.map_err(|error| of_kube(&self.issuer, &error))?;
            let found = self.objects.get::<Secret>(&name).await;
            let found = found.map_err(|error| of_kube(&self.issuer, &error))?;
            let content = found.and_then(|secret| Some(field(&secret, ACCOUNT).ok()?.to_vec()));
            Ok(content.map(SecretBytes::new))
        }
        .boxed()
    }

    fn keep<'a>(
        &'a self,
        account: &'a str,
        content: SecretBytes,
    ) -> BoxFuture<'a, Result<(), IssuerError>> {
        async move {
            let data = (ACCOUNT.to_owned(), ByteString(content.expose().to_vec()));
            let secret = Secret {
                metadata: metadata(&self.objects, self.secret(account), &[]),
                data: Some([data].into()),
                ..Secret::default()
            };
            let kept = self.objects.put(&secret).await;
            kept.map(drop)
                .map_err(|error| of_kube(&self.issuer, &error))
        }
        .boxed()
    }
}

/// Files in the memory of this replica, and in a ConfigMap for the others: the server asks whichever it comes to.
struct KubeFiles {
    objects: Objects,
    issuer: String,
    files: Files,
}

impl KubeFiles {
    fn name(&self) -> String {
        format!("{}-acme-files", self.objects.owner())
    }

    /// `None` takes a file away.
    async fn write(&self, files: Map<String, Value>) -> Result<(), Error> {
        let name = self.name();
        self.objects.guard::<ConfigMap>(&name).await?;
        let found = self.objects.get::<ConfigMap>(&name).await?;
        if found.is_none() {
            let map = ConfigMap {
                metadata: metadata(&self.objects, name.clone(), &[(LABEL_ACME, "files")]),
                ..ConfigMap::default()
            };
            self.objects.create(&map).await?;
        }
        let patch = json!({"data": files});
        let merged = self.objects.merge::<ConfigMap>(&name, &patch).await;
        merged.map(drop)
    }

    async fn all(&self, proofs: &[Proof], there: bool) -> Result<(), IssuerError> {
        let one = |proof: &Proof| {
            let content = there.then(|| proof.file.clone());
            (
                proof.token.clone(),
                content.map_or(Value::Null, Value::from),
            )
        };
        for proof in proofs {
            if there {
                self.files.put(proof);
            } else {
                self.files.remove(proof);
            }
        }
        let done = self.write(proofs.iter().map(one).collect()).await;
        done.map_err(|error| of_kube(&self.issuer, &error))
    }
}

impl Solver for KubeFiles {
    fn kind(&self) -> ChallengeType {
        ChallengeType::Http01
    }

    fn show<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        self.all(proofs, true).boxed()
    }

    fn take_back<'a>(&'a self, proofs: &'a [Proof]) -> BoxFuture<'a, Result<(), IssuerError>> {
        self.all(proofs, false).boxed()
    }
}
