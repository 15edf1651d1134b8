//! Whether the master key can be used: asked of the KMS itself, and remembered for some minutes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::error::Error;
use super::objects::Objects;
use super::reconcile::Context;
use crate::api::AWS_KEYS;
use crate::api::v1alpha1::{AwsKms, FileMasterKey, TikvSecurity};
use crate::kms::aws::{self, Settings, StaticCredentials};
use crate::kms::{Class, MasterKeyError, check_file_key};
use crate::plan::observed::{MasterKeyClass, MasterKeyProof};

/// A good proof holds for this long.
const USABLE: Duration = Duration::from_mins(1);
/// A refusal is asked again after this time.
const REFUSED: Duration = Duration::from_secs(20);
/// A KMS that has not answered by then is unavailable: other work waits behind this reconcile.
const PATIENCE: Duration = Duration::from_secs(15);

/// Proofs of the last minutes, by what was proven. Only saves requests: nothing is lost with it.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<String, (Instant, MasterKeyProof)>>);

/// Proves the key that the spec names.
pub(super) async fn prove(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
) -> Result<MasterKeyProof, Error> {
    let Some(encryption) = &resource.spec.encryption else {
        return Ok(MasterKeyProof::NotAsked);
    };
    match (&encryption.master_key.aws_kms, &encryption.master_key.file) {
        (Some(key), None) => prove_aws(&context.proofs, objects, key).await,
        (None, Some(key)) => prove_file(objects, key).await,
        // The planner says what is wrong with the spec.
        _ => Ok(MasterKeyProof::NotAsked),
    }
}

async fn prove_aws(
    proofs: &Proofs,
    objects: &Objects,
    key: &AwsKms,
) -> Result<MasterKeyProof, Error> {
    let secret = match &key.credentials_secret {
        None => None,
        Some(reference) => match objects.get::<Secret>(&reference.name).await? {
            Some(secret) => Some(secret),
            None => return Ok(no_secret(&reference.name)),
        },
    };
    let credentials = match secret.as_ref().map(credentials).transpose() {
        Ok(credentials) => credentials,
        Err(refused) => return Ok(refused),
    };
    let version = secret.and_then(|secret| secret.resource_version());
    let what = format!("{:?}", (key, version));
    if let Some(known) = proofs.recent(&what) {
        return Ok(known);
    }
    let kms = aws::AwsKms::new(Settings {
        key_id: key.key_id.clone(),
        region: Some(key.region.clone()),
        endpoint: key.endpoint.clone(),
        credentials,
    });
    let proof = match tokio::time::timeout(PATIENCE, crate::kms::prove(&kms)).await {
        Ok(Ok(())) => MasterKeyProof::Usable,
        Ok(Err(error)) => refused(error.class, error.to_string(), error.remedy()),
        Err(_) => MasterKeyProof::Refused {
            class: MasterKeyClass::Unavailable,
            message: format!("KMS key {} did not answer in {PATIENCE:?}", key.key_id),
            remedy: "Check the way from the operator to the KMS endpoint: network policy, DNS, \
                     proxy. It is tried again by itself."
                .to_owned(),
        },
    };
    proofs.remember(what, proof.clone());
    Ok(proof)
}

async fn prove_file(objects: &Objects, key: &FileMasterKey) -> Result<MasterKeyProof, Error> {
    let reference = &key.secret;
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(no_secret(&reference.name));
    };
    let Some(text) = secret
        .data
        .as_ref()
        .and_then(|data| data.get(&reference.key))
    else {
        return Ok(no_key(&reference.name, &reference.key));
    };
    let path = format!("Secret {} key {}", reference.name, reference.key);
    Ok(match check_file_key(Path::new(&path), &text.0) {
        Ok(()) => MasterKeyProof::Usable,
        Err(error) => {
            let error = MasterKeyError::from(error);
            let remedy = format!(
                "Put 64 hexadecimal digits and one newline, 65 bytes, under the key {} of Secret {}.",
                reference.key, reference.name
            );
            refused(error.class(), error.to_string(), &remedy)
        }
    })
}

fn credentials(secret: &Secret) -> Result<StaticCredentials, MasterKeyProof> {
    let [id, key, token] = AWS_KEYS.map(|name| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        let text = data.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        text.map(str::trim).filter(|text| !text.is_empty())
    });
    let name = secret.name_any();
    let id = id.ok_or_else(|| no_key(&name, AWS_KEYS[0]))?;
    let key = key.ok_or_else(|| no_key(&name, AWS_KEYS[1]))?;
    Ok(StaticCredentials::new(id, key, token))
}

fn no_secret(name: &str) -> MasterKeyProof {
    MasterKeyProof::Refused {
        class: MasterKeyClass::Malformed,
        message: format!("the Secret {name} that spec.encryption.masterKey names does not exist"),
        remedy: format!("Create the Secret {name} in the same namespace, or correct its name."),
    }
}

fn no_key(name: &str, key: &str) -> MasterKeyProof {
    MasterKeyProof::Refused {
        class: MasterKeyClass::Malformed,
        message: format!("the Secret {name} has no key {key}"),
        remedy: format!("Put {key} into the Secret {name}."),
    }
}

fn refused(class: Class, message: String, remedy: &str) -> MasterKeyProof {
    let class = match class {
        Class::Unavailable => MasterKeyClass::Unavailable,
        Class::Denied => MasterKeyClass::Denied,
        Class::WrongKey | Class::NotFound | Class::Disabled => MasterKeyClass::WrongKey,
        Class::Malformed => MasterKeyClass::Malformed,
    };
    MasterKeyProof::Refused {
        class,
        message,
        remedy: remedy.to_owned(),
    }
}

impl Proofs {
    fn recent(&self, what: &str) -> Option<MasterKeyProof> {
        let all = self.0.lock().ok()?;
        let (at, proof) = all.get(what)?;
        let holds = match proof {
            MasterKeyProof::Usable => USABLE,
            MasterKeyProof::NotAsked | MasterKeyProof::Refused { .. } => REFUSED,
        };
        (at.elapsed() < holds).then(|| proof.clone())
    }

    fn remember(&self, what: String, proof: MasterKeyProof) {
        if let Ok(mut all) = self.0.lock() {
            all.retain(|_, (at, _)| at.elapsed() < USABLE);
            all.insert(what, (Instant::now(), proof));
        }
    }
}
