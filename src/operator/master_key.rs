//! Whether the master key can be used: asked of the KMS itself, and remembered for some minutes. And how one is made that
//! TiKV does not know.

mod pkcs11;
mod vault;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use zeroize::Zeroizing;

pub use self::vault::Clients;
use super::error::Error;
use super::missing::Missing;
use super::objects::Objects;
use super::reconcile::Context;
use crate::api::AWS_KEYS;
use crate::api::v1alpha1::{
    AwsKms, AzureKeyVault, FileMasterKey, GcpKms, GcpVendor, MasterKey, MasterKeyChoice, Phase,
    RingKey, TikvSecurity,
};
use crate::crypto::secret::SecretBytes;
use crate::kms::aws::{self, Settings, StaticCredentials};
use crate::kms::{Class, Kms, MasterKeyError, azure, check_file_key, gcp};
use crate::plan::names::WRAPPED_KEY;
use crate::plan::observed::{KeyProbe, MasterKeyClass, MasterKeyProof};
use crate::plan::ring;
use crate::plan::wrapped::secret_of;

/// A good proof holds for this long while nothing is being done.
const USABLE: Duration = Duration::from_mins(1);
/// And for this long while something is: a store that is stopped can not start again without its KMS.
const USABLE_AT_WORK: Duration = Duration::from_secs(5);
/// A refusal is asked again after this time.
const REFUSED: Duration = Duration::from_secs(20);
/// A KMS that has not answered by then is unavailable: other work waits behind this reconcile.
const PATIENCE: Duration = Duration::from_secs(15);

/// Of keys that nobody names any more nothing is known after this time.
const FORGET: SignedDuration = SignedDuration::from_hours(1);

/// Proofs of the last minutes, by what was proven. Only saves requests: nothing is lost with it.
#[derive(Debug, Default)]
pub(super) struct Proofs(
    Mutex<HashMap<String, (Instant, MasterKeyProof)>>,
    Mutex<HashMap<String, KeyProbe>>,
);

/// Proves the key that the spec names.
pub(super) async fn prove(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
) -> Result<MasterKeyProof, Error> {
    let Some(encryption) = &resource.spec.encryption else {
        return Ok(MasterKeyProof::NotAsked);
    };
    prove_key(context, objects, resource, &encryption.master_key).await
}

/// Proves the other master keys that the pods are configured with.
pub(super) async fn prove_configured(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
    agent_config: Option<&ConfigMap>,
) -> Result<Vec<(MasterKey, MasterKeyProof)>, Error> {
    let Some(encryption) = &resource.spec.encryption else {
        return Ok(Vec::new());
    };
    let Some(ring) = ring::remembered(resource, agent_config) else {
        return Ok(Vec::new());
    };
    let mut proofs = Vec::new();
    for RingKey { key, .. } in ring.previous.into_iter().chain([ring.in_force]) {
        if key != encryption.master_key {
            let proof = prove_key(context, objects, resource, &key).await?;
            proofs.push((key, proof));
        }
    }
    Ok(proofs)
}

async fn prove_key(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
    key: &MasterKey,
) -> Result<MasterKeyProof, Error> {
    let choice = key.choice();
    let secret = choice.and_then(|choice| secret_of(&resource.name_any(), choice));
    let subject = match choice {
        Some(MasterKeyChoice::AwsKms(key)) => aws_subject(objects, key).await?,
        Some(MasterKeyChoice::GcpKms(key)) => google_subject(objects, key).await?,
        Some(MasterKeyChoice::AzureKeyVault(key)) => azure_subject(objects, key).await?,
        Some(MasterKeyChoice::VaultTransit(key)) => {
            let subject = vault::subject(context, objects, key).await?;
            with_wrapped(objects, secret, subject).await?
        }
        Some(MasterKeyChoice::Pkcs11(key)) => {
            let subject = pkcs11::subject(objects, key).await?;
            with_wrapped(objects, secret, subject).await?
        }
        Some(MasterKeyChoice::File(key)) => return prove_file(objects, key).await,
        // The planner says what is wrong with the spec.
        None => return Ok(MasterKeyProof::NotAsked),
    };
    match subject {
        Ok(mut subject) => {
            // What is asked for has changed: what is known of the key was not asked for that.
            subject.what += &format!(", generation {:?}", resource.metadata.generation);
            let usable = if at_work(resource) {
                USABLE_AT_WORK
            } else {
                USABLE
            };
            let about = about(resource, key);
            Ok(prove_kms(&context.proofs, subject, usable, about).await)
        }
        Err(refused) => Ok(refused),
    }
}

