//! Vault, as the operator reaches it: by its own service account, or by what the resource names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use super::{Subject, content, no_key, no_secret};
use crate::api::v1alpha1::{SecretKeyRef, VaultAuthChoice, VaultKubernetes, VaultTransit};
use crate::crypto::secret::SecretBytes;
use crate::kms::Kms;
use crate::kms::vault::{self, Auth, Settings, Source};
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::operator::reconcile::Context;
use crate::plan::observed::{MasterKeyClass, MasterKeyProof};

/// Life of the operator's token, in seconds: the shortest that Kubernetes allows.
const TOKEN_SECONDS: i64 = 600;
/// A client is used for so long: half of that life, so that it can log in again.
const CLIENT: Duration = Duration::from_mins(5);

/// The operator's own service account: whom it logs in to Vault as. It can not log in as the pods' without a right by
/// which it could become anybody in their namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Clients of the last minutes, with their tokens: a login makes a lease in Vault. Nothing is lost with them.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<String, Made>>);

/// When, and what.
type Made = (Instant, Arc<dyn Kms>);

impl Clients {
    fn get(&self, what: &str) -> Option<Arc<dyn Kms>> {
        let mut all = self.0.lock().ok()?;
        all.retain(|_, (made, _)| made.elapsed() < CLIENT);
        all.get(what).map(|(_, client)| client.clone())
    }

    fn keep(&self, what: &str, client: &Arc<dyn Kms>) {
        if let Ok(mut all) = self.0.lock() {
            all.insert(what.to_owned(), (Instant::now(), client.clone()));
        }
    }
}

/// The key that the resource names.
pub(super) async fn subject(
    context: &Context,
    objects: &Objects,
    key: &VaultTransit,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    let mut versions = Vec::new();
    let mut read =
        async |reference: &SecretKeyRef| -> Result<Result<Source, MasterKeyProof>, Error> {
            let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
                return Ok(Err(no_secret(&reference.name)));
            };
            let Some(bytes) = content(&secret, &reference.key) else {
                return Ok(Err(no_key(&reference.name, &reference.key)));
            };
            versions.push(secret.resource_version());
            Ok(Ok(Source::Given(SecretBytes::new(bytes.to_vec()))))
        };
    let mut ca = None;
    if let Some(reference) = &key.ca_secret {
        match read(reference).await? {
            Ok(source) => ca = Some(source),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    let auth = match key.auth.choice() {
        Some(VaultAuthChoice::Kubernetes(_)) => None,
        Some(VaultAuthChoice::AppRole(role)) => match read(&role.secret_id).await? {
            Ok(secret_id) => Some(Auth::AppRole {
                mount: role.mount.clone(),
                role_id: role.role_id.clone(),
                secret_id,
            }),
            Err(refused) => return Ok(Err(refused)),
        },
        Some(VaultAuthChoice::Token(reference)) => match read(reference).await? {
            Ok(token) => Some(Auth::Token(token)),
            Err(refused) => return Ok(Err(refused)),
        },
        // The planner says what is wrong with the spec.
        None => return Ok(Err(MasterKeyProof::NotAsked)),
    };
    let what = format!("{:?}", (objects.namespace(), key, versions));
    if let Some(kms) = context.clients.get(&what) {
        let wrapped = None;
        return Ok(Ok(Subject { what, kms, wrapped }));
    }
    let auth = match (auth, &key.auth.kubernetes) {
        (Some(auth), _) => auth,
        (None, None) => return Ok(Err(MasterKeyProof::NotAsked)),
        (None, Some(kubernetes)) => match token(context, kubernetes).await? {
            Ok(auth) => auth,
            Err(refused) => return Ok(Err(refused)),
        },
    };
    let kms: Arc<dyn Kms> = Arc::new(vault::VaultTransit::new(Settings {
        address: key.address.clone(),
        ca,
        namespace: key.namespace.clone(),
        mount: key.mount.clone(),
        key: key.key.clone(),
        auth,
    }));
    context.clients.keep(&what, &kms);
    let wrapped = None;
    Ok(Ok(Subject { what, kms, wrapped }))
}

/// A token of the operator's own account for Vault's audience.
async fn token(
    context: &Context,
    kubernetes: &VaultKubernetes,
) -> Result<Result<Auth, MasterKeyProof>, Error> {
    let Some(account) = &context.account else {
        return Ok(Err(MasterKeyProof::Refused {
            class: MasterKeyClass::Denied,
            message: "the operator does not know its own service account, so it can not log in to Vault by it".to_owned(),
            remedy: "Start the operator with --service-account (POD_SERVICE_ACCOUNT), as the chart does, or use auth.appRole.".to_owned(),
        }));
    };
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &account.namespace);
    let wanted = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![kubernetes.audience.clone()],
            expiration_seconds: Some(TOKEN_SECONDS),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let doing = format!(
        "asking for a token of service account {}/{}",
        account.namespace, account.name
    );
    let made = api
        .create_token_request(&account.name, &PostParams::default(), &wanted)
        .await
        .map_err(Error::kube(doing))?;
    let token = made.status.map(|status| status.token).unwrap_or_default();
    let role = kubernetes
        .operator_role
        .as_ref()
        .unwrap_or(&kubernetes.role);
    Ok(Ok(Auth::Kubernetes {
        mount: kubernetes.mount.clone(),
        role: role.clone(),
        token: Source::Given(SecretBytes::new(token.into_bytes())),
    }))
}
