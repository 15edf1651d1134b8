//! Stores that run and could not start again, because their agents can not open their keys from where they are.

use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};

use crate::api::ANNOTATION_SOURCE;
use crate::api::v1alpha1::MasterKeyChoice;
use crate::plan::observed::Observed;
use crate::plan::pods::PodView;
use crate::plan::wrapped;
use crate::tikv::encryption_config::{self, MasterKeyConfig};

/// Why a restart of this store would be its end for now; `None` when nothing is known to stand against it.
///
/// TiKV asks for the master key at its start only (facts, encryption at rest §2.5). What the agent says counts for the pod
/// that comes back only as far as that would ask for the same key in the same way.
pub(super) fn cut_off(observed: &Observed, pod: &PodView<'_>) -> Option<String> {
    let report = pod.report.filter(|report| report.gate_open)?;
    let error = report.master_key.as_ref()?.error.as_ref()?;
    if error.code == "MasterKeyDenied" && comes_with_new_credentials(observed) {
        return None;
    }
    if asks_otherwise(observed, pod.name) {
        return None;
    }
    Some(format!(
        "{} to open its keys: it runs, but could not start again ({})",
        pod.name, error.message
    ))
}

/// True when a container that starts gets its credentials anew from a Secret, which the operator has tried.
fn comes_with_new_credentials(observed: &Observed) -> bool {
    let encryption = observed.resource.spec.encryption.as_ref();
    match encryption.and_then(|encryption| encryption.master_key.choice()) {
        Some(MasterKeyChoice::AwsKms(key)) => key.credentials_secret.is_some(),
        // An agent tries a PIN that was refused no second time, and would not learn that the token takes it now.
        Some(MasterKeyChoice::Pkcs11(_)) => true,
        _ => false,
    }
}

/// True when the template names another master key, or another way to it, than the pod does.
fn asks_otherwise(observed: &Observed, pod: &str) -> bool {
    let facts = &observed.tikv;
    let pod = facts
        .pods
        .iter()
        .find(|one| one.metadata.name.as_deref() == Some(pod));
    let template = facts.stateful_set.as_ref().and_then(|set| {
        let spec = set.spec.as_ref()?;
        spec.template.spec.as_ref()
    });
    let key = |spec: Option<&PodSpec>| master_key(observed, spec?);
    let here = key(pod.and_then(|pod| pod.spec.as_ref()));
    let there = key(template);
    here.is_some() && there.is_some() && here != there
}

/// The master key of the configuration that a pod mounts, in words without secrets.
fn master_key(observed: &Observed, spec: &PodSpec) -> Option<String> {
    let derived = |map: &&ConfigMap| {
        let notes = map.metadata.annotations.as_ref();
        notes.is_some_and(|notes| notes.contains_key(ANNOTATION_SOURCE))
    };
    let mounted = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.config_map.as_ref());
    let map = mounted
        .filter_map(|source| observed.tikv.config_maps.get(&source.name))
        .find(derived)?;
    let texts = map.data.as_ref()?.iter();
    let toml = texts.filter(|(key, _)| key.ends_with(".toml"));
    let mut keys = toml.filter_map(|(_, text)| encryption_config::parse(text).ok());
    let key = keys.next()?.master_key;
    let way = match &key {
        MasterKeyConfig::File { path } => wrapped::way(spec, path),
        _ => None,
    };
    Some(format!("{key:?} {way:?}"))
}
