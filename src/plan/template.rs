//! Pod templates with what TLS and encryption need. The whole StatefulSet goes in and comes out; the difference is
//! what is patched.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::desired::EncryptionDesired;
use super::detect::Layout;
use super::merge::{covers, put};
use super::names::{
    AGENT_CONFIG, AGENT_CONTAINER, AGENT_RUN, AGENT_TLS, CREDENTIALS, MASTER_KEY, MASTER_KEY_FILE,
    PD_TLS, Part, TIKV_TLS, VOLUME_AGENT_CONFIG, VOLUME_AGENT_TLS, VOLUME_CREDENTIALS,
    VOLUME_MASTER_KEY, VOLUME_RUN, VOLUME_TLS, agent_config,
};
use super::probes;
use crate::api::{AGENT_PORT, AWS_KEYS};

/// Time that TiKV gets to move its leaders and stop (facts, TLS §4.6).
const GRACE_SECONDS: i64 = 60;

/// What a template must carry.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Name of the `TikvSecurity`.
    pub resource: &'a str,
    /// TiKV or PD.
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
    if wanted.part == Part::Tikv {
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        pod["terminationGracePeriodSeconds"] = json!(grace.max(GRACE_SECONDS));
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
    let port = if wanted.part == Part::Pd { 2379 } else { 20160 };
    put(
        &mut pod["volumes"],
        "name",
        secret_volume(VOLUME_TLS, &wanted.part.secret(wanted.resource)),
    );
    let container = &mut pod["containers"][container];
    put(
        &mut container["volumeMounts"],
        "mountPath",
        mount(VOLUME_TLS, directory),
    );
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
    let mut env = Vec::new();
    if let Some((secret, key)) = &encryption.key_secret {
        let mut volume = secret_volume(VOLUME_MASTER_KEY, secret);
        volume["secret"]["items"] = json!([{"key": key, "path": MASTER_KEY_FILE}]);
        put(&mut pod["volumes"], "name", volume);
        let mounts = &mut pod["containers"][layout.container]["volumeMounts"];
        put(mounts, "mountPath", mount(VOLUME_MASTER_KEY, MASTER_KEY));
    }
    if let Some(file) = &encryption.credentials_file {
        let mut volume = secret_volume(VOLUME_CREDENTIALS, &file.secret);
        volume["secret"]["items"] = json!([{"key": file.key, "path": file.file}]);
        put(&mut pod["volumes"], "name", volume);
        let mounts = &mut pod["containers"][layout.container]["volumeMounts"];
        put(mounts, "mountPath", mount(VOLUME_CREDENTIALS, CREDENTIALS));
    }
    if let Some(secret) = &encryption.credentials {
        for key in AWS_KEYS {
            let optional = key == "AWS_SESSION_TOKEN";
            let mut reference = json!({"name": secret, "key": key});
            if optional {
                reference["optional"] = json!(true);
            }
            let entry = json!({"name": key, "valueFrom": {"secretKeyRef": reference}});
            put(
                &mut pod["containers"][layout.container]["env"],
                "name",
                entry.clone(),
            );
            env.push(entry);
        }
    }
    if let Some(wrapped) = &encryption.wrapped {
        wrapped.add_volumes(pod, layout.container);
    }
    let agent = agent(pod, layout, encryption, &env, image);
    let list = &mut pod["initContainers"];
    // First: what a person's own init containers leave behind must not depend on where the agent stands.
    put(list, "name", agent);
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
    if let Some(wrapped) = &encryption.wrapped {
        wrapped.agent_mounts(&mut mounts);
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
