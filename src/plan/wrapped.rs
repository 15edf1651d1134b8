//! Master keys that TiKV does not know. A key is made once, wrapped by its provider, and stored in a Secret that can
//! not be changed; the agent unwraps it into memory. The Secret has no owner: with it the data would be lost.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::action::Action;
use super::desired::{Blocker, Desired};
use super::merge::put;
use super::names::{
    PART_MASTER_KEY, UNWRAPPED, VOLUME_UNWRAPPED, WRAPPED, WRAPPED_KEY, volume_wrapped,
    wrapped_secret,
};
use super::objects::{is_ours, metadata};
use super::observed::{Observed, SecretContent};
use crate::api::ANNOTATION_WRAPPED_BY;
use crate::api::v1alpha1::{MasterKeyChoice, SecretKeyRef, VaultAuthChoice, VaultTransit};
use crate::api::wrapped::{Unwrapper, VaultLogin, VaultUnwrapper, WrappedKey};

/// How the agent's arguments with a key begin.
pub const ARGUMENT: &str = "--wrapped-key=";
/// Life of a service account's token, in seconds: the shortest that Kubernetes allows; the kubelet renews it.
const TOKEN_SECONDS: u64 = 600;

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
    /// What the agent is told.
    order: WrappedKey,
}

impl Wrapped {
    /// TiKV's key file.
    pub fn file(&self) -> &str {
        &self.order.file
    }

    /// The argument by which the agent is told.
    pub fn argument(&self) -> String {
        let order = serde_json::to_string(&self.order).unwrap_or_default();
        format!("{ARGUMENT}{order}")
    }

    /// Mounts the memory into the container at `container`, and the rest nowhere yet: what unwraps the key is not for TiKV.
    pub fn add_volumes(&self, pod: &mut Value, container: usize) {
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

/// What the agent mounts for these keys, beside what TiKV mounts.
pub fn agent_mounts(keys: &[Wrapped], mounts: &mut Vec<Value>) {
    mounts.retain(|mount| mount["name"] != VOLUME_UNWRAPPED);
    mounts.push(json!({"name": VOLUME_UNWRAPPED, "mountPath": UNWRAPPED}));
    for key in keys {
        mounts.push(json!({
            "name": volume_wrapped(&key.id), "mountPath": directory(&key.id), "readOnly": true,
        }));
    }
}

/// Whether a volume is one for wrapped keys.
pub fn is_volume(name: &str) -> bool {
    name == VOLUME_UNWRAPPED || name.starts_with(&volume_wrapped(""))
}

/// Whether these keys need a volume.
pub fn needs(keys: &[Wrapped], volume: &str) -> bool {
    let own = |key: &Wrapped| volume == VOLUME_UNWRAPPED || volume == volume_wrapped(&key.id);
    keys.iter().any(own)
}

/// The Secret that has this master key wrapped; `None` for one that TiKV knows.
pub fn secret_of(resource: &str, key: MasterKeyChoice<'_>) -> Option<String> {
    match key {
        MasterKeyChoice::VaultTransit(_) => Some(wrapped_secret(resource, &id(key))),
        MasterKeyChoice::AwsKms(_)
        | MasterKeyChoice::GcpKms(_)
        | MasterKeyChoice::AzureKeyVault(_)
        | MasterKeyChoice::File(_) => None,
    }
}

/// A key that Vault wraps.
pub fn vault(resource: &str, vault: &VaultTransit) -> Result<Wrapped, Blocker> {
    let choice = MasterKeyChoice::VaultTransit(vault);
    let id = id(choice);
    let file = |name: &str| format!("{}/{name}", directory(&id));
    let secret = |reference: &SecretKeyRef, path: &str| json!({"secret": {"name": reference.name, "items": [{"key": reference.key, "path": path}]}});
    let mut sources = Vec::new();
    let ca = vault.ca_secret.as_ref().map(|reference| {
        sources.push(secret(reference, "ca.crt"));
        file("ca.crt")
    });
    let auth = match vault.auth.choice() {
        Some(VaultAuthChoice::Kubernetes(kubernetes)) => {
            sources.push(json!({"serviceAccountToken": {
                "audience": kubernetes.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token",
            }}));
            VaultLogin::Kubernetes {
                mount: kubernetes.mount.clone(),
                role: kubernetes.role.clone(),
                token: file("token"),
            }
        }
        Some(VaultAuthChoice::AppRole(role)) => {
            sources.push(secret(&role.secret_id, "secret-id"));
            VaultLogin::AppRole {
                mount: role.mount.clone(),
                role_id: role.role_id.clone(),
                secret_id: file("secret-id"),
            }
        }
        Some(VaultAuthChoice::Token(reference)) => {
            sources.push(secret(reference, "vault-token"));
            VaultLogin::Token {
                file: file("vault-token"),
            }
        }
        None => {
            return Err(Blocker::new(
                "InvalidSpec",
                "encryption.masterKey.vaultTransit.auth does not name exactly one way to log in",
                "Write one of kubernetes, appRole and token.",
            ));
        }
    };
    let grace = vault.offline_grace.map(|grace| grace.get().as_secs());
    Ok(Wrapped {
        secret: wrapped_secret(resource, &id),
        by: format!("{} {}", choice.kind(), choice.id()),
        sources,
        order: WrappedKey {
            file: format!("{UNWRAPPED}/{id}"),
            wrapped: file(WRAPPED_KEY),
            dispensable: false,
            offline_grace_seconds: grace.and_then(|seconds| u64::try_from(seconds).ok()),
            by: Unwrapper::VaultTransit(VaultUnwrapper {
                address: vault.address.trim_end_matches('/').to_owned(),
                ca,
                namespace: vault.namespace.clone(),
                mount: vault.mount.clone(),
                key: vault.key.clone(),
                auth,
            }),
        },
        id,
    })
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
