//! A master key that Vault wraps, as the operator reaches it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Subject, missing};
use crate::api::v1alpha1::VaultTransit;
use crate::kms::Kms;
use crate::kms::vault::{self, Settings};
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::operator::reconcile::Context;
use crate::operator::vault::means;
use crate::plan::observed::MasterKeyProof;

/// A client is used for so long: half of the life of the operator's token, so that it can log in again.
const CLIENT: Duration = Duration::from_mins(5);

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
    let mut means = match means(objects, key.ca_secret.as_ref(), &key.auth).await? {
        Ok(means) => means,
        Err(what) => return Ok(Err(missing(&what))),
    };
    let what = format!("{:?}", (objects.namespace(), key, &means.versions));
    if let Some(kms) = context.clients.get(&what) {
        let wrapped = None;
        return Ok(Ok(Subject { what, kms, wrapped }));
    }
    let auth = match means.auth(context, &key.auth).await? {
        Ok(auth) => auth,
        Err(what) => return Ok(Err(missing(&what))),
    };
    let kms: Arc<dyn Kms> = Arc::new(vault::VaultTransit::new(Settings {
        address: key.address.clone(),
        ca: means.ca,
        namespace: key.namespace.clone(),
        mount: key.mount.clone(),
        key: key.key.clone(),
        auth,
    }));
    context.clients.keep(&what, &kms);
    let wrapped = None;
    Ok(Ok(Subject { what, kms, wrapped }))
}