/// True unless all that was asked for was done when last looked.
fn at_work(resource: &TikvSecurity) -> bool {
    !resource
        .status
        .as_ref()
        .is_some_and(|status| status.phase == Some(Phase::Ready))
}

/// A key to be proven.
struct Subject {
    /// All that decides whether it can be used: the same text, the same proof.
    what: String,
    kms: Arc<dyn Kms>,
    /// What must be unwrapped, when the key was made before.
    wrapped: Option<Vec<u8>>,
}

/// The Secrets with wrapped master keys: of the one that the resource names, and of those that are configured.
pub(super) fn wrapped_secrets(
    resource: &TikvSecurity,
    agent_config: Option<&ConfigMap>,
) -> Vec<String> {
    let spec = resource.spec.encryption.as_ref();
    let spec = spec.map(|encryption| encryption.master_key.clone());
    let ring = ring::remembered(resource, agent_config);
    let keys = ring
        .into_iter()
        .flat_map(|ring| ring.previous.into_iter().chain([ring.in_force]));
    let keys = keys.map(|one| one.key).chain(spec);
    let name = resource.name_any();
    let mut secrets: Vec<String> = keys
        .filter_map(|key| secret_of(&name, key.choice()?))
        .collect();
    secrets.sort();
    secrets.dedup();
    secrets
}

