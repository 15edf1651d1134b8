//! Pod templates with what TLS and encryption need. The whole StatefulSet goes in and comes out; the difference is
//! what is patched.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::desired::EncryptionDesired;
use super::detect::Layout;
use super::master_key::{self, Access};
use super::merge::{covers, put};
use super::names::{
    AGENT_CONFIG, AGENT_CONTAINER, AGENT_RUN, AGENT_TLS, MYSQL_PORT, PD_TLS, Part, TIDB_SERVER_TLS,
    TIDB_TLS, TIKV_TLS, VOLUME_AGENT_CONFIG, VOLUME_AGENT_TLS, VOLUME_RUN, VOLUME_SERVER_TLS,
    VOLUME_TLS, agent_config,
};
use super::observed::{Observed, WorkloadFacts};
use super::probes;
use super::wrapped::{self, Wrapped};
use crate::api::{AGENT_PORT, AWS_KEYS};
use crate::tikv::tidb_toml;

/// Time that TiKV gets to move its leaders and stop (facts, TLS §4.6).
const GRACE_SECONDS: i64 = 60;

/// What a template must carry.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Name of the `TikvSecurity`.
    pub resource: &'a str,
    /// TiKV, PD or TiDB.
    pub part: Part,
    /// ConfigMap to mount.
    pub config_map: &'a str,
    /// TLS.
    pub tls: bool,
    /// The agent and the master key; TiKV only.
    pub encryption: Option<(&'a EncryptionDesired, &'a str)>,
}

