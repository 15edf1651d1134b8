//! What is in a StatefulSet: which container, which ConfigMap, which directory, which names (facts, TLS §5).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container};

use super::desired::Blocker;
use super::drift;
use super::names::Part;
use super::objects::annotation;
use super::observed::WorkloadFacts;
use crate::api::ANNOTATION_SOURCE;
use crate::api::v1alpha1::StatefulSetRef;
use crate::tikv::tikv_toml;

/// What was found.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    /// The StatefulSet.
    pub stateful_set: &'a StatefulSet,
    /// Index of the container in the template.
    pub container: usize,
    /// Volume that brings the TOML.
    pub volume: String,
    /// ConfigMap that a person wrote.
    pub source: &'a ConfigMap,
    /// Key of the TOML.
    pub key: String,
    /// Path of the TOML in the container.
    pub path: String,
    /// Data directory; empty for PD.
    pub data_dir: String,
    /// Words of command and arguments.
    pub words: Vec<String>,
}

impl Layout<'_> {
    /// The TOML.
    pub fn toml(&self) -> &str {
        let data = self.source.data.as_ref();
        data.and_then(|data| data.get(&self.key))
            .map_or("", String::as_str)
    }

    /// Name of the ConfigMap that a person wrote.
    pub fn source_name(&self) -> &str {
        self.source.metadata.name.as_deref().unwrap_or_default()
    }

    /// The headless Service.
    pub fn service(&self) -> &str {
        let spec = self.stateful_set.spec.as_ref();
        spec.and_then(|spec| spec.service_name.as_deref())
            .unwrap_or_default()
    }
}

/// The workloads whose templates are this operator's to change.
#[derive(Clone, Debug)]
pub struct Layouts<'a> {
    /// TiKV.
    pub tikv: Layout<'a>,
    /// PD.
    pub pd: Layout<'a>,
    /// TiDB, where it is named and there.
    pub tidb: Option<Layout<'a>>,
}

/// Looks.
pub fn detect<'a>(
    part: Part,
    wanted: &StatefulSetRef,
    facts: &'a WorkloadFacts,
) -> Result<Layout<'a>, Blocker> {
    let title = format!("StatefulSet {}", wanted.name);
    let stateful_set = facts.stateful_set.as_ref().ok_or_else(|| {
        Blocker::new(
            "TargetNotFound",
            format!("{title} does not exist"),
            format!(
                "Create it, or correct cluster.{}.statefulSet.name.",
                part.name()
            ),
        )
    })?;
    not_of_tidb_operator(stateful_set, &title)?;
    let pod = stateful_set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let container = find_container(part, wanted, containers, &title)?;
    let words = words(&containers[container]);
    if part != Part::Tidb && words.iter().any(|word| word.contains("tiflash")) {
        return Err(Blocker::new(
            "NotTikv",
            format!("{title} runs TiFlash, whose files this program does not know"),
            "Name the StatefulSet of TiKV.",
        ));
    }
    let (volume, mounted, path, key) =
        find_config(part, wanted, facts, stateful_set, container, &words, &title)?;
    let source = resolve(facts, &mounted, wanted);
    let source = source.ok_or_else(|| {
        Blocker::new(
            "ConfigMapNotFound",
            format!("ConfigMap {mounted}, which {title} mounts, does not exist"),
            "Create it with its TOML in it.",
        )
    })?;
    let mut layout = Layout {
        stateful_set,
        container,
        volume,
        source,
        key,
        path,
        data_dir: String::new(),
        words,
    };
    let there = layout
        .source
        .data
        .as_ref()
        .is_some_and(|data| data.contains_key(&layout.key));
    if !there {
        return Err(Blocker::new(
            "ConfigMapWithoutToml",
            format!(
                "ConfigMap {} has no key {}",
                layout.source_name(),
                layout.key
            ),
            format!(
                "Put the TOML there, or name the key in cluster.{}.statefulSet.configMap.key.",
                part.name()
            ),
        ));
    }
    let storage =
        tikv_toml::text_at(layout.toml(), &["storage", "data-dir"]).map_err(|problem| {
            Blocker::new(
                "ConfigMapUnreadable",
                format!(
                    "ConfigMap {}, key {}: {problem}",
                    layout.source_name(),
                    layout.key
                ),
                "Correct it; nothing was changed.",
            )
        })?;
    if part == Part::Tikv {
        let flag = option(&layout.words, &["--data-dir", "--store", "-s"]);
        let found = wanted.data_dir.clone().or(flag).or(storage);
        layout.data_dir = found
            .filter(|dir| dir.starts_with('/') && !dir.contains('$'))
            .ok_or_else(|| {
                Blocker::new(
                    "DataDirUnknown",
                    format!(
                        "the data directory of {title} can not be found in its flags or its TOML"
                    ),
                    "Write it in cluster.tikv.statefulSet.dataDir.",
                )
            })?;
    }
    Ok(layout)
}

