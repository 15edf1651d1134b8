//! What `kubectl apply` gets: rights without excess, and pods that the *restricted* Pod Security Standard admits.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize as _;
use serde_yaml_ng::Value;

fn objects(kind: &str) -> Vec<Value> {
    let text = fs::read_to_string("manifests/install.yaml").unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| object["kind"] == kind)
        .collect()
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_sequence().unwrap();
    list.iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// Resource -> verbs.
fn rights() -> BTreeMap<String, BTreeSet<String>> {
    let mut rights = BTreeMap::<_, BTreeSet<_>>::new();
    for role in objects("ClusterRole").iter().chain(&objects("Role")) {
        for rule in role["rules"].as_sequence().unwrap() {
            for resource in words(&rule["resources"]) {
                rights
                    .entry(resource)
                    .or_default()
                    .extend(words(&rule["verbs"]));
            }
        }
    }
    rights
}

#[test]
fn no_right_is_a_wildcard() {
    for (resource, verbs) in rights() {
        assert!(!resource.contains('*'), "{resource}");
        assert!(!verbs.contains("*"), "{resource}: {verbs:?}");
        assert!(!verbs.contains("deletecollection"), "{resource}");
    }
}

#[test]
fn the_operator_can_not_delete_secrets_workloads_or_definitions() {
    let rights = rights();
    assert!(!rights["secrets"].contains("delete"));
    assert!(!rights["statefulsets"].contains("delete"));
    assert!(!rights["tikvsecurities"].contains("delete"));
    assert!(!rights.contains_key("customresourcedefinitions"));
    assert!(!rights.contains_key("pods/exec"));
}

#[test]
fn the_pod_meets_the_restricted_standard() {
    for deployment in objects("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        let profile = &pod["securityContext"]["seccompProfile"]["type"];
        assert_eq!(profile, "RuntimeDefault");
        assert!(pod["hostNetwork"].is_null() && pod["volumes"].is_null());
        for container in pod["containers"].as_sequence().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(words(&context["capabilities"]["drop"]), ["ALL"]);
            assert!(!container["resources"]["requests"].is_null());
        }
    }
}

#[test]
fn the_agents_run_the_image_of_the_operator() {
    for deployment in objects("Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_sequence().unwrap();
        let agent = variables
            .iter()
            .find(|variable| variable["name"] == "TIKV_SECURITY_IMAGE")
            .unwrap();
        assert_eq!(agent["value"], container["image"]);
    }
}

#[test]
fn the_network_policy_lets_the_operator_dial_every_port_that_it_proves() {
    use tikv_security::plan::names::Part;
    let policy = objects("NetworkPolicy").remove(0);
    let rules = policy["spec"]["egress"].as_sequence().unwrap();
    let ports = rules
        .iter()
        .flat_map(|rule| rule["ports"].as_sequence().unwrap());
    let open: BTreeSet<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
    let parts = [
        Part::Tikv,
        Part::Pd,
        Part::Agent,
        Part::Tidb,
        Part::TidbServer,
        Part::Tiflash,
        Part::Ticdc,
    ];
    for part in parts {
        for port in part.ports() {
            assert!(open.contains(&u64::from(*port)), "{part:?}: {port}");
        }
    }
    assert!(open.contains(&20180), "TiKV's status port");
}
