//! Which configuration the templates carry now: the agent first, TLS when the cluster can take it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::action::Action;
use super::desired::{Blocker, Desired};
use super::detect::{Layout, Layouts};
use super::drift;
use super::merge::{self, diff};
use super::names::{PD_TLS, Part, TIDB_SERVER_TLS, TIDB_TLS, TIKV_TLS};
use super::objects::{derived, is_ours};
use super::observed::{Observed, PdState, WorkloadFacts};
use super::pods;
use super::probes;
use super::rollout::illness;
use super::template::{Wanted, as_json, build, digest, has_tls};
use crate::api::v1alpha1::reason;
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_SOURCE};
use crate::tikv::tidb_toml::{self, TidbTls};
use crate::tikv::tikv_toml::{TikvChange, TlsFiles, TomlProblem};
use crate::tikv::{pd_toml, tikv_toml};

/// Where TLS stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsStep {
    /// The templates stay as they are in this.
    Off,
    /// The templates get TLS, or have it.
    On,
    /// First PD's members must be told in etcd (facts, TLS §1.5).
    PeerUrls(Vec<Action>),
    /// Not yet.
    Wait(String),
    /// Not without a person.
    Denied(Blocker),
}

/// Decides about TLS. `rolled` is true when everything else is rolled out.
pub fn tls_step(observed: &Observed, desired: &Desired, pd: &Layout<'_>, rolled: bool) -> TlsStep {
    if has_begun(observed) {
        return TlsStep::On;
    }
    if !desired.tls {
        return TlsStep::Off;
    }
    if observed.tikv.pods.is_empty() && observed.pd.pods.is_empty() {
        if observed.pd.claims > 0 {
            return TlsStep::Denied(Blocker::new(
                "StoppedCluster",
                format!(
                    "StatefulSet {} has volumes but no pods, and a stopped PD can not be told its new peer URLs",
                    pd.stateful_set.metadata.name.as_deref().unwrap_or_default()
                ),
                "Start the cluster as it was; it is converted then.",
            ));
        }
        return TlsStep::On;
    }
    let facts = match &observed.pd_state {
        PdState::Reachable(facts) => facts,
        PdState::Unreachable(why) => return TlsStep::Wait(format!("PD to answer ({why})")),
        PdState::NotAsked => return TlsStep::Wait("PD to answer".to_owned()),
    };
    if facts.initialized {
        let rollout = &observed.resource.spec.rollout;
        if !rollout.allow_downtime {
            return TlsStep::Denied(Blocker::new(
                reason::DOWNTIME_NOT_ALLOWED,
                "TLS needs one restart of the whole cluster, about half a minute without service, because a TiKV port speaks either TLS or plaintext",
                "Set rollout.allowDowntime: true when that is acceptable. Everything else goes on meanwhile.",
            ));
        }
        if rollout.paused {
            return TlsStep::Wait("rollout.paused to become false".to_owned());
        }
        if !rolled {
            return TlsStep::Wait("the agents' rollout to be complete".to_owned());
        }
        if let Some(text) = illness(facts, None) {
            return TlsStep::Wait(text);
        }
    }
    let actions: Vec<Action> = facts
        .members
        .iter()
        .filter(|member| {
            member
                .peer_urls
                .iter()
                .any(|url| url.starts_with("http://"))
        })
        .map(|member| Action::UpdatePdPeerUrls {
            name: member.name.clone(),
            member_id: member.member_id,
            urls: member
                .peer_urls
                .iter()
                .map(|url| url.replace("http://", "https://"))
                .collect(),
        })
        .collect();
    if actions.is_empty() {
        TlsStep::On
    } else {
        TlsStep::PeerUrls(actions)
    }
}

/// True when a template mounts TLS.
pub fn has_begun(observed: &Observed) -> bool {
    let sets = [&observed.tikv, &observed.pd].map(|facts| facts.stateful_set.as_ref());
    sets.into_iter()
        .flatten()
        .any(|set| has_tls(&as_json(set)["spec"]["template"]["spec"]))
}

