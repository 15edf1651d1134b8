//! Writes the Secret of a client certificate, all of it in one go.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::observe::{KEY_STORE, PASSWORD, TRUST_STORE, password};
use crate::api::v1alpha1::{IssuedCertificate, TikvClientCertificate};
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_SUBJECT};
use crate::issuer::Order;
use crate::operator::error::Error;
use crate::operator::issuer::{self, stored::StoredCa};
use crate::operator::objects::Objects;
use crate::operator::observe::secrets::{CA, CERTIFICATE, KEY, field, set};
use crate::operator::reconcile::Context;
use crate::plan::client_certificate::{ClientAction, request};
use crate::tls::bundle::TlsSet;
use crate::tls::keystore::{self, Password};
use crate::tls::revocation::Pointers;

/// Every key that is ours.
const KEYS: [&str; 6] = [CA, CERTIFICATE, KEY, KEY_STORE, TRUST_STORE, PASSWORD];

/// What is to be in the Secret.
pub(super) struct Made {
    set: TlsSet,
    serial: String,
    stored: Option<Secret>,
    /// What is to be told of the certificate before it is in the Secret, when it is a new one.
    pub issued: Option<IssuedCertificate>,
}

/// Issues, or completes what is there. Writes nothing.
pub(super) async fn make(
    context: &Context,
    objects: &Objects,
    cluster: &Objects,
    action: &ClientAction,
    reserved: Option<&IssuedCertificate>,
) -> Result<Made, Error> {
    let name = action.metadata.name.clone().unwrap_or_default();
    let stored: Option<Secret> = objects.get(&name).await?;
    let version = stored
        .as_ref()
        .and_then(|one| one.metadata.resource_version.clone());
    if version != action.replaces {
        return Err(Error::Gone(format!(
            "Secret {}/{name} was changed since it was looked at",
            objects.namespace()
        )));
    }
    let (set, authority) = made(context, cluster, stored.as_ref(), action, reserved).await?;
    let now = Timestamp::now();
    let checked = set.check_client(now).map_err(|problem| {
        Error::Malformed(format!(
            "the certificate for Secret {name} would not work, so it is not written: {problem}"
        ))
    })?;
    Ok(Made {
        set,
        issued: authority.map(|authority| {
            let issued = IssuedCertificate {
                serial: checked.serial.clone(),
                authority,
                common_name: checked.common_name.unwrap_or_default(),
                not_after: checked.not_after,
            };
            let known = reserved.filter(|one| is_told(one, &issued));
            known.cloned().unwrap_or(issued)
        }),
        serial: checked.serial,
        stored,
    })
}

/// Whether what was told of a certificate is as good as what is to be told of it now. An attempt a little later makes it end a little
/// later, by much less than what has ended is remembered for.
fn is_told(told: &IssuedCertificate, now: &IssuedCertificate) -> bool {
    let later = now.not_after.duration_since(told.not_after);
    later < SignedDuration::from_hours(1)
        && (&told.serial, &told.authority, &told.common_name)
            == (&now.serial, &now.authority, &now.common_name)
}

/// Writes what was made.
pub(super) async fn write(
    objects: &Objects,
    resource: &TikvClientCertificate,
    action: &ClientAction,
    made: Made,
) -> Result<(), Error> {
    let name = request::secret_name(resource);
    let Made {
        set,
        serial,
        stored,
        ..
    } = made;
    let version = stored
        .as_ref()
        .and_then(|one| one.metadata.resource_version.clone());
    let mut data: BTreeMap<&str, Vec<u8>> = [
        (CA, set.ca.clone()),
        (CERTIFICATE, set.certificate.clone()),
        (KEY, set.key.expose().to_vec()),
    ]
    .into();
    if action.pkcs12 {
        let known = password(objects, resource, stored.as_ref()).await?;
        let known = known.map_err(|why| Error::Gone(format!("the password for PKCS#12: {why}")))?;
        let password = match known {
            Some(password) => password,
            None => Password::random().map_err(|error| {
                Error::Malformed(format!(
                    "the operating system gave no random numbers: {error}"
                ))
            })?,
        };
        let made = keystore::write(&set, &password)
            .map_err(|error| Error::Malformed(format!("Secret {name}: {error}")))?;
        data.insert(KEY_STORE, made.key_store);
        data.insert(TRUST_STORE, made.trust_store);
        let own = resource.spec.pkcs12.as_ref();
        if own.is_some_and(|own| own.password_secret.is_none()) {
            data.insert(PASSWORD, password.expose().as_bytes().to_vec());
        }
    }
    let mut metadata = action.metadata.clone();
    let mut notes = BTreeMap::from([(ANNOTATION_APPLIED.to_owned(), serial)]);
    let before = stored.as_ref().map(|secret| secret.annotations());
    let had = before.is_some_and(|before| before.contains_key(ANNOTATION_SUBJECT));
    if had || !action.subject.is_empty() {
        notes.insert(ANNOTATION_SUBJECT.to_owned(), action.subject.clone());
    }
    metadata.annotations = Some(notes);
    let data = data
        .into_iter()
        .map(|(key, bytes)| (key.to_owned(), ByteString(bytes)))
        .collect();
    let secret = Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    match version {
        None => objects.create(&secret).await.map(drop),
        Some(version) => {
            let patch = patch(&secret, &version)?;
            objects.merge::<Secret>(&name, &patch).await.map(drop)
        }
    }
}

