//! What somebody else changes is seen, told, and put back or left.

use serde_json::{Value, json};

use super::world::{World, spec};
use crate::api::v1alpha1::{DriftAnswer, DriftPolicy, Phase};
use crate::api::{ANNOTATION_APPLIED, DESIRED_KEY};
use crate::plan::action::Plan;
use crate::plan::names::AGENT_CONTAINER;
use crate::plan::observed::SecretContent;

fn settled(policy: DriftPolicy) -> World {
    let mut world = World::new(spec(), true);
    world.seen.resource.spec.drift = policy;
    world.settle();
    world
}

/// Somebody edits TiKV's StatefulSet.
fn edit(world: &mut World, change: impl FnOnce(&mut Value)) {
    let set = world.seen.tikv.stateful_set.as_mut().unwrap();
    let mut value = serde_json::to_value(&*set).unwrap();
    change(&mut value);
    let generation = value["metadata"]["generation"].as_i64().unwrap() + 1;
    value["metadata"]["generation"] = json!(generation);
    value["metadata"]["resourceVersion"] = json!(generation.to_string());
    *set = serde_json::from_value(value).unwrap();
    world.kubernetes();
}

fn paths(plan: &Plan) -> Vec<String> {
    let open = plan
        .status
        .drift
        .iter()
        .filter(|one| one.ended_at.is_none());
    open.map(|one| format!("{} {} {}", one.kind, one.name, one.path))
        .collect()
}

fn condition(plan: &Plan, kind: &str) -> (String, String) {
    let one = plan.status.conditions.iter().find(|one| one.type_ == kind);
    let one = one.unwrap();
    (one.status.clone(), one.reason.clone())
}

fn agent(value: &mut Value) -> &mut Value {
    let all = value["spec"]["template"]["spec"]["initContainers"].as_array_mut();
    let agent = all
        .unwrap()
        .iter_mut()
        .find(|one| one["name"] == AGENT_CONTAINER);
    agent.unwrap()
}