/// ConfigMaps to apply and StatefulSets to patch.
pub fn configure(
    observed: &Observed,
    desired: &Desired,
    layouts: &Layouts<'_>,
    tls: bool,
) -> Result<Vec<Action>, Blocker> {
    let Layouts { tikv, pd, tidb } = layouts;
    let mut actions = Vec::new();
    if tls {
        let own = Part::Pd.common_name(observed.name(), observed.namespace());
        let edited =
            pd_toml::edit(pd.toml(), PD_TLS, &own).map_err(|problem| unreadable(pd, &problem))?;
        let mut data = pd.source.data.clone().unwrap_or_default();
        for text in data.values_mut().filter(|text| text.contains("pd-server")) {
            *text = text.replace("http://", "https://");
        }
        data.insert(pd.key.clone(), edited);
        reaches_urls(observed, pd)?;
        probes::refuse_plain_hooks(Part::Pd, pd)?;
        probes::refuse_plain_hooks(Part::Tikv, tikv)?;
        workload(
            observed,
            pd,
            Part::Pd,
            data,
            true,
            None,
            &observed.pd,
            &mut actions,
        );
    }
    let change = TikvChange {
        tls: tls.then(|| TlsFiles {
            directory: TIKV_TLS.to_owned(),
            allowed_names: desired.allowed_names.clone(),
        }),
        encryption: desired
            .encryption
            .as_ref()
            .map(|encryption| encryption.config.clone()),
    };
    if change != TikvChange::default() {
        let edited =
            tikv_toml::edit(tikv.toml(), &change).map_err(|problem| unreadable(tikv, &problem))?;
        let mut data = tikv.source.data.clone().unwrap_or_default();
        data.insert(tikv.key.clone(), edited);
        workload(
            observed,
            tikv,
            Part::Tikv,
            data,
            tls,
            Some(desired),
            &observed.tikv,
            &mut actions,
        );
    }
    if let Some(tidb) = tidb.as_ref().filter(|_| tls) {
        sql(observed, desired, tidb, &mut actions)?;
    }
    Ok(actions)
}

/// TiDB, not before every store admits it by its name: stores that speak TLS and were not restarted since their list became another would
/// refuse a TiDB that restarts by itself.
fn sql(
    observed: &Observed,
    desired: &Desired,
    tidb: &Layout<'_>,
    actions: &mut Vec<Action>,
) -> Result<(), Blocker> {
    probes::refuse_plain_hooks(Part::Tidb, tidb)?;
    let files = TidbTls {
        cluster: TIDB_TLS,
        server: TIDB_SERVER_TLS,
        allowed_names: &desired.allowed_names,
    };
    let edited =
        tidb_toml::edit(tidb.toml(), &files).map_err(|problem| unreadable(tidb, &problem))?;
    let stores = pods::views(observed, &observed.tikv);
    let secure = !stores.is_empty() && stores.iter().all(|pod| pod.tls);
    if secure && (!actions.is_empty() || stores.iter().any(|pod| pod.outdated)) {
        return Ok(());
    }
    let mut data = tidb.source.data.clone().unwrap_or_default();
    data.insert(tidb.key.clone(), edited);
    let facts = &observed.tidb;
    workload(observed, tidb, Part::Tidb, data, true, None, facts, actions);
    Ok(())
}

/// The whole StatefulSet as it would be, for `render`.
pub fn rendered(
    observed: &Observed,
    desired: &Desired,
    layout: &Layout<'_>,
    part: Part,
    tls: bool,
    map: &str,
) -> serde_json::Value {
    let encryption = desired.encryption.as_ref().filter(|_| part == Part::Tikv);
    let wanted = Wanted {
        resource: observed.name(),
        part,
        config_map: map,
        tls,
        encryption: encryption.map(|encryption| (encryption, observed.agent_image.as_str())),
    };
    build(layout, &wanted)
}

/// TiKV's pod template as `configure` would leave it, by its digest; `None` when nothing would be left to change.
pub fn digest_of(actions: &[Action], tikv: &Layout<'_>) -> Option<String> {
    let name = tikv.stateful_set.metadata.name.as_deref();
    let patch = actions.iter().find_map(|action| match action {
        Action::PatchStatefulSet {
            name: target,
            patch,
        } if Some(target.as_str()) == name => Some(patch),
        _ => None,
    })?;
    let mut set = as_json(tikv.stateful_set);
    merge::apply(&mut set, patch);
    serde_json::from_value(set).ok().as_ref().map(digest)
}