/// The set as it is to be, and the serial number of the CA that signed it now.
async fn made(
    context: &Context,
    cluster: &Objects,
    stored: Option<&Secret>,
    action: &ClientAction,
    reserved: Option<&IssuedCertificate>,
) -> Result<(TlsSet, Option<String>), Error> {
    let trust: Option<Secret> = cluster.get(&action.trust).await?;
    let trust = trust.ok_or_else(|| gone(cluster, &action.trust))?;
    let bundle = field(&trust, CA).map_err(|why| unusable(cluster, &action.trust, &why))?;
    let Some((spec, what_for)) = &action.issue else {
        let stored = stored.ok_or_else(|| Error::Gone("the Secret is not there".to_owned()))?;
        let mut kept = set(stored).map_err(Error::Gone)?;
        kept.ca = bundle.to_vec();
        return Ok((kept, None));
    };
    cluster.guard::<Secret>(&action.authority).await?;
    let ca: Option<Secret> = cluster.get(&action.authority).await?;
    let ca = ca.ok_or_else(|| gone(cluster, &action.authority))?;
    let ca = StoredCa::read(&ca).map_err(|why| unusable(cluster, &action.authority, &why))?;
    let serial = ca.certificates.anchor().serial.clone();
    let pointers = action
        .revocation_url
        .as_ref()
        .map(|url| Pointers::below(url, cluster.namespace(), cluster.owner(), &serial));
    let number = reserved.filter(|one| one.authority == serial);
    let signer = issuer::signer(context, cluster, &ca).await?;
    let order = Order {
        spec: spec.clone(),
        what_for: *what_for,
        anchor_pem: ca.certificates.anchor_pem().to_owned(),
        now: Timestamp::now(),
        pointers,
        number: number.map(|one| one.serial.clone()),
    };
    let issued = signer.issue(&order).await;
    let issued = issued.map_err(|source| {
        let (namespace, name) = (cluster.namespace(), cluster.owner());
        context
            .metrics
            .not_issued(namespace, name, &ca.issuer, source.class);
        Error::Issue {
            doing: format!("issuing the client certificate {}", spec.common_name),
            source,
        }
    })?;
    let set = TlsSet {
        ca: bundle.to_vec(),
        certificate: issued.certificate_pem.into_bytes(),
        key: issued.key_pem,
    };
    Ok((set, Some(serial)))
}

/// What is there becomes what is planned, if nobody wrote meanwhile: one write, so that no reader sees a key beside another
/// certificate. Keys of ours that are not wanted any more go; those of others stay.
fn patch(secret: &Secret, version: &str) -> Result<Value, Error> {
    let whole = serde_json::to_value(secret)
        .map_err(|error| Error::Malformed(format!("a Secret can not be written: {error}")))?;
    let mut data: Map<String, Value> = KEYS
        .map(|key| (key.to_owned(), Value::Null))
        .into_iter()
        .collect();
    if let Some(Value::Object(wanted)) = whole.get("data") {
        data.extend(wanted.clone());
    }
    Ok(json!({
        "metadata": {
            "resourceVersion": version,
            "labels": whole["metadata"]["labels"],
            "annotations": whole["metadata"]["annotations"],
            "ownerReferences": whole["metadata"]["ownerReferences"],
        },
        "data": data,
    }))
}

fn gone(cluster: &Objects, secret: &str) -> Error {
    Error::Gone(format!(
        "Secret {}/{secret} is not there",
        cluster.namespace()
    ))
}

fn unusable(cluster: &Objects, secret: &str, why: &str) -> Error {
    Error::Malformed(format!("Secret {}/{secret}: {why}", cluster.namespace()))
}
