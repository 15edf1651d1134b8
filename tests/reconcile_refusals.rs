//! Bad input on a real API server: refused before anything changes, with object, cause and next step.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams,
    PostParams,
};
use kube::core::GroupVersionKind;
use kube::core::params::ValidationDirective;
use kube::discovery::pinned_kind;
use reconcile::kms::Kms;
use reconcile::node::fresh_address;
use reconcile::world::World;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tikv_security::api::v1alpha1::TikvSecurity;

fn tls() -> Value {
    json!({
        "environment": "development",
        "tls": {"issuer": {"selfSigned": {}}},
        "rollout": {"allowDowntime": true, "settle": "0s"},
    })
}

fn kms(endpoint: &str) -> Value {
    json!({
        "environment": "production",
        "encryption": {"method": "aes256-ctr", "masterKey": {"awsKms": {
            "keyId": "alias/demo", "region": "eu-central-1", "endpoint": endpoint,
            "credentialsSecret": {"name": "kms-credentials"},
        }}},
        "rollout": {"settle": "0s"},
    })
}

fn hsm(module: &str) -> Value {
    json!({"pkcs11": {
        "module": module, "token": "tikv", "key": "stores", "pinSecret": {"name": "hsm-pin", "key": "pin"},
    }})
}

/// Everything that must not change: pods, workloads, and which Secrets and ConfigMaps there are, with their versions.
async fn picture(world: &World) -> Vec<String> {
    let all = ListParams::default();
    let mut seen: Vec<String> = world
        .pod_uids()
        .await
        .into_iter()
        .map(|(name, uid)| format!("pod {name} {uid}"))
        .collect();
    for set in world.api::<StatefulSet>().list(&all).await.unwrap() {
        seen.push(format!(
            "set {} {:?}",
            set.name_any(),
            set.metadata.generation
        ));
    }
    for map in world.api::<ConfigMap>().list(&all).await.unwrap() {
        seen.push(format!(
            "map {} {:?}",
            map.name_any(),
            map.resource_version()
        ));
    }
    for secret in world.api::<Secret>().list(&all).await.unwrap() {
        seen.push(format!(
            "secret {} {:?}",
            secret.name_any(),
            secret.resource_version()
        ));
    }
    seen
}