/// What was wrapped before is what is to be proven.
async fn with_wrapped(
    objects: &Objects,
    name: Option<String>,
    subject: Result<Subject, MasterKeyProof>,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    let mut subject = match subject {
        Ok(subject) => subject,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(name) = name
        && let Some(secret) = objects.get::<Secret>(&name).await?
    {
        subject.what += &format!(", wrapped {:?}", secret.uid());
        subject.wrapped = content(&secret, WRAPPED_KEY).map(<[u8]>::to_vec);
    }
    Ok(Ok(subject))
}

/// Makes a master key by the provider that the resource names; its wrapped form.
pub(super) async fn wrap(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
) -> Result<Vec<u8>, Error> {
    let doing = || "making a master key".to_owned();
    let key = resource
        .spec
        .encryption
        .as_ref()
        .map(|wanted| &wanted.master_key);
    let subject = match key.and_then(MasterKey::choice) {
        Some(MasterKeyChoice::VaultTransit(key)) => vault::subject(context, objects, key).await?,
        Some(MasterKeyChoice::Pkcs11(key)) => pkcs11::subject(objects, key).await?,
        Some(
            MasterKeyChoice::AwsKms(_)
            | MasterKeyChoice::GcpKms(_)
            | MasterKeyChoice::AzureKeyVault(_)
            | MasterKeyChoice::File(_),
        )
        | None => {
            return Err(Error::Gone(format!(
                "{}: another one is asked for now",
                doing()
            )));
        }
    };
    let subject = subject.map_err(|_| {
        Error::Gone(format!(
            "{}: it was proven before, and can not be used now",
            doing()
        ))
    })?;
    crate::kms::make_wrapped(subject.kms.as_ref())
        .await
        .map_err(|source| Error::Kms {
            doing: doing(),
            source,
        })
}

/// Whose key it is: names of objects and keys, nothing secret.
fn about(resource: &TikvSecurity, key: &MasterKey) -> String {
    format!("{:?} {key:?}", resource.metadata.uid)
}

async fn prove_kms(
    proofs: &Proofs,
    subject: Subject,
    usable: Duration,
    about: String,
) -> MasterKeyProof {
    let Subject { what, kms, wrapped } = subject;
    if let Some(known) = proofs.recent(&what, usable) {
        return known;
    }
    let begun = Instant::now();
    let proving = async {
        match &wrapped {
            Some(wrapped) => crate::kms::prove_wrapped(kms.as_ref(), wrapped).await,
            None => crate::kms::prove(kms.as_ref()).await,
        }
    };
    let proof = match tokio::time::timeout(PATIENCE, proving).await {
        Ok(Ok(())) => MasterKeyProof::Usable,
        Ok(Err(error)) => refused(error.class, error.to_string(), error.remedy()),
        Err(_) => MasterKeyProof::Refused {
            class: MasterKeyClass::Unavailable,
            message: format!("KMS key {} did not answer in {PATIENCE:?}", kms.key()),
            remedy: "Check the way from the operator to the KMS endpoint: network policy, DNS, \
                     proxy. It is tried again by itself."
                .to_owned(),
        },
    };
    proofs.remember(what, proof.clone());
    proofs.asked(about, begun.elapsed());
    proof
}

async fn aws_subject(
    objects: &Objects,
    key: &AwsKms,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    let secret = match &key.credentials_secret {
        None => None,
        Some(reference) => match objects.get::<Secret>(&reference.name).await? {
            Some(secret) => Some(secret),
            None => return Ok(Err(no_secret(&reference.name))),
        },
    };
    let credentials = match secret.as_ref().map(credentials).transpose() {
        Ok(credentials) => credentials,
        Err(what) => return Ok(Err(missing(&what))),
    };
    let version = secret.and_then(|secret| secret.resource_version());
    Ok(Ok(Subject {
        what: format!("{:?}", (key, version)),
        kms: Arc::new(aws::AwsKms::new(Settings {
            key_id: key.key_id.clone(),
            region: Some(key.region.clone()),
            endpoint: key.endpoint.clone(),
            credentials,
        })),
        wrapped: None,
    }))
}

async fn google_subject(
    objects: &Objects,
    key: &GcpKms,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    let mut version = None;
    let mut credentials = gcp::Credentials::Default;
    if let Some(reference) = &key.credentials_secret {
        let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
            return Ok(Err(no_secret(&reference.name)));
        };
        let Some(content) = content(&secret, &reference.key) else {
            return Ok(Err(no_key(&reference.name, &reference.key)));
        };
        credentials = gcp::Credentials::Json(SecretBytes::new(content.to_vec()));
        version = secret.resource_version();
    }
    Ok(Ok(Subject {
        what: format!("{:?}", (key, version)),
        kms: Arc::new(gcp::GcpKms::new(gcp::Settings {
            key_id: key.key_id.clone(),
            vendor: match key.vendor {
                GcpVendor::Gcp => gcp::Vendor::V1,
                GcpVendor::GcpV2 => gcp::Vendor::V2,
            },
            endpoint: key.endpoint.clone(),
            credentials,
        })),
        wrapped: None,
    }))
}

async fn azure_subject(
    objects: &Objects,
    key: &AzureKeyVault,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    let reference = &key.client_certificate_secret;
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(Err(no_secret(&reference.name)));
    };
    let Some(content) = content(&secret, &reference.key) else {
        return Ok(Err(no_key(&reference.name, &reference.key)));
    };
    Ok(Ok(Subject {
        what: format!("{:?}", (key, secret.resource_version())),
        kms: Arc::new(azure::AzureKeyVault::new(azure::Settings {
            key_name: key.key_name.clone(),
            vault_url: key.keyvault_url.clone(),
            hsm_url: azure::hsm_url(&key.hsm_name),
            tenant_id: key.tenant_id.clone(),
            client_id: key.client_id.clone(),
            credential: azure::Credential::Certificate {
                content: SecretBytes::new(content.to_vec()),
                password: Zeroizing::default(),
            },
            authority: azure::AUTHORITY.to_owned(),
        })),
        wrapped: None,
    }))
}

