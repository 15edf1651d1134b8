//! Vault, as the operator reaches it: by its own service account, or by what a resource names.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use super::error::Error;
use super::missing::Missing;
use super::named::content;
use super::objects::Objects;
use super::reconcile::Context;
use crate::api::v1alpha1::{SecretKeyRef, VaultAuth, VaultAuthChoice, VaultKubernetes};
use crate::crypto::secret::SecretBytes;
use crate::kms::vault::{Auth, Source};

/// Life of the operator's token, in seconds: the shortest that Kubernetes allows.
const TOKEN_SECONDS: i64 = 600;

/// The operator's own service account: whom it logs in to Vault as. It can not log in as the pods' without a right by
/// which it could become anybody in their namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What of Secrets a connection needs.
pub(super) struct Means {
    /// Certificates that are trusted.
    pub ca: Option<Source>,
    /// What shows who asks; `None` for the operator's own account, whose token is asked for when it is used.
    auth: Option<Auth>,
    /// Versions of the Secrets.
    pub versions: Vec<Option<String>>,
}

/// Reads what is named.
pub(super) async fn means(
    objects: &Objects,
    ca_secret: Option<&SecretKeyRef>,
    auth: &VaultAuth,
) -> Result<Result<Means, Missing>, Error> {
    let mut versions = Vec::new();
    let mut read = async |reference: &SecretKeyRef| -> Result<Result<Source, Missing>, Error> {
        let found = content(objects, reference).await?;
        Ok(found.map(|(bytes, version)| {
            versions.push(version);
            Source::Given(bytes)
        }))
    };
    let mut ca = None;
    if let Some(reference) = ca_secret {
        match read(reference).await? {
            Ok(source) => ca = Some(source),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    let auth = match auth.choice() {
        Some(VaultAuthChoice::Kubernetes(_)) => None,
        Some(VaultAuthChoice::AppRole(role)) => match read(&role.secret_id).await? {
            Ok(secret_id) => Some(Auth::AppRole {
                mount: role.mount.clone(),
                role_id: role.role_id.clone(),
                secret_id,
            }),
            Err(missing) => return Ok(Err(missing)),
        },
        Some(VaultAuthChoice::Token(reference)) => match read(reference).await? {
            Ok(token) => Some(Auth::Token(token)),
            Err(missing) => return Ok(Err(missing)),
        },
        None => return Ok(Err(Missing::Login)),
    };
    Ok(Ok(Means { ca, auth, versions }))
}

impl Means {
    /// Who asks.
    pub async fn auth(
        &mut self,
        context: &Context,
        auth: &VaultAuth,
    ) -> Result<Result<Auth, Missing>, Error> {
        match (self.auth.take(), &auth.kubernetes) {
            (Some(auth), _) => Ok(Ok(auth)),
            (None, Some(kubernetes)) => token(context, kubernetes).await,
            (None, None) => Ok(Err(Missing::Login)),
        }
    }
}

/// A token of the operator's own account for Vault's audience.
async fn token(
    context: &Context,
    kubernetes: &VaultKubernetes,
) -> Result<Result<Auth, Missing>, Error> {
    let Some(account) = &context.account else {
        return Ok(Err(Missing::Account));
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
