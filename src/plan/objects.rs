//! Objects made for a `TikvSecurity`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use sha2::{Digest, Sha256};

use super::detect::Layout;
use super::observed::Observed;
use crate::api::{ANNOTATION_SOURCE, LABEL_MANAGED_BY, LABEL_NAME, LABEL_PART, MANAGER};

/// Metadata of an object of ours that outlives the resource: a cluster must not lose what its pods mount because an
/// object was deleted. An owner reference that is taken off in time would do as well, but not everywhere may who can not
/// delete an object change its owners.
pub fn metadata(
    observed: &Observed,
    name: &str,
    part: &str,
    annotations: &[(&str, String)],
) -> ObjectMeta {
    let labels = [
        (LABEL_MANAGED_BY, MANAGER),
        (LABEL_NAME, observed.name()),
        (LABEL_PART, part),
    ];
    let notes: BTreeMap<String, String> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(observed.namespace().to_owned()),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        annotations: (!notes.is_empty()).then_some(notes),
        ..ObjectMeta::default()
    }
}

/// As `metadata`, of an object that goes with the resource.
pub fn owned(observed: &Observed, name: &str, part: &str) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![owner(observed)]),
        ..metadata(observed, name, part, &[])
    }
}

/// True when the object was made for this `TikvSecurity`.
pub fn is_ours(observed: &Observed, metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|all| all.get(key)).map(String::as_str);
    let uid = observed
        .resource
        .metadata
        .uid
        .as_deref()
        .unwrap_or_default();
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let foreign = owners
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid != uid);
    label(LABEL_MANAGED_BY) == Some(MANAGER)
        && label(LABEL_NAME) == Some(observed.name())
        && !foreign
}

/// An annotation.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(key))
        .map(String::as_str)
}

/// What the name of a derived ConfigMap with this content ends with.
pub fn fingerprint(data: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (key, text) in data {
        hash.update(key.as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let mut short = String::new();
    for byte in hash.finalize().iter().take(4) {
        let _ = write!(short, "{byte:02x}");
    }
    short
}

/// A copy of the ConfigMap that a person wrote, with changed content, under a name that says so.
pub fn derived(
    observed: &Observed,
    layout: &Layout<'_>,
    data: BTreeMap<String, String>,
) -> ConfigMap {
    let short = fingerprint(&data);
    let source = layout.source_name();
    // The whole must fit into the 253 characters of a name.
    let stem: String = source.chars().take(200).collect();
    let name = format!("{stem}-{}-{short}", observed.name());
    ConfigMap {
        metadata: metadata(
            observed,
            &name,
            "config",
            &[(ANNOTATION_SOURCE, source.to_owned())],
        ),
        data: Some(data),
        binary_data: layout.source.binary_data.clone(),
        immutable: Some(true),
    }
}

fn owner(observed: &Observed) -> OwnerReference {
    OwnerReference {
        api_version: crate::api::v1alpha1::TikvSecurity::api_version(&()).into_owned(),
        kind: crate::api::v1alpha1::TikvSecurity::kind(&()).into_owned(),
        name: observed.name().to_owned(),
        uid: observed.resource.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