fn content<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let data = secret.data.as_ref()?.get(key)?;
    Some(&data.0)
}

async fn prove_file(objects: &Objects, key: &FileMasterKey) -> Result<MasterKeyProof, Error> {
    let reference = &key.secret;
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(no_secret(&reference.name));
    };
    let Some(text) = content(&secret, &reference.key) else {
        return Ok(no_key(&reference.name, &reference.key));
    };
    let path = format!("Secret {} key {}", reference.name, reference.key);
    Ok(match check_file_key(Path::new(&path), text) {
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

pub(super) fn credentials(secret: &Secret) -> Result<StaticCredentials, Missing> {
    let [id, key, token] = AWS_KEYS.map(|name| {
        let text = content(secret, name).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.map(str::trim).filter(|text| !text.is_empty())
    });
    let lacks = |key: &str| Missing::Key {
        secret: secret.name_any(),
        key: key.to_owned(),
    };
    let id = id.ok_or_else(|| lacks(AWS_KEYS[0]))?;
    let key = key.ok_or_else(|| lacks(AWS_KEYS[1]))?;
    Ok(StaticCredentials::new(id, key, token))
}

fn no_secret(name: &str) -> MasterKeyProof {
    missing(&Missing::Secret(name.to_owned()))
}

fn no_key(name: &str, key: &str) -> MasterKeyProof {
    missing(&Missing::Key {
        secret: name.to_owned(),
        key: key.to_owned(),
    })
}

fn missing(what: &Missing) -> MasterKeyProof {
    MasterKeyProof::Refused {
        class: match what {
            Missing::Account => MasterKeyClass::Denied,
            Missing::Secret(_) | Missing::Key { .. } | Missing::Login | Missing::Solver => {
                MasterKeyClass::Malformed
            }
        },
        message: what.message("spec.encryption.masterKey"),
        remedy: what.remedy(),
    }
}

fn refused(class: Class, message: String, remedy: &str) -> MasterKeyProof {
    let class = match class {
        Class::Unavailable => MasterKeyClass::Unavailable,
        Class::Denied => MasterKeyClass::Denied,
        Class::WrongKey => MasterKeyClass::WrongKey,
        Class::NotFound => MasterKeyClass::NotFound,
        Class::Disabled => MasterKeyClass::Disabled,
        Class::PendingDeletion => MasterKeyClass::PendingDeletion,
        Class::Malformed => MasterKeyClass::Malformed,
    };
    MasterKeyProof::Refused {
        class,
        message,
        remedy: remedy.to_owned(),
    }
}

impl Proofs {
    fn recent(&self, what: &str, usable: Duration) -> Option<MasterKeyProof> {
        let all = self.0.lock().ok()?;
        let (at, proof) = all.get(what)?;
        let holds = match proof {
            MasterKeyProof::Usable => usable,
            MasterKeyProof::NotAsked | MasterKeyProof::Refused { .. } => REFUSED,
        };
        (at.elapsed() < holds).then(|| proof.clone())
    }

    /// When the key that the spec names was asked last, and how long that took; `None` for a key that no service holds.
    pub fn probe(&self, resource: &TikvSecurity) -> Option<KeyProbe> {
        let key = &resource.spec.encryption.as_ref()?.master_key;
        let all = self.1.lock().ok()?;
        all.get(&about(resource, key)).copied()
    }

    fn asked(&self, about: String, took: Duration) {
        if let Ok(mut all) = self.1.lock() {
            let now = Timestamp::now();
            all.retain(|_, probe| now.duration_since(probe.checked_at) < FORGET);
            let probe = KeyProbe {
                checked_at: now,
                latency_milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            };
            all.insert(about, probe);
        }
    }

    fn remember(&self, what: String, proof: MasterKeyProof) {
        if let Ok(mut all) = self.0.lock() {
            all.retain(|_, (at, _)| at.elapsed() < USABLE);
            all.insert(what, (Instant::now(), proof));
        }
    }
}
