//! The place of a copy, with what of Secrets is needed to get there.

use std::sync::Arc;

use super::unusable;
use crate::api::v1alpha1::{AwsSecretsManager, Export, TargetChoice, VaultKv};
use crate::export::{ExportError, KvEngine, SecretsManager, Target};
use crate::kms::vault::{Connection, VaultClient};
use crate::operator::error::Error;
use crate::operator::missing::Missing;
use crate::operator::named::aws_credentials;
use crate::operator::objects::Objects;
use crate::operator::reconcile::Context;
use crate::operator::vault::means;

type Reached = Result<Arc<dyn Target>, ExportError>;

pub(super) async fn reach(
    context: &Context,
    objects: &Objects,
    place: &str,
    to: &Export,
) -> Result<Reached, Error> {
    let reached = match to.choice() {
        None => Err(Missing::Login),
        Some(TargetChoice::Vault(to)) => vault(context, objects, place, to).await?,
        Some(TargetChoice::AwsSecretsManager(to)) => aws(objects, place, to).await?,
    };
    Ok(reached.map_err(|missing| unusable(place, missing.message("the export"), missing.remedy())))
}

async fn vault(
    context: &Context,
    objects: &Objects,
    place: &str,
    to: &VaultKv,
) -> Result<Result<Arc<dyn Target>, Missing>, Error> {
    let mut means = match means(objects, to.ca_secret.as_ref(), &to.auth).await? {
        Ok(means) => means,
        Err(missing) => return Ok(Err(missing)),
    };
    let what = (
        objects.namespace(),
        &to.address,
        &to.namespace,
        &to.ca_secret,
        &to.auth,
        &means.versions,
    );
    let what = format!("{what:?}");
    let client = match context.exports.client(&what) {
        Some(client) => client,
        None => {
            let auth = match means.auth(context, &to.auth).await? {
                Ok(auth) => auth,
                Err(missing) => return Ok(Err(missing)),
            };
            let client = Arc::new(VaultClient::new(Connection {
                address: to.address.clone(),
                ca: means.ca,
                namespace: to.namespace.clone(),
                auth,
            }));
            context.exports.keep_client(what, client.clone());
            client
        }
    };
    let engine = KvEngine::new(place, client, &to.mount, &to.path);
    Ok(Ok(Arc::new(engine)))
}

async fn aws(
    objects: &Objects,
    place: &str,
    to: &AwsSecretsManager,
) -> Result<Result<Arc<dyn Target>, Missing>, Error> {
    let mut own = None;
    if let Some(reference) = &to.credentials_secret {
        match aws_credentials(objects, reference).await? {
            Ok((found, _)) => own = Some(found),
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(Arc::new(SecretsManager {
        place: place.to_owned(),
        secret: to.name.clone(),
        region: to.region.clone(),
        kms_key_id: to.kms_key_id.clone(),
        endpoint: to.endpoint.clone(),
        credentials: own,
    })))
}