#[allow(clippy::too_many_arguments)]
fn workload(
    observed: &Observed,
    layout: &Layout<'_>,
    part: Part,
    data: BTreeMap<String, String>,
    tls: bool,
    desired: Option<&Desired>,
    facts: &WorkloadFacts,
    actions: &mut Vec<Action>,
) {
    let map = derived(observed, layout, data);
    let name = map.metadata.name.clone().unwrap_or_default();
    match facts.config_maps.get(&name) {
        Some(there) if there.data == map.data => {}
        // Immutable, so somebody deleted ours and made this one.
        Some(there) if is_ours(observed, &there.metadata) => {
            let uid = there.metadata.uid.clone().unwrap_or_default();
            let name = name.clone();
            actions.push(Action::DeleteConfigMap { name, uid });
            actions.push(Action::ApplyConfigMap(Box::new(map)));
        }
        _ => actions.push(Action::ApplyConfigMap(Box::new(map))),
    }
    let wanted = Wanted {
        resource: observed.name(),
        part,
        config_map: &name,
        tls,
        encryption: desired
            .and_then(|desired| desired.encryption.as_ref())
            .map(|encryption| (encryption, observed.agent_image.as_str())),
    };
    let present = as_json(layout.stateful_set);
    let mut built = build(layout, &wanted);
    built["metadata"]["annotations"][ANNOTATION_APPLIED] = json!(drift::applied(layout, &wanted));
    built["metadata"]["annotations"][ANNOTATION_SOURCE] = json!(layout.source_name());
    if let Some(mut patch) = diff(&present, &built) {
        patch["metadata"]["resourceVersion"] = json!(layout.stateful_set.metadata.resource_version);
        let target = layout
            .stateful_set
            .metadata
            .name
            .clone()
            .unwrap_or_default();
        actions.push(Action::PatchStatefulSet {
            name: target,
            patch,
        });
    }
}

/// Derived ConfigMaps that neither the template nor a pod mounts.
pub fn sweep(observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    for facts in observed.workloads() {
        let set = facts
            .stateful_set
            .as_ref()
            .and_then(|set| set.spec.as_ref());
        let template = set.and_then(|spec| spec.template.spec.as_ref());
        let specs = facts
            .pods
            .iter()
            .filter_map(|pod| pod.spec.as_ref())
            .chain(template);
        let used: Vec<&str> = specs
            .flat_map(|spec| spec.volumes.iter().flatten())
            .filter_map(|volume| volume.config_map.as_ref())
            .map(|source| source.name.as_str())
            .collect();
        let stale = |(name, map): &(&String, &ConfigMap)| {
            map.immutable == Some(true)
                && is_ours(observed, &map.metadata)
                && !used.contains(&name.as_str())
        };
        for (name, map) in facts.config_maps.iter().filter(stale) {
            let uid = map.metadata.uid.clone().unwrap_or_default();
            actions.push(Action::DeleteConfigMap {
                name: name.clone(),
                uid,
            });
        }
    }
    actions
}

fn unreadable(layout: &Layout<'_>, problem: &TomlProblem) -> Blocker {
    let reason = match problem {
        TomlProblem::OtherMasterKey(_) => "OtherMasterKey",
        _ => "ConfigMapUnreadable",
    };
    Blocker::new(
        reason,
        format!(
            "ConfigMap {}, key {}: {problem}",
            layout.source_name(),
            layout.key
        ),
        "Correct it; nothing was changed.",
    )
}

/// PD listens on what its URLs say: they must be where they can be changed (facts, TLS §1.4).
fn reaches_urls(observed: &Observed, pd: &Layout<'_>) -> Result<(), Blocker> {
    const FLAGS: [&str; 2] = ["--client-urls", "--peer-urls"];
    let in_flags = FLAGS
        .iter()
        .all(|flag| super::detect::option(&pd.words, &[flag]).is_some());
    let in_file = pd_toml::sets_urls(pd.toml()).map_err(|problem| unreadable(pd, &problem))?;
    let tells = |map: &&ConfigMap| {
        let mut texts = map.data.iter().flatten();
        texts.any(|(_, text)| FLAGS.iter().all(|flag| text.contains(flag)))
    };
    if in_flags || in_file || tells(&pd.source) {
        return Ok(());
    }
    let target = pd.stateful_set.metadata.name.as_deref().unwrap_or_default();
    let script = observed.pd.config_maps.values().find(tells);
    let script = script.and_then(|map| map.metadata.name.as_deref());
    let elsewhere = script.map_or(String::new(), |name| {
        format!(
            "; they are in a script of ConfigMap {name}, of which no changed copy can be mounted"
        )
    });
    Err(Blocker::new(
        "PdUrlsUnknown",
        format!(
            "client-urls and peer-urls of StatefulSet {target} are neither in its flags nor in ConfigMap {}{elsewhere}",
            pd.source_name()
        ),
        format!(
            "Write client-urls, advertise-client-urls, peer-urls and advertise-peer-urls into {} of ConfigMap {} and take them out of the script, or put that script into the same ConfigMap, so that they can become https.",
            pd.key,
            pd.source_name()
        ),
    ))
}