/// The StatefulSet as it should be, as JSON.
pub fn build(layout: &Layout<'_>, wanted: &Wanted<'_>) -> Value {
    let mut object = as_json(layout.stateful_set);
    object["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let pod = &mut object["spec"]["template"]["spec"];
    mount_config(pod, layout, wanted.config_map);
    let needed = match wanted.part {
        Part::Tikv => Some(GRACE_SECONDS),
        Part::Tidb => Some(tidb_toml::grace_seconds(layout.toml())),
        _ => None,
    };
    if let Some(needed) = needed {
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        pod["terminationGracePeriodSeconds"] = json!(grace.max(needed));
    }
    if wanted.tls {
        add_tls(pod, layout.container, wanted);
    }
    if let Some((encryption, image)) = wanted.encryption {
        add_agent(pod, layout, wanted.resource, encryption, image);
    }
    object
}

/// The StatefulSet as JSON.
pub fn as_json(stateful_set: &StatefulSet) -> Value {
    serde_json::to_value(stateful_set).unwrap_or_default()
}

fn mount_config(pod: &mut Value, layout: &Layout<'_>, config_map: &str) {
    let volumes = pod["volumes"].as_array_mut().into_iter().flatten();
    for volume in volumes.filter(|volume| volume["name"] == layout.volume.as_str()) {
        volume["configMap"]["name"] = json!(config_map);
    }
}

fn add_tls(pod: &mut Value, container: usize, wanted: &Wanted<'_>) {
    let directory = tls_directory(wanted.part);
    let port = match wanted.part {
        Part::Pd => 2379,
        Part::Tidb => MYSQL_PORT,
        _ => 20160,
    };
    put(
        &mut pod["volumes"],
        "name",
        secret_volume(VOLUME_TLS, &wanted.part.secret(wanted.resource)),
    );
    if wanted.part == Part::Tidb {
        let secret = Part::TidbServer.secret(wanted.resource);
        let volume = secret_volume(VOLUME_SERVER_TLS, &secret);
        put(&mut pod["volumes"], "name", volume);
    }
    let container = &mut pod["containers"][container];
    put(
        &mut container["volumeMounts"],
        "mountPath",
        mount(VOLUME_TLS, directory),
    );
    if wanted.part == Part::Tidb {
        let mounts = &mut container["volumeMounts"];
        put(
            mounts,
            "mountPath",
            mount(VOLUME_SERVER_TLS, TIDB_SERVER_TLS),
        );
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        probes::adapt(&mut container[probe], port);
    }
    if wanted.part == Part::Pd {
        for field in ["command", "args"] {
            for text in container[field].as_array_mut().into_iter().flatten() {
                if let Some(old) = text.as_str().filter(|old| old.contains("http://")) {
                    *text = json!(old.replace("http://", "https://"));
                }
            }
        }
    }
    prune_nulls(container);
}

/// Asking JSON for a field makes it; the patch must not carry what is not there.
fn prune_nulls(container: &mut Value) {
    if let Some(fields) = container.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

fn add_agent(
    pod: &mut Value,
    layout: &Layout<'_>,
    resource: &str,
    encryption: &EncryptionDesired,
    image: &str,
) {
    let volumes = &mut pod["volumes"];
    put(
        volumes,
        "name",
        secret_volume(VOLUME_AGENT_TLS, &Part::Agent.secret(resource)),
    );
    put(
        volumes,
        "name",
        json!({"name": VOLUME_AGENT_CONFIG, "configMap": {"name": agent_config(resource)}}),
    );
    put(
        volumes,
        "name",
        json!({"name": VOLUME_RUN, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
    );
    remove_unneeded(pod, layout.container, &encryption.access);
    let tikv = &mut pod["containers"][layout.container];
    for file in &encryption.access.files {
        put(
            &mut tikv["volumeMounts"],
            "mountPath",
            mount(&file.volume, &file.directory),
        );
    }
    let env = environment(&encryption.access);
    for entry in &env {
        put(&mut tikv["env"], "name", entry.clone());
    }
    for file in &encryption.access.files {
        let mut volume = secret_volume(&file.volume, &file.secret);
        volume["secret"]["items"] = json!([{"key": file.key, "path": file.file}]);
        if file.dispensable {
            volume["secret"]["optional"] = json!(true);
        }
        put(&mut pod["volumes"], "name", volume);
    }
    wrapped::add_volumes(&encryption.access.wrapped, pod, layout.container);
    let agent = agent(pod, layout, encryption, &env, image);
    let list = &mut pod["initContainers"];
    // First: what a person's own init containers leave behind must not depend on where the agent stands.
    put(list, "name", agent);
}

/// AWS credentials as environment variables.
fn environment(access: &Access) -> Vec<Value> {
    let Some((secret, dispensable)) = &access.environment else {
        return Vec::new();
    };
    let entry = |key: &str| {
        let mut reference = json!({"name": secret, "key": key});
        if *dispensable || key == "AWS_SESSION_TOKEN" {
            reference["optional"] = json!(true);
        }
        json!({"name": key, "valueFrom": {"secretKeyRef": reference}})
    };
    AWS_KEYS.map(entry).into()
}

/// Takes away what an earlier master key needed, and leaves what else is there as it is, defaults included. Variables are
/// ours where the agent has the same.
fn remove_unneeded(pod: &mut Value, container: usize, access: &Access) {
    let needed = |volume: &str| {
        let file = access.files.iter().any(|file| file.volume == volume);
        file || wrapped::needs(&access.wrapped, volume)
    };
    let ours = master_key::volumes();
    let unneeded = |value: &Value| {
        let of_ours = |name: &str| ours.iter().any(|one| one == name) || wrapped::is_volume(name);
        let named = |name: &str| of_ours(name) && !needed(name);
        value["name"].as_str().is_some_and(named)
    };
    let agents = pod["initContainers"].as_array();
    let agent = agents.and_then(|all| all.iter().position(|one| one["name"] == AGENT_CONTAINER));
    let put_there = agent.and_then(|index| pod["initContainers"][index]["env"].as_array().cloned());
    let put_there = put_there.unwrap_or_default();
    let wanted = environment(access);
    let kept = |entry: &Value| {
        let credential = AWS_KEYS.iter().any(|key| entry["name"] == *key);
        let same = |one: &Value| one["name"] == entry["name"];
        !credential || !put_there.contains(entry) || wanted.iter().any(same)
    };
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        volumes.retain(|volume| !unneeded(volume));
    }
    let places = [
        Some(("containers", container)),
        agent.map(|index| ("initContainers", index)),
    ];
    for (list, index) in places.into_iter().flatten() {
        let one = &mut pod[list][index];
        if let Some(mounts) = one["volumeMounts"].as_array_mut() {
            mounts.retain(|mount| !unneeded(mount));
        }
        if let Some(env) = one["env"].as_array_mut() {
            let before = env.len();
            env.retain(kept);
            if env.is_empty() && before > 0 {
                one["env"] = Value::Null;
            }
        }
        prune_nulls(one);
    }
    if let Some(index) = agent
        && let Some(args) = pod["initContainers"][index]["args"].as_array_mut()
    {
        let orders: Vec<String> = access.wrapped.iter().map(Wrapped::argument).collect();
        args.retain(|arg| {
            let order = arg
                .as_str()
                .filter(|arg| arg.starts_with(wrapped::ARGUMENT));
            order.is_none_or(|order| orders.iter().any(|one| one == order))
        });
    }
}

fn agent(
    pod: &Value,
    layout: &Layout<'_>,
    encryption: &EncryptionDesired,
    env: &[Value],
    image: &str,
) -> Value {
    let tikv = &pod["containers"][layout.container];
    let mut mounts: Vec<Value> = tikv["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.retain(|mount| mount["name"] != VOLUME_TLS);
    mounts.push(mount(VOLUME_AGENT_TLS, AGENT_TLS));
    mounts.push(mount(VOLUME_AGENT_CONFIG, AGENT_CONFIG));
    mounts.push(json!({"name": VOLUME_RUN, "mountPath": AGENT_RUN}));
    let mut args = vec![
        json!("agent"),
        json!("--config"),
        json!(layout.path),
        json!("--data-dir"),
        json!(layout.data_dir),
        json!("--desired"),
        json!(format!("{AGENT_CONFIG}/{}", crate::api::DESIRED_KEY)),
        json!("--tls"),
        json!(AGENT_TLS),
        json!("--run"),
        json!(AGENT_RUN),
        json!("--listen"),
        json!(format!("0.0.0.0:{AGENT_PORT}")),
    ];
    if !encryption.access.wrapped.is_empty() {
        wrapped::agent_mounts(&encryption.access.wrapped, &mut mounts);
    }
    for wrapped in &encryption.access.wrapped {
        args.push(json!(wrapped.argument()));
    }
    let own = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut variables = vec![
        own("POD_NAME", "metadata.name"),
        own("POD_IP", "status.podIP"),
    ];
    variables.extend_from_slice(env);
    json!({
        "name": AGENT_CONTAINER,
        "image": image,
        "restartPolicy": "Always",
        "command": ["/tikv-security"],
        "args": args,
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        "startupProbe": {
            "exec": {"command": ["/tikv-security", "agent-ready", "--run", AGENT_RUN]},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            // Re-encryption takes as long as it takes: the kubelet must never kill it for that.
            "failureThreshold": 100_000_000,
        },
        "securityContext": security_context(pod, tikv),
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "env": variables,
    })
}

/// Restricted, under TiKV's own user, because the files are TiKV's.
fn security_context(pod: &Value, tikv: &Value) -> Value {
    let field = |name: &str| {
        let own = &tikv["securityContext"][name];
        if own.is_null() {
            pod["securityContext"][name].clone()
        } else {
            own.clone()
        }
    };
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    match field("runAsUser").as_i64() {
        Some(user) => {
            context["runAsUser"] = json!(user);
            context["runAsNonRoot"] = json!(user != 0);
        }
        None => context["runAsUser"] = json!(0),
    }
    let group = field("runAsGroup");
    if !group.is_null() {
        context["runAsGroup"] = group;
    }
    context
}

/// Where the leaf of a part is mounted.
pub const fn tls_directory(part: Part) -> &'static str {
    match part {
        Part::Pd => PD_TLS,
        Part::Tidb => TIDB_TLS,
        _ => TIKV_TLS,
    }
}

fn secret_volume(name: &str, secret: &str) -> Value {
    json!({"name": name, "secret": {"secretName": secret}})
}

fn mount(name: &str, path: &str) -> Value {
    json!({"name": name, "mountPath": path, "readOnly": true})
}

/// True when the template mounts TLS.
pub fn has_tls(pod_spec: &Value) -> bool {
    let volumes = pod_spec["volumes"].as_array();
    volumes.is_some_and(|all| {
        all.iter()
            .any(|volume| covers(volume, &json!({"name": VOLUME_TLS})))
    })
}

/// Digest of a pod template, to know it again.
pub fn digest(stateful_set: &StatefulSet) -> String {
    let template = stateful_set.spec.as_ref().map(|spec| &spec.template);
    let text = serde_json::to_vec(&template).unwrap_or_default();
    let digest = Sha256::digest(text);
    let mut short = String::new();
    for byte in digest.iter().take(16) {
        let _ = write!(short, "{byte:02x}");
    }
    short
}

/// Revisions of pods that have the present template but for a master key that no store needs: not worth a restart.
pub fn spared(observed: &Observed, facts: &WorkloadFacts) -> Vec<String> {
    let spared = observed.ring().and_then(|ring| ring.spared);
    let present = facts.stateful_set.as_ref().map(digest);
    spared
        .filter(|spared| present.as_ref() == Some(&spared.template))
        .map_or(Vec::new(), |spared| spared.revisions)
}