#[test]
fn what_is_done_by_ourselves_is_no_drift() {
    let mut world = settled(DriftPolicy::Correct);
    world.seen.agent_image = "tikv-security:2".into();
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    world.seen.resource.spec.rotate.certificates = Some("now".into());
    let config = world.seen.tikv.config_maps.get_mut("tikv-config").unwrap();
    let text = "# mine\n[storage]\nreserve-space = \"1GB\"\n".to_owned();
    config.data = Some([("tikv.toml".to_owned(), text)].into());
    // A person's own change of the template.
    edit(&mut world, |set| {
        let pod = &mut set["spec"]["template"]["spec"];
        pod["containers"][0]["image"] = json!("tikv:2");
        let mounts = pod["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.insert(0, json!({"name": "data", "mountPath": "/more"}));
    });
    let plan = world.settle();
    assert_eq!(plan.status.drift, []);
    let kinds: Vec<String> = plan
        .status
        .rotations
        .iter()
        .map(|one| {
            format!(
                "{:?} {:?} {}",
                one.kind,
                one.request,
                one.finished_at.is_some()
            )
        })
        .collect();
    let rotated = ["DataKey", "Certificates"].map(|kind| format!("{kind} Some(\"now\") true"));
    assert_eq!(kinds, rotated);
}

#[test]
fn a_template_that_was_edited_is_told_with_the_field_and_put_back_without_a_restart() {
    for (field, change) in [
        (
            format!("spec.template.spec.initContainers[{AGENT_CONTAINER}].image"),
            (|set| agent(set)["image"] = json!("evil:1")) as fn(&mut Value),
        ),
        ("spec.template.spec.initContainers".to_owned(), |set| {
            set["spec"]["template"]["spec"]["initContainers"] = json!([]);
        }),
        ("spec.updateStrategy.type".to_owned(), |set| {
            set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
        }),
        ("volumeMounts[/var/lib/tikv-tls]".to_owned(), |set| {
            let container = &mut set["spec"]["template"]["spec"]["containers"][0];
            let mounts = container["volumeMounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["mountPath"] != "/var/lib/tikv-tls");
        }),
    ] {
        let mut world = settled(DriftPolicy::Correct);
        let from = world.log.len();
        edit(&mut world, change);
        let plan = world.reconcile(None);
        let found = paths(&plan);
        assert!(
            found
                .iter()
                .any(|one| one.starts_with("StatefulSet tikv") && one.contains(&field)),
            "{field}: {found:?}"
        );
        assert_eq!(
            condition(&plan, "Drift"),
            ("True".into(), "PuttingBack".into())
        );
        assert!(
            plan.events
                .iter()
                .any(|note| note.reason == "Drift" && note.warning),
            "{:?}",
            plan.events
        );
        let plan = world.settle();
        assert_eq!(condition(&plan, "Drift").0, "False");
        assert!(plan.status.drift.iter().all(|one| one.ended_at.is_some()));
        assert_eq!(world.log[from..], ["PatchStatefulSet"], "{field}");
    }
}

#[test]
fn a_pod_that_was_made_of_an_edited_template_restarts_with_that_reason() {
    let mut world = settled(DriftPolicy::Correct);
    edit(&mut world, |set| agent(set)["image"] = json!("evil:1"));
    // Somebody deletes a pod before it is put back.
    world
        .seen
        .tikv
        .pods
        .retain(|pod| pod.metadata.name.as_deref() != Some("tikv-1"));
    world.kubernetes();
    let mut reasons = Vec::new();
    for _ in 0..100 {
        let plan = world.reconcile(None);
        reasons.extend(
            plan.events
                .into_iter()
                .filter(|note| note.reason == "RestartingPod"),
        );
    }
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let text = &reasons[0].message;
    assert!(
        text.contains("tikv-1") && text.contains("was put back"),
        "{text}"
    );
}

#[test]
fn with_report_a_template_is_left_and_nothing_restarts_with_it() {
    let mut world = settled(DriftPolicy::Report);
    let from = world.log.len();
    edit(&mut world, |set| agent(set)["image"] = json!("evil:1"));
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    for _ in 0..50 {
        world.reconcile(None);
    }
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert!(world.log[from..].is_empty(), "{:?}", &world.log[from..]);
    assert_eq!(condition(&plan, "Drift"), ("True".into(), "Left".into()));
    assert_eq!(
        condition(&plan, "ConfigurationCurrent"),
        ("False".into(), "Drift".into())
    );
    assert_eq!(condition(&plan, "Ready"), ("False".into(), "Drift".into()));
    assert_eq!(condition(&plan, "Blocked").0, "False");
    assert!(plan.events.is_empty(), "told once: {:?}", plan.events);
    assert!(world.pd().evicting.is_empty() && world.pd().maintenance.is_none());

    world.seen.resource.spec.drift = DriftPolicy::Correct;
    let plan = world.settle();
    assert_eq!(condition(&plan, "Drift").0, "False");
}

#[test]
fn what_the_agents_are_told_can_not_be_changed_by_others() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Report] {
        let mut world = settled(policy);
        let from = world.log.len();
        let map = world.seen.agent_config.as_mut().unwrap();
        let text = map.data.as_mut().unwrap().get_mut(DESIRED_KEY).unwrap();
        let applied = text.clone();
        *text = text.replace("\"reencrypt\": true", "\"reencrypt\": false");
        assert_ne!(*text, applied);
        let edited = text.clone();
        let plan = world.reconcile(None);
        assert_eq!(
            paths(&plan),
            ["ConfigMap db-agent data[desired.json].reencrypt"]
        );
        for _ in 0..20 {
            world.reconcile(None);
        }
        let map = world.seen.agent_config.as_ref().unwrap();
        let left = policy == DriftPolicy::Report;
        let wanted = if left { &edited } else { &applied };
        assert_eq!(map.data.as_ref().unwrap()[DESIRED_KEY], *wanted);
        assert!(
            !world.log[from..]
                .iter()
                .any(|line| line.contains("DeletePod"))
        );
    }
}

#[test]
fn a_deleted_agent_config_comes_back_with_the_age_of_keys_that_it_had_told() {
    let mut world = settled(DriftPolicy::Correct);
    world.seen.resource.spec.rotate.data_key = Some("now".into());
    world.settle();
    let before = crate::plan::keys::told(world.seen.agent_config.as_ref()).unwrap();
    assert!(before.state.data_key_not_before.is_some());
    let from = world.log.len();
    world.seen.agent_config = None;
    let plan = world.reconcile(None);
    assert_eq!(paths(&plan), ["ConfigMap db-agent "]);
    world.settle();
    let after = crate::plan::keys::told(world.seen.agent_config.as_ref()).unwrap();
    assert_eq!(
        after.state.data_key_not_before,
        before.state.data_key_not_before
    );
    assert!(after.state.generation > before.state.generation);
    assert_eq!(
        world.log[from..],
        ["ApplyConfigMap"],
        "no pod restarts for it"
    );
}

