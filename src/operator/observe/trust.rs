//! What other namespaces have of the CA's certificates.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};

use super::secrets::CA;
use crate::api::v1alpha1::TikvSecurity;
use crate::operator::error::Error;
use crate::operator::reconcile::Context;
use crate::plan::names::bundle_config;
use crate::plan::trust::{Bundle, labels};
use crate::tls::parse::parse_all;

/// Which namespaces were chosen when it was last seen that no other has one. Only to ask less; nothing is lost with it.
#[derive(Debug, Default)]
pub(in crate::operator) struct Distributed(Mutex<HashMap<(String, String), BTreeSet<String>>>);

impl Distributed {
    fn is(&self, key: &(String, String), chosen: &BTreeSet<String>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key) == Some(chosen)
    }

    fn note(&self, key: (String, String), chosen: BTreeSet<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, chosen);
    }
}

/// Looks into the namespaces that are chosen, and after a change of that choice, or a start, for others.
pub(super) async fn read(
    context: &Context,
    resource: &TikvSecurity,
) -> Result<BTreeMap<String, Bundle>, Error> {
    let tls = resource.spec.tls.as_ref();
    let trust = tls.and_then(|tls| tls.trust.as_ref());
    let chosen = trust.map(|trust| trust.namespaces.iter().cloned().collect());
    let chosen: BTreeSet<String> = chosen.unwrap_or_default();
    let key = (
        resource.namespace().unwrap_or_default(),
        resource.name_any(),
    );
    let mut bundles = BTreeMap::new();
    for namespace in &chosen {
        bundles.insert(namespace.clone(), look(context, &key, namespace).await);
    }
    if context.distributed.is(&key, &chosen) {
        return Ok(bundles);
    }
    let mut others = false;
    for scope in context.client_scopes() {
        for found in ours(context, &key, scope.as_deref()).await? {
            let namespace = found.namespace().unwrap_or_default();
            if !chosen.contains(&namespace) {
                others = true;
                let uid = found.uid().unwrap_or_default();
                let trusts = Vec::new();
                bundles.insert(namespace, Bundle::Ours { uid, trusts });
            }
        }
    }
    if !others {
        context.distributed.note(key, chosen);
    }
    Ok(bundles)
}

async fn ours(
    context: &Context,
    (namespace, name): &(String, String),
    scope: Option<&str>,
) -> Result<Vec<PartialObjectMeta<ConfigMap>>, Error> {
    let api: Api<ConfigMap> = scope.map_or_else(
        || Api::all(context.client.clone()),
        |scope| Api::namespaced(context.client.clone(), scope),
    );
    let selector: Vec<String> = labels(name, namespace)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let params = ListParams::default().labels(&selector.join(","));
    let list = api.list_metadata(&params).await;
    list.map(|list| list.items)
        .map_err(Error::kube("listing ConfigMaps with CA certificates"))
}

/// A failure is told of that namespace, and stops nothing.
async fn look(context: &Context, of: &(String, String), namespace: &str) -> Bundle {
    let unknown = |what: &str, error: &kube::Error| Bundle::Unknown(format!("{what}: {error}"));
    let (client, name) = (context.client.clone(), bundle_config(&of.1));
    if !context.reaches(namespace) {
        let text = "this operator does not look after this namespace; add it to clientNamespaces of the chart";
        return Bundle::Unknown(text.to_owned());
    }
    match Api::<Namespace>::all(client.clone())
        .get_opt(namespace)
        .await
    {
        Ok(Some(found)) if found.metadata.deletion_timestamp.is_none() => {}
        Ok(_) => return Bundle::Unknown("there is no such namespace".to_owned()),
        Err(error) => return unknown("the namespace can not be read", &error),
    }
    let found = match Api::<ConfigMap>::namespaced(client, namespace)
        .get_opt(&name)
        .await
    {
        Ok(None) => return Bundle::Absent,
        Ok(Some(found)) => found,
        Err(error) => return unknown("the ConfigMap can not be read", &error),
    };
    let has = found.labels();
    if !labels(&of.1, &of.0)
        .iter()
        .all(|(key, value)| has.get(key) == Some(value))
    {
        return Bundle::Foreign;
    }
    let text = found.data.as_ref().and_then(|data| data.get(CA));
    let trusts = text.and_then(|text| parse_all(text.as_bytes()).ok());
    Bundle::Ours {
        uid: found.uid().unwrap_or_default(),
        trusts: trusts.unwrap_or_default(),
    }
}
