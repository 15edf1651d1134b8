//! Policies of the cluster, and the labels of the namespace by which they hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::Error;
use crate::api::v1alpha1::TikvSecurityPolicy;

/// All policies, and the labels of `namespace`. One that can not be read is an error: what it demands is not known.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
) -> Result<(Vec<TikvSecurityPolicy>, BTreeMap<String, String>), Error> {
    let policies = match Api::all(client.clone()).list(&ListParams::default()).await {
        Ok(list) => list.items,
        // The definition was not installed yet: so there is none.
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(Error::kube("listing TikvSecurityPolicy")(error)),
    };
    if policies.is_empty() {
        return Ok((policies, BTreeMap::new()));
    }
    let found = Api::<Namespace>::all(client.clone()).get(namespace).await;
    let found = found.map_err(Error::kube(format!("reading Namespace {namespace}")))?;
    Ok((policies, found.labels().clone()))
}
