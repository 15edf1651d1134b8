//! Master keys that TiKV does not know. A key is made once, wrapped by its provider, and stored in a Secret that can
//! not be changed; the agent unwraps it into memory. The Secret has no owner: with it the data would be lost.

use std::fmt::Write as _;
use std::path::Path;

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::action::Action;
use super::desired::{Blocker, Desired};
use super::merge::put;
use super::names::{
    AGENT_CONTAINER, HSM_CONFIG, PART_MASTER_KEY, UNWRAPPED, VOLUME_HSM, VOLUME_UNWRAPPED, WRAPPED,
    WRAPPED_KEY, volume_wrapped, wrapped_secret,
};
use super::objects::{is_ours, metadata};
use super::observed::{Observed, SecretContent};
use crate::api::ANNOTATION_WRAPPED_BY;
use crate::api::v1alpha1::{GoDuration, MasterKeyChoice, SecretKeyRef};
use crate::api::wrapped::{Unwrapper, WrappedKey};

mod pkcs11;
mod vault;

pub use self::pkcs11::pkcs11;
pub use self::vault::vault;

/// How the agent's arguments with a key begin.
pub const ARGUMENT: &str = "--wrapped-key=";

/// A wrapped master key and what the pods need for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// Tells it from others: name of its file for TiKV, and end of the names of its Secret and volume.
    pub id: String,
    /// The Secret with its wrapped form.
    pub secret: String,
    /// Who wraps it, for people.
    pub by: String,
    /// Beside the wrapped form, what the agent needs to have it unwrapped: sources of a projected volume.
    sources: Vec<Value>,
    /// The Secret with the configuration of a vendor's library.
    configuration: Option<String>,
    /// What the agent is told.
    order: WrappedKey,
}

/// What one kind of provider adds.
struct Provider {
    sources: Vec<Value>,
    configuration: Option<String>,
    offline_grace: Option<GoDuration>,
    by: Unwrapper,
}

impl Wrapped {
    fn new(resource: &str, choice: MasterKeyChoice<'_>, provider: Provider) -> Self {
        let id = id(choice);
        let grace = provider.offline_grace.map(|grace| grace.get().as_secs());
        Self {
            secret: wrapped_secret(resource, &id),
            by: format!("{} {}", choice.kind(), choice.id()),
            sources: provider.sources,
            configuration: provider.configuration,
            order: WrappedKey {
                file: format!("{UNWRAPPED}/{id}"),
                wrapped: file(&id, WRAPPED_KEY),
                dispensable: false,
                offline_grace_seconds: grace.and_then(|seconds| u64::try_from(seconds).ok()),
                by: provider.by,
            },
            id,
        }
    }

    /// The Secret with the configuration of a vendor's library.
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// TiKV's key file.
    pub fn file(&self) -> &str {
        &self.order.file
    }

    /// The argument by which the agent is told.
    pub fn argument(&self) -> String {
        let order = serde_json::to_string(&self.order).unwrap_or_default();
        format!("{ARGUMENT}{order}")
    }