#[test]
fn a_derived_config_that_was_replaced_or_deleted_comes_back() {
    let mut world = settled(DriftPolicy::Correct);
    let name = world
        .seen
        .tikv
        .config_maps
        .keys()
        .find(|name| name.starts_with("tikv-config-db-"));
    let name = name.unwrap().clone();
    let map = world.seen.tikv.config_maps.get_mut(&name).unwrap();
    map.data = Some([("tikv.toml".to_owned(), "# theirs\n".to_owned())].into());
    let from = world.log.len();
    let plan = world.reconcile(None);
    assert_eq!(paths(&plan), [format!("ConfigMap {name} data")]);
    world.settle();
    assert_eq!(world.log[from..], ["DeleteConfigMap", "ApplyConfigMap"]);

    world.seen.tikv.config_maps.remove(&name);
    let plan = world.reconcile(None);
    assert_eq!(paths(&plan), [format!("ConfigMap {name} ")]);
    world.settle();
    assert!(world.seen.tikv.config_maps.contains_key(&name));
}

#[test]
fn a_leaf_that_would_break_connections_is_put_back_whatever_the_policy() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Report] {
        let mut world = settled(policy);
        let secret = world.seen.secrets.get_mut("db-tikv-tls").unwrap();
        secret.content =
            SecretContent::Unusable("the key does not belong to the certificate".into());
        let from = world.log.len();
        let plan = world.reconcile(None);
        assert_eq!(paths(&plan), ["Secret db-tikv-tls data"]);
        assert_eq!(plan.status.drift[0].answer, DriftAnswer::PutBack);
        assert_eq!(world.log[from..], ["IssueLeaf"], "{policy:?}");
        world.seen.secrets.remove("db-pd-tls");
        let plan = world.reconcile(None);
        assert!(paths(&plan).contains(&"Secret db-pd-tls ".to_owned()));
        let plan = world.settle();
        assert_eq!(plan.status.phase, Some(Phase::Ready));
    }
}

#[test]
fn a_leaf_that_works_and_is_another_one_is_left_on_request() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Report] {
        let mut world = settled(policy);
        let secret = world.seen.secrets.get_mut("db-client-tls").unwrap();
        let notes = secret.metadata.annotations.get_or_insert_default();
        notes.insert(ANNOTATION_APPLIED.to_owned(), "abc".to_owned());
        let from = world.log.len();
        let plan = world.reconcile(None);
        assert_eq!(paths(&plan), ["Secret db-client-tls data[tls.crt]"]);
        let left = policy == DriftPolicy::Report;
        let wanted: &[&str] = if left { &[] } else { &["IssueLeaf"] };
        assert_eq!(world.log[from..], *wanted);
    }
}

#[test]
fn another_ca_is_never_signed_with() {
    let mut world = settled(DriftPolicy::Correct);
    let secret = world.seen.secrets.get_mut("db-ca").unwrap();
    let notes = secret.metadata.annotations.get_or_insert_default();
    notes.insert(ANNOTATION_APPLIED.to_owned(), "abc".to_owned());
    let plan = world.reconcile(None);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(
        condition(&plan, "Blocked"),
        ("True".into(), "CaReplaced".into())
    );
}

#[test]
fn a_volume_object_that_was_edited_is_told() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Report] {
        let mut world = settled(policy);
        world.seen.volumes.get_mut("tikv-0").unwrap().spec.reencrypt = false;
        let plan = world.reconcile(None);
        assert_eq!(paths(&plan), ["TikvVolume tikv-0 spec.reencrypt"]);
        let back = world.seen.volumes["tikv-0"].spec.reencrypt;
        assert_eq!(back, policy == DriftPolicy::Correct);
    }
}

#[test]
fn a_source_that_says_otherwise_is_overridden_and_told() {
    let mut world = settled(DriftPolicy::Correct);
    let map = world.seen.tikv.config_maps.get_mut("tikv-config").unwrap();
    let text = "# mine\n[storage]\n[security]\nca-path = \"/theirs/ca.crt\"\n".to_owned();
    map.data = Some([("tikv.toml".to_owned(), text)].into());
    let plan = world.settle();
    let record = plan.status.drift.last().unwrap();
    assert_eq!(record.path, "data[tikv.toml].security.ca-path");
    assert_eq!(
        (record.answer, record.ended_at),
        (DriftAnswer::Overridden, None)
    );
    assert_eq!(condition(&plan, "Drift").0, "False");
    assert_eq!(plan.status.phase, Some(Phase::Ready));
}