/// tidb-operator writes its StatefulSets anew whenever they differ from its own resource.
fn not_of_tidb_operator(stateful_set: &StatefulSet, title: &str) -> Result<(), Blocker> {
    let owners = stateful_set.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.api_version.starts_with("pingcap.com/"));
    owners.next().map_or(Ok(()), |owner| {
        Err(Blocker::new(
            "ManagedByTidbOperator",
            format!(
                "{title} belongs to {} {} of tidb-operator, which would take every change of it back",
                owner.kind, owner.name
            ),
            "Clusters of tidb-operator are not supported. Certificates with the names that it needs: tikv-security certificate issue --tidb-cluster.",
        ))
    })
}

fn find_container(
    part: Part,
    wanted: &StatefulSetRef,
    containers: &[Container],
    title: &str,
) -> Result<usize, Blocker> {
    let server = format!("{}-server", part.name());
    let found = match &wanted.container {
        Some(name) => containers.iter().position(|c| &c.name == name),
        None if containers.len() == 1 => Some(0),
        None => containers
            .iter()
            .position(|c| c.name == part.name())
            .or_else(|| {
                containers
                    .iter()
                    .position(|c| words(c).iter().any(|w| w.ends_with(&server)))
            }),
    };
    found.ok_or_else(|| {
        Blocker::new(
            "ContainerNotFound",
            format!(
                "{title} has no container that is {}",
                wanted.container.as_deref().unwrap_or(part.name())
            ),
            format!(
                "Write its name in cluster.{}.statefulSet.container.",
                part.name()
            ),
        )
    })
}

type Found = (String, String, String, String);

fn find_config(
    part: Part,
    wanted: &StatefulSetRef,
    facts: &WorkloadFacts,
    stateful_set: &StatefulSet,
    container: usize,
    words: &[String],
    title: &str,
) -> Result<Found, Blocker> {
    let pod = stateful_set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod
        .and_then(|pod| pod.volumes.as_deref())
        .unwrap_or_default();
    let mounts = pod
        .and_then(|pod| pod.containers[container].volume_mounts.as_deref())
        .unwrap_or_default();
    let flag = option(words, &["--config", "-config", "-C"]);
    let mut candidates = Vec::new();
    for mount in mounts {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let Some(source) = volume.and_then(|volume| volume.config_map.as_ref()) else {
            continue;
        };
        let named = wanted.config_map.as_ref();
        let base = source_of(facts, &source.name);
        if named.is_some_and(|named| named.name != base && named.name != source.name) {
            continue;
        }
        let data = resolve(facts, &source.name, wanted).and_then(|map| map.data.as_ref());
        let keys: Vec<&String> = data.map(|data| data.keys().collect()).unwrap_or_default();
        let items = source.items.as_deref().unwrap_or_default();
        let file_of = |key: &str| {
            if let Some(sub) = &mount.sub_path {
                return (sub == key).then(|| mount.mount_path.clone());
            }
            let name = if items.is_empty() {
                Some(key)
            } else {
                items
                    .iter()
                    .find(|item| item.key == key)
                    .map(|item| item.path.as_str())
            };
            name.map(|name| format!("{}/{name}", mount.mount_path.trim_end_matches('/')))
        };
        let by_flag = keys
            .iter()
            .find(|key| flag.is_some() && file_of(key) == flag)
            .map(|key| (*key).clone());
        let mut toml = keys.iter().filter(|key| key.ends_with(".toml"));
        let only = match (toml.next(), toml.next()) {
            (Some(key), None) => Some((*key).clone()),
            _ => None,
        };
        let key = named
            .and_then(|named| named.key.clone())
            .or(by_flag.clone())
            .or(only.filter(|_| flag.is_none() || named.is_some()));
        let Some(key) = key else {
            if named.is_some() {
                return Err(without_toml(part, title, &source.name));
            }
            continue;
        };
        let path = flag.clone().or_else(|| file_of(&key)).unwrap_or_default();
        candidates.push((
            volume.map(|v| v.name.clone()).unwrap_or_default(),
            source.name.clone(),
            path,
            key,
            by_flag.is_some(),
        ));
    }
    candidates.sort_by_key(|candidate| !candidate.4);
    match candidates.into_iter().next() {
        Some((volume, map, path, key, _)) => Ok((volume, map, path, key)),
        None => Err(without_toml(
            part,
            title,
            wanted
                .config_map
                .as_ref()
                .map_or("of its mounts", |map| &map.name),
        )),
    }
}