    fn add_volumes(&self, pod: &mut Value, container: usize) {
        let memory =
            json!({"name": VOLUME_UNWRAPPED, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
        put(&mut pod["volumes"], "name", memory);
        let mut own = json!({"secret": {
            "name": self.secret, "items": [{"key": WRAPPED_KEY, "path": WRAPPED_KEY}],
        }});
        if self.order.dispensable {
            own["secret"]["optional"] = json!(true);
        }
        let mut sources = vec![own];
        sources.extend(self.sources.iter().cloned());
        let volume = json!({"name": volume_wrapped(&self.id), "projected": {"sources": sources}});
        put(&mut pod["volumes"], "name", volume);
        let mounts = &mut pod["containers"][container]["volumeMounts"];
        let mount = json!({"name": VOLUME_UNWRAPPED, "mountPath": UNWRAPPED, "readOnly": true});
        put(mounts, "mountPath", mount);
    }

    /// The same, but pods start without: nobody needs it but perhaps once more.
    #[must_use]
    pub fn dispensable(mut self) -> Self {
        self.order.dispensable = true;
        for source in &mut self.sources {
            if source["secret"].is_object() {
                source["secret"]["optional"] = json!(true);
            }
        }
        self
    }
}

/// Mounts the memory into the container at `container`, and the rest nowhere yet: what unwraps the keys is not for TiKV.
pub fn add_volumes(keys: &[Wrapped], pod: &mut Value, container: usize) {
    for key in keys {
        key.add_volumes(pod, container);
    }
    let Some(configuration) = keys.iter().find_map(Wrapped::configuration) else {
        return;
    };
    let needed = |key: &Wrapped| key.configuration.is_some() && !key.order.dispensable;
    let secret = json!({"secretName": configuration, "optional": !keys.iter().any(needed)});
    let volume = json!({"name": VOLUME_HSM, "secret": secret});
    put(&mut pod["volumes"], "name", volume);
}

/// What the agent mounts for these keys, beside what TiKV mounts.
pub fn agent_mounts(keys: &[Wrapped], mounts: &mut Vec<Value>) {
    mounts.retain(|mount| mount["name"] != VOLUME_UNWRAPPED);
    mounts.push(json!({"name": VOLUME_UNWRAPPED, "mountPath": UNWRAPPED}));
    for key in keys {
        mounts.push(json!({
            "name": volume_wrapped(&key.id), "mountPath": directory(&key.id), "readOnly": true,
        }));
    }
    if keys.iter().any(|key| key.configuration.is_some()) {
        mounts.push(json!({"name": VOLUME_HSM, "mountPath": HSM_CONFIG, "readOnly": true}));
    }
}

/// Whether a volume is one for wrapped keys.
pub fn is_volume(name: &str) -> bool {
    name == VOLUME_UNWRAPPED || name == VOLUME_HSM || name.starts_with(&volume_wrapped(""))
}

/// Whether these keys need a volume.
pub fn needs(keys: &[Wrapped], volume: &str) -> bool {
    let own = |key: &Wrapped| match volume {
        VOLUME_UNWRAPPED => true,
        VOLUME_HSM => key.configuration.is_some(),
        other => other == volume_wrapped(&key.id),
    };
    keys.iter().any(own)
}

/// The Secret that has this master key wrapped; `None` for one that TiKV knows.
pub fn secret_of(resource: &str, key: MasterKeyChoice<'_>) -> Option<String> {
    match key {
        MasterKeyChoice::VaultTransit(_) | MasterKeyChoice::Pkcs11(_) => {
            Some(wrapped_secret(resource, &id(key)))
        }
        MasterKeyChoice::AwsKms(_)
        | MasterKeyChoice::GcpKms(_)
        | MasterKeyChoice::AzureKeyVault(_)
        | MasterKeyChoice::File(_) => None,
    }
}

/// Makes the key where there is none yet. One that is there stays; one that is gone is not made anew while pods or their
/// template are configured with it, because their data is under the one that is gone.
pub fn make(observed: &Observed, desired: &Desired) -> Result<Option<Action>, Blocker> {
    let Some(encryption) = &desired.encryption else {
        return Ok(None);
    };
    let mut action = None;
    for wrapped in &encryption.access.wrapped {
        let made = make_one(observed, wrapped)?;
        // One from before is restored by a person, or not at all.
        action = action.or(made.filter(|_| !wrapped.order.dispensable));
    }
    Ok(action)
}

fn make_one(observed: &Observed, wrapped: &Wrapped) -> Result<Option<Action>, Blocker> {
    let name = &wrapped.secret;
    let found = observed.secrets.get(name);
    match found.map(|found| (is_ours(observed, &found.metadata), &found.content)) {
        Some((false, _)) => Err(Blocker::new(
            "ForeignObject",
            format!("Secret {name} exists and was not made for this TikvSecurity"),
            "Rename or delete it, or give the TikvSecurity another name.",
        )),
        Some((true, SecretContent::Wrapped)) => Ok(None),
        Some((true, _)) => Err(Blocker::new(
            "WrappedKeyUnusable",
            format!("Secret {name} has no wrapped master key under {WRAPPED_KEY}"),
            "Restore it from a backup of the cluster's objects: without it no store can start again.",
        )),
        None if in_use(observed, name) => Err(Blocker::new(
            "WrappedKeyMissing",
            format!(
                "Secret {name} is gone, and with it the only copy of the wrapped master key that the stores are under"
            ),
            "Restore it from a backup of the cluster's objects before any TiKV pod restarts: those that run have the key in memory, none can start without it.",
        )),
        None => {
            let notes = [(ANNOTATION_WRAPPED_BY, wrapped.by.clone())];
            Ok(Some(Action::WrapMasterKey {
                metadata: Box::new(metadata(observed, name, PART_MASTER_KEY, &notes)),
            }))
        }
    }
}

/// Whether the template or a pod mounts the Secret.
fn in_use(observed: &Observed, secret: &str) -> bool {
    let set = observed.tikv.stateful_set.as_ref();
    let template = set
        .and_then(|set| set.spec.as_ref())
        .and_then(|spec| spec.template.spec.as_ref());
    let pods = observed
        .tikv
        .pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref());
    let mut specs = pods.chain(template);
    specs.any(|spec: &PodSpec| {
        spec.volumes
            .iter()
            .flatten()
            .any(|volume| names(volume, secret))
    })
}

fn names(volume: &Volume, secret: &str) -> bool {
    let sources = volume
        .projected
        .as_ref()
        .and_then(|all| all.sources.as_ref());
    let mut secrets = sources
        .into_iter()
        .flatten()
        .filter_map(|source| source.secret.as_ref());
    secrets.any(|source| source.name == secret)
}

/// How a pod has the key in TiKV's file `path` unwrapped: what its agent is told, and where that comes from. `None` for a
/// key that nobody unwraps.
pub fn way(pod: &PodSpec, path: &Path) -> Option<String> {
    let agents = pod.init_containers.iter().flatten();
    let mut arguments = agents
        .filter(|container| container.name == AGENT_CONTAINER)
        .flat_map(|container| container.args.iter().flatten());
    let key = arguments.find_map(|argument| {
        let key: WrappedKey = argument.strip_prefix(ARGUMENT)?.parse().ok()?;
        (Path::new(&key.file) == path).then_some(key)
    })?;
    let own = volume_wrapped(&path.file_name()?.to_string_lossy());
    let volume = |name: &str| pod.volumes.iter().flatten().find(|one| one.name == name);
    let sources = volume(&own).and_then(|volume| volume.projected.as_ref()?.sources.as_ref());
    let configuration = volume(VOLUME_HSM).and_then(|volume| volume.secret.as_ref());
    let configuration = configuration.and_then(|secret| secret.secret_name.as_ref());
    Some(format!("{:?} {sources:?} {configuration:?}", key.by))
}

/// What tells one key from another does not depend on how it is reached.
fn id(key: MasterKeyChoice<'_>) -> String {
    let mut hash = Sha256::new();
    for part in key.identity() {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut short = String::new();
    for byte in hash.finalize().iter().take(4) {
        let _ = write!(short, "{byte:02x}");
    }
    short
}

fn directory(id: &str) -> String {
    format!("{WRAPPED}/{id}")
}

/// A file beside the wrapped form, in the agent's container.
fn file(id: &str, name: &str) -> String {
    format!("{}/{name}", directory(id))
}

/// One key of a Secret as such a file.
fn source(reference: &SecretKeyRef, name: &str) -> Value {
    let items = json!([{"key": reference.key, "path": name}]);
    json!({"secret": {"name": reference.name, "items": items}})
}
