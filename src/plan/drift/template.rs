//! Pod templates: what of them is this operator's, and whether it still is there.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::{Found, TOLD, author, by_policy, differences};
use crate::api::{ANNOTATION_APPLIED, AWS_KEYS};
use crate::plan::detect::Layout;
use crate::plan::names::AGENT_CONTAINER;
use crate::plan::objects::annotation;
use crate::plan::observed::{Observed, WorkloadFacts};
use crate::plan::template::{Wanted, as_json, build};

/// What all our volumes begin with.
const OURS: &str = "tikv-security-";

/// The part of the StatefulSet that is this operator's, in the shape of a StatefulSet: what `build` makes of one that has
/// nothing of it. Probes, flags and grace times are changed as well, but stay what a person made of them.
pub fn applied(layout: &Layout<'_>, wanted: &Wanted<'_>) -> String {
    let mut bare = as_json(layout.stateful_set);
    strip(&mut bare);
    let bare: StatefulSet = serde_json::from_value(bare).unwrap_or_default();
    let bare = Layout {
        stateful_set: &bare,
        ..layout.clone()
    };
    let built = build(&bare, wanted);
    let pod = &built["spec"]["template"]["spec"];
    let mut volumes = ours(&pod["volumes"]);
    volumes.push(json!({"name": layout.volume, "configMap": {"name": wanted.config_map}}));
    let container = &pod["containers"][layout.container];
    let mut own = json!({"name": container["name"]});
    let mounts = ours(&container["volumeMounts"]);
    if !mounts.is_empty() {
        own["volumeMounts"] = json!(mounts);
    }
    let credentials = wanted
        .encryption
        .and_then(|(one, _)| one.access.environment.as_ref());
    if credentials.is_some() {
        let env = container["env"].as_array().into_iter().flatten();
        let keys = env.filter(|one| AWS_KEYS.iter().any(|key| one["name"] == *key));
        own["env"] = json!(keys.collect::<Vec<_>>());
    }
    let mut spec = json!({"volumes": volumes, "containers": [own]});
    let agent = pod["initContainers"].as_array().into_iter().flatten();
    let agent: Vec<&Value> = agent.filter(|one| one["name"] == AGENT_CONTAINER).collect();
    if !agent.is_empty() {
        spec["initContainers"] = json!(agent);
    }
    let whole = json!({"spec": {
        "updateStrategy": built["spec"]["updateStrategy"],
        "template": {"spec": spec},
    }});
    whole.to_string()
}

/// What is not as it was applied.
pub(super) fn find(observed: &Observed, facts: &WorkloadFacts) -> Vec<Found> {
    let Some(set) = &facts.stateful_set else {
        return Vec::new();
    };
    let applied = annotation(&set.metadata, ANNOTATION_APPLIED);
    let Some(applied) = applied.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Vec::new();
    };
    let name = set.metadata.name.clone().unwrap_or_default();
    let exact = format!("[{AGENT_CONTAINER}]");
    let found = differences(&as_json(set), &applied, &exact);
    let all = found.into_iter().take(TOLD).map(|(path, found)| Found {
        kind: "StatefulSet",
        name: name.clone(),
        path,
        found,
        by: author(&set.metadata),
        answer: by_policy(observed),
    });
    all.collect()
}

/// Name of the derived ConfigMap that the template was given.
pub fn given(facts: &WorkloadFacts) -> Option<String> {
    let set = facts.stateful_set.as_ref()?;
    let applied = annotation(&set.metadata, ANNOTATION_APPLIED)?;
    let applied: Value = serde_json::from_str(applied).ok()?;
    let volumes = applied["spec"]["template"]["spec"]["volumes"].as_array()?;
    let named = volumes.iter().filter(|one| {
        let name = one["name"].as_str().unwrap_or_default();
        !name.starts_with(OURS)
    });
    let mut names = named.filter_map(|one| one["configMap"]["name"].as_str());
    names.next().map(str::to_owned)
}

fn ours(list: &Value) -> Vec<Value> {
    let all = list.as_array().into_iter().flatten();
    let ours = all.filter(|one| {
        one["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(OURS))
    });
    ours.cloned().collect()
}

/// Takes away what is ours.
fn strip(object: &mut Value) {
    let keep = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.retain(|one| {
                let name = one["name"].as_str().unwrap_or_default();
                !name.starts_with(OURS)
            });
        }
    };
    let pod = &mut object["spec"]["template"]["spec"];
    keep(&mut pod["volumes"]);
    if pod["initContainers"].is_array() {
        keep(&mut pod["initContainers"]);
    }
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        if container["volumeMounts"].is_array() {
            keep(&mut container["volumeMounts"]);
        }
    }
}