fn without_toml(part: Part, title: &str, map: &str) -> Blocker {
    Blocker::new(
        "ConfigMapWithoutToml",
        format!("no TOML of {title} was found in a ConfigMap {map} that the container mounts"),
        format!(
            "Mount a ConfigMap with it and pass --config, or name it in cluster.{}.statefulSet.configMap.",
            part.name()
        ),
    )
}

/// The ConfigMap that a person wrote, whichever is mounted.
fn resolve<'a>(
    facts: &'a WorkloadFacts,
    mounted: &str,
    wanted: &StatefulSetRef,
) -> Option<&'a ConfigMap> {
    let named = wanted
        .config_map
        .as_ref()
        .and_then(|map| facts.config_maps.get(&map.name));
    named.or_else(|| facts.config_maps.get(&source_of(facts, mounted)))
}

fn source_of(facts: &WorkloadFacts, mounted: &str) -> String {
    // The derived one was deleted: the StatefulSet remembers what it was made of.
    let set = facts.stateful_set.as_ref().filter(|_| {
        !facts.config_maps.contains_key(mounted) && drift::given(facts).as_deref() == Some(mounted)
    });
    if let Some(source) = set.and_then(|set| annotation(&set.metadata, ANNOTATION_SOURCE)) {
        return source.to_owned();
    }
    let annotations = facts
        .config_maps
        .get(mounted)
        .and_then(|map| map.metadata.annotations.as_ref());
    annotations
        .and_then(|all| all.get(ANNOTATION_SOURCE))
        .cloned()
        .unwrap_or_else(|| mounted.to_owned())
}

/// Words of command and arguments; a shell's script is taken apart like a command line.
pub fn words(container: &Container) -> Vec<String> {
    let command = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten());
    command
        .flat_map(|text| text.split_whitespace())
        .map(|word| word.trim_matches(['"', '\'', '\\', ';']).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Value of the last of these flags, `--flag value` or `--flag=value`.
pub fn option(words: &[String], flags: &[&str]) -> Option<String> {
    let mut found = None;
    for (index, word) in words.iter().enumerate() {
        for flag in flags {
            if word == flag {
                found = words.get(index + 1).cloned();
            } else if let Some(value) = word
                .strip_prefix(flag)
                .and_then(|rest| rest.strip_prefix('='))
            {
                found = Some(value.trim_matches(['"', '\'']).to_owned());
            }
        }
    }
    found
}

/// Hosts in a comma list of URLs or `host:port`. A leading variable label becomes a wildcard.
pub fn hosts(list: &str) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for entry in list.split(',') {
        let url = entry.rsplit("://").next().unwrap_or_default();
        let host = url.split(['/', ':']).next().unwrap_or_default().trim();
        let Some((first, rest)) = host.split_once('.').or(Some(("", host))) else {
            continue;
        };
        if first.contains('$') && !rest.contains('$') {
            hosts.insert(rest.to_owned());
            hosts.insert(format!("*.{rest}"));
        } else if !host.contains('$')
            && super::desired::is_dns(host)
            && host.parse::<std::net::IpAddr>().is_err()
        {
            hosts.insert(host.to_owned());
        }
    }
    hosts
}