/// Asks for `spec`, expects the refusal, and takes the resource away again.
async fn refused(world: &World, spec: Value, reason: &str, words: &[&str]) {
    let before = picture(world).await;
    world.secure(spec).await;
    let message = world.until_reason("Blocked", reason).await;
    for word in words {
        assert!(
            message.contains(word),
            "{reason}: {word:?} is not in {message:?}"
        );
    }
    let (ready, why) = world.condition("Ready").await.unwrap();
    assert_eq!(
        (ready.as_str(), why.as_str()),
        ("False", "Blocked"),
        "{reason}"
    );
    assert_eq!(
        picture(world).await,
        before,
        "{reason}: something was changed"
    );
    for call in world.calls.histogram().keys() {
        assert!(call.ends_with("/status"), "{reason}: {call}");
    }
    let resources = world.api::<TikvSecurity>();
    resources
        .delete("demo", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("the resource is gone", async || {
            resources.get_opt("demo").await.unwrap().is_none()
        })
        .await;
}

async fn set(world: &World, name: &str, data: Value) {
    let maps = world.api::<ConfigMap>();
    let mut map = maps.get(name).await.unwrap();
    map.data = serde_json::from_value(data).unwrap();
    maps.replace(name, &PostParams::default(), &map)
        .await
        .unwrap();
}

fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
    let data = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data.collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_admission_refuses_says_what_to_write() {
    let world = World::new(0).await;
    let resource = ApiResource::erase::<TikvSecurity>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let file = json!({"secret": {"name": "mk", "key": "k"}});
    let both = json!({"awsKms": {"keyId": "k", "region": "r"}, "file": file});
    for (path, value, words) in [
        ("/spec/tls/durations", json!("720h"), vec!["durations"]),
        (
            "/spec/encryption/masterKey",
            both,
            vec!["exactly one master key", "awsKms"],
        ),
        (
            "/spec/encryption/masterKey",
            hsm("libpkcs11.so"),
            vec!["pkcs11.module", "should match"],
        ),
        (
            "/spec/encryption/masterKey",
            {
                let mut hsm = hsm("/opt/vendor/libpkcs11.so");
                hsm["pkcs11"]["offlineGrace"] = json!("10s");
                hsm
            },
            vec!["offlineGrace must be between 1m and 168h", "1h is usual"],
        ),
        (
            "/spec/encryption/method",
            json!("rot13"),
            vec!["rot13", "aes256-ctr"],
        ),
        (
            "/spec/encryption/masterKey",
            json!({"file": file}),
            vec!["production forbids the file master key", "masterKey.awsKms"],
        ),
        (
            "/spec/encryption/method",
            json!("plaintext"),
            vec!["production forbids the method plaintext", "aes256-ctr"],
        ),
        (
            "/spec/tls/renewBefore",
            json!("721h"),
            vec!["renewBefore must be shorter", "240h"],
        ),
        (
            "/spec/tls/issuer/selfSigned/caDuration",
            json!("800h"),
            vec!["caDuration", "87600h"],
        ),
        (
            "/spec/rollout/drainTimeout",
            json!("0s"),
            vec!["drainTimeout", "10m"],
        ),
    ] {
        let mut object = json!({
            "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity", "metadata": {"name": "demo"},
            "spec": {
                "environment": "production",
                "cluster": {"tikv": {"statefulSet": {"name": "a"}}, "pd": {"statefulSet": {"name": "b"}}},
                "tls": {"issuer": {"selfSigned": {}}},
                "encryption": {"method": "aes256-ctr", "masterKey": {"awsKms": {"keyId": "k", "region": "r"}}},
                "rollout": {},
            },
        });
        let (parent, key) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value;
        // As kubectl does it.
        let params = PatchParams::apply("kubectl").validation(ValidationDirective::Strict);
        let error = api
            .patch("demo", &params, &Patch::Apply(&object))
            .await
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "{path}: {word:?} is not in {error:?}");
        }
    }
    assert!(
        api.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_refuses_changes_nothing() {
    let world = World::new(1).await;
    let _operator = world.operator();
    let good = world
        .api::<ConfigMap>()
        .get("demo-tikv")
        .await
        .unwrap()
        .data
        .unwrap();

    let mut spec = tls();
    spec["cluster"] = json!({"tikv": {"statefulSet": {"name": "absent"}}, "pd": {"statefulSet": {"name": "demo-pd"}}});
    refused(
        &world,
        spec,
        "TargetNotFound",
        &[
            "StatefulSet absent does not exist",
            "cluster.tikv.statefulSet.name",
        ],
    )
    .await;

    set(&world, "demo-tikv", json!({"readme": "nothing"})).await;
    refused(
        &world,
        tls(),
        "ConfigMapWithoutToml",
        &["demo-tikv", "cluster.tikv.statefulSet.configMap"],
    )
    .await;

    set(
        &world,
        "demo-tikv",
        json!({"tikv.toml": "[server\naddr = "}),
    )
    .await;
    refused(
        &world,
        tls(),
        "ConfigMapUnreadable",
        &["ConfigMap demo-tikv, key tikv.toml", "line 1", "Correct it"],
    )
    .await;
    set(&world, "demo-tikv", json!(good)).await;

    let secrets = world.api::<Secret>();
    let foreign = secret("demo-tikv-tls", &[("tls.key", "somebody else's")]);
    secrets
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    refused(
        &world,
        tls(),
        "ForeignObject",
        &[
            "Secret demo-tikv-tls",
            "was not made for this TikvSecurity",
            "Rename or delete it",
        ],
    )
    .await;
    secrets
        .delete("demo-tikv-tls", &DeleteParams::default())
        .await
        .unwrap();

    world.pd.lock().unwrap().tiflash.insert(1);
    refused(
        &world,
        tls(),
        "NotTikv",
        &["demo-tikv-0", "TiFlash", "StatefulSet of TiKV"],
    )
    .await;
    world.pd.lock().unwrap().tiflash.clear();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_that_can_not_be_used_changes_nothing() {
    let world = World::new(1).await;
    let _operator = world.operator();
    let secrets = world.api::<Secret>();
    let service = Kms::start((fresh_address(), 8443).into());
    let denied = json!({"__type": "AccessDeniedException", "message": "not you"});
    let signs =
        json!({"KeyMetadata": {"KeyId": "k", "KeyState": "Enabled", "KeyUsage": "SIGN_VERIFY"}});

    refused(
        &world,
        kms(&service.endpoint),
        "MasterKeyMalformed",
        &[
            "Secret kms-credentials",
            "does not exist",
            "Create the Secret",
        ],
    )
    .await;
    let credentials = secret(
        "kms-credentials",
        &[
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ],
    );
    secrets
        .create(&PostParams::default(), &credentials)
        .await
        .unwrap();
    service.say(400, denied);
    refused(
        &world,
        kms(&service.endpoint),
        "MasterKeyDenied",
        &["alias/demo", "not you", "kms:Decrypt"],
    )
    .await;
    // Another endpoint is another question: what was answered before is remembered for some seconds.
    let other = Kms::start((fresh_address(), 8443).into());
    other.say(200, signs);
    refused(
        &world,
        kms(&other.endpoint),
        "MasterKeyWrong",
        &["alias/demo", "SIGN_VERIFY", "symmetric key"],
    )
    .await;
    let nobody = format!("http://{}:8443", fresh_address());
    refused(
        &world,
        kms(&nobody),
        "MasterKeyUnavailable",
        &["alias/demo", "does not answer", "Check the way"],
    )
    .await;

    let mut spec = kms("");
    spec["environment"] = json!("staging");
    spec["encryption"]["masterKey"] = json!({"file": {"secret": {"name": "short", "key": "key"}}});
    secrets
        .create(
            &PostParams::default(),
            &secret("short", &[("key", "abc\n")]),
        )
        .await
        .unwrap();
    refused(
        &world,
        spec,
        "MasterKeyMalformed",
        &["Secret short", "65 bytes"],
    )
    .await;

    let mut spec = kms("");
    spec["encryption"]["masterKey"] = hsm("/opt/vendor/libpkcs11.so");
    refused(
        &world,
        spec.clone(),
        "MasterKeyMalformed",
        &["Secret hsm-pin", "does not exist"],
    )
    .await;
    let pin = secret("hsm-pin", &[("pin", "73917391")]);
    secrets.create(&PostParams::default(), &pin).await.unwrap();
    refused(
        &world,
        spec,
        "MasterKeyMalformed",
        &[
            "tikv/stores",
            "/opt/vendor/libpkcs11.so",
            "the one for HSMs",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_ship_is_accepted_to_the_letter() {
    let world = World::new(0).await;
    let mut files: Vec<_> = std::fs::read_dir("manifests/examples")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push("manifests/install.yaml".into());
    assert!(files.len() > 4, "{files:?}");
    for namespace in ["tikv", "tikv-security", "shop"] {
        let made =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let made: Namespace = serde_json::from_value(made).unwrap();
        let all = Api::<Namespace>::all(world.client.clone());
        all.create(&PostParams::default(), &made).await.unwrap();
    }
    // As `kubectl apply --server-side --dry-run=server`, which refuses unknown fields.
    let mut params = PatchParams::apply("kubectl")
        .validation(ValidationDirective::Strict)
        .force();
    params.dry_run = true;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object: DynamicObject = DynamicObject::deserialize(document).unwrap();
            let kind = object.types.clone().unwrap();
            let (group, version) = kind
                .api_version
                .rsplit_once('/')
                .unwrap_or(("", &kind.api_version));
            let kind = GroupVersionKind::gvk(group, version, &kind.kind);
            let (resource, _) = pinned_kind(&world.client, &kind).await.unwrap();
            let api: Api<DynamicObject> = match &object.metadata.namespace {
                Some(namespace) => Api::namespaced_with(world.client.clone(), namespace, &resource),
                None => Api::all_with(world.client.clone(), &resource),
            };
            let sent = api
                .patch(&object.name_any(), &params, &Patch::Apply(&object))
                .await;
            assert!(
                sent.is_ok(),
                "{}: {}: {sent:?}",
                file.display(),
                object.name_any()
            );
        }
    }
}

fn finding(code: &str, message: &str, remedy: &str) -> Value {
    json!({"code": code, "severity": "Error", "message": message, "remedy": remedy})
}

async fn rotate(world: &World, word: &str) {
    let patch = Patch::Merge(json!({"spec": {"rotate": {"dataKey": word}}}));
    let resources = world.api::<TikvSecurity>();
    resources
        .patch("demo", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_refuses_is_said_and_no_store_is_lost_for_it() {
    let world = World::new(2).await;
    let _operator = world.operator();
    let key = secret("master-key", &[("key", &format!("{}\n", "5a".repeat(32)))]);
    world
        .api()
        .create(&PostParams::default(), &key)
        .await
        .unwrap();
    let mut spec = kms("");
    spec["environment"] = json!("development");
    spec["encryption"]["masterKey"] =
        json!({"file": {"secret": {"name": "master-key", "key": "key"}}});
    world.secure(spec).await;
    world.until_condition("Ready", "True").await;

    // Damaged while TiKV runs: TiKV would find out at its next start, so there is none.
    let pods = world.pod_uids().await;
    let said = finding(
        "FileDictionaryDamaged",
        "file.dict is damaged: record 7",
        "restore it from a snapshot",
    );
    let said = json!({"error": said, "desiredGeneration": 1});
    world
        .agents
        .lock()
        .unwrap()
        .insert("demo-tikv-0".to_owned(), said);
    rotate(&world, "first").await;
    let message = world.until_reason("Blocked", "StoreDamaged").await;
    for word in [
        "demo-tikv-0 (store 1)",
        "record 7",
        "Restore it from a snapshot.",
    ] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    world.quiet().await;
    assert_eq!(world.pod_uids().await, pods);
    assert!(world.pd.lock().unwrap().evicting.is_empty());

    // No room: tried once, on one store, which serves again as before.
    let said = finding(
        "NoSpace",
        "/var/lib/tikv: 5 bytes are free, 9 are needed",
        "enlarge the volume",
    );
    let said = json!({"error": said, "satisfied": false});
    world
        .agents
        .lock()
        .unwrap()
        .insert("demo-tikv-0".to_owned(), said.clone());
    world
        .agents
        .lock()
        .unwrap()
        .insert("demo-tikv-1".to_owned(), said);
    let message = world.until_reason("DataEncrypted", "AgentFailed").await;
    for word in [
        "demo-tikv-1",
        "9 are needed",
        "enlarge the volume",
        "rotate.dataKey",
    ] {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    world.quiet().await;
    let changed: Vec<_> = world
        .pod_uids()
        .await
        .into_iter()
        .filter(|pod| !pods.contains(pod))
        .collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    {
        let pd = world.pd.lock().unwrap();
        assert!(pd.evicting.is_empty() && pd.maintenance.is_none());
    }

    // Room was made, and it is asked for again.
    world.agents.lock().unwrap().clear();
    rotate(&world, "second").await;
    world.until_condition("Ready", "True").await;
}
