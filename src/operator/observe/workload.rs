//! A StatefulSet, its pods, and the ConfigMaps around them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodSpec};
use kube::ResourceExt as _;

use crate::api::v1alpha1::{Cluster, NamedSet, StatefulSetRef};
use crate::api::{ANNOTATION_SOURCE, LABEL_NAME};
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::plan::observed::WorkloadFacts;

/// The workloads of a cluster.
pub(super) struct Workloads {
    /// TiKV.
    pub tikv: WorkloadFacts,
    /// PD.
    pub pd: WorkloadFacts,
    /// TiDB.
    pub tidb: WorkloadFacts,
    /// TiFlash.
    pub tiflash: WorkloadFacts,
    /// TiCDC.
    pub ticdc: WorkloadFacts,
}

/// Reads them; of those that are not named there is nothing.
pub(super) async fn all(objects: &Objects, cluster: &Cluster) -> Result<Workloads, Error> {
    let tidb = match &cluster.tidb {
        Some(tidb) => read(objects, &tidb.stateful_set).await?,
        None => WorkloadFacts::default(),
    };
    let [tiflash, ticdc] = [&cluster.tiflash, &cluster.ticdc]
        .map(|other| other.as_ref().map(|other| &other.stateful_set));
    Ok(Workloads {
        tikv: read(objects, &cluster.tikv.stateful_set).await?,
        pd: read(objects, &cluster.pd.stateful_set).await?,
        tidb,
        tiflash: look(objects, tiflash).await?,
        ticdc: look(objects, ticdc).await?,
    })
}

/// Reads all that belongs to a workload. A StatefulSet that does not exist is a fact, not an error.
async fn read(objects: &Objects, reference: &StatefulSetRef) -> Result<WorkloadFacts, Error> {
    let stateful_set: Option<StatefulSet> = objects.get(&reference.name).await?;
    let Some(set) = &stateful_set else {
        return Ok(WorkloadFacts::default());
    };
    let pods = pods(objects, set).await?;
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut wanted: BTreeSet<String> = template.into_iter().flat_map(config_maps).collect();
    wanted.extend(
        pods.iter()
            .filter_map(|pod| pod.spec.as_ref())
            .flat_map(config_maps),
    );
    // What was derived from it may have been deleted.
    wanted.extend(set.annotations().get(ANNOTATION_SOURCE).cloned());
    wanted.extend(reference.config_map.iter().map(|map| map.name.clone()));
    Ok(WorkloadFacts {
        config_maps: with_sources(objects, wanted).await?,
        claims: claims(objects, set).await?,
        pods,
        stateful_set,
    })
}

/// A workload of others: the StatefulSet and its pods.
async fn look(objects: &Objects, named: Option<&NamedSet>) -> Result<WorkloadFacts, Error> {
    let Some(named) = named else {
        return Ok(WorkloadFacts::default());
    };
    let stateful_set: Option<StatefulSet> = objects.get(&named.name).await?;
    let Some(set) = &stateful_set else {
        return Ok(WorkloadFacts::default());
    };
    Ok(WorkloadFacts {
        pods: pods(objects, set).await?,
        stateful_set,
        ..WorkloadFacts::default()
    })
}

/// The pods that the StatefulSet controls, by name.
async fn pods(objects: &Objects, set: &StatefulSet) -> Result<Vec<Pod>, Error> {
    let labels = set
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.match_labels.as_ref());
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut pods: Vec<Pod> = objects.list(&selector.join(",")).await?;
    let uid = set.uid();
    pods.retain(|pod| {
        let mut owners = pod.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
    });
    pods.sort_by_key(kube::ResourceExt::name_any);
    Ok(pods)
}

/// ConfigMaps by name with the ones that they were derived from, and what else we derived from those.
async fn with_sources(
    objects: &Objects,
    wanted: BTreeSet<String>,
) -> Result<BTreeMap<String, ConfigMap>, Error> {
    let mut found = BTreeMap::new();
    let mut next: Vec<String> = wanted.into_iter().collect();
    while let Some(name) = next.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(map) = objects.get::<ConfigMap>(&name).await? {
            next.extend(map.annotations().get(ANNOTATION_SOURCE).cloned());
            found.insert(name, map);
        }
    }
    let ours = format!("{LABEL_NAME}={}", objects.owner());
    for map in objects.list::<ConfigMap>(&ours).await? {
        let source = map.annotations().get(ANNOTATION_SOURCE);
        if source.is_some_and(|source| found.contains_key(source)) {
            found.insert(map.name_any(), map);
        }
    }
    Ok(found)
}

/// Claims of the claim templates, there or left from earlier pods.
async fn claims(objects: &Objects, set: &StatefulSet) -> Result<usize, Error> {
    let templates = set
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_claim_templates.as_ref());
    let prefixes: Vec<String> = templates
        .into_iter()
        .flatten()
        .map(|template| format!("{}-{}-", template.name_any(), set.name_any()))
        .collect();
    if prefixes.is_empty() {
        return Ok(0);
    }
    let all = objects.list_metadata::<PersistentVolumeClaim>().await?;
    let ours = all.iter().filter(|claim| {
        let name = claim.name_any();
        let ordinals = prefixes
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix.as_str()));
        ordinals
            .into_iter()
            .any(|ordinal| ordinal.parse::<u32>().is_ok())
    });
    Ok(ours.count())
}

/// Names of the ConfigMaps that a pod mounts.
fn config_maps(spec: &PodSpec) -> Vec<String> {
    let mut names = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        names.extend(volume.config_map.as_ref().map(|map| map.name.clone()));
        let sources = volume
            .projected
            .as_ref()
            .and_then(|all| all.sources.as_ref());
        for source in sources.into_iter().flatten() {
            names.extend(source.config_map.as_ref().map(|map| map.name.clone()));
        }
    }
    names
}
