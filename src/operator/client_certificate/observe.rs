//! Looks at what a plan for a client certificate may look at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, ResourceExt as _};

use crate::api::v1alpha1::{TikvClientCertificate, TikvSecurity};
use crate::operator::error::Error;
use crate::operator::issuer::stored::StoredCa;
use crate::operator::objects::Objects;
use crate::operator::observe::secrets::{self, CA, field, set};
use crate::operator::reconcile::Context;
use crate::operator::revocation::record;
use crate::plan::client_certificate::{
    ClientContent, ClientObserved, ClientSecret, PasswordState, Stores, request,
};
use crate::plan::names::{Part, authority_secret, next_authority_secret};
use crate::plan::observed::{SecretContent, SecretFacts};
use crate::plan::revocation::record::Stored;
use crate::tls::bundle::TlsSet;
use crate::tls::keystore::{self, Password};
use crate::tls::parse::parse_all;

/// Keys of the certificate's Secret, beside those of PEM.
pub(super) const KEY_STORE: &str = "keystore.p12";
/// The CA's certificates.
pub(super) const TRUST_STORE: &str = "truststore.p12";
/// The password, where it was made here.
pub(super) const PASSWORD: &str = "password";

/// Looks once, at the API server itself.
pub(super) async fn observe(
    context: &Context,
    objects: &Objects,
    cluster: &Objects,
    resource: &TikvClientCertificate,
) -> Result<ClientObserved, Error> {
    let security = security(context, cluster).await?;
    let mut observed = ClientObserved {
        resource: resource.clone(),
        namespace_labels: BTreeMap::new(),
        security,
        authority: None,
        cluster: None,
        secret: None,
        password: PasswordState::Usable,
        revoked: Stored::Absent,
        exports: context.exports.known(&resource.uid().unwrap_or_default()),
    };
    let stored: Option<Secret> = objects.get(&request::secret_name(resource)).await?;
    let password = password(objects, resource, stored.as_ref()).await?;
    if let Err(why) = &password {
        observed.password = PasswordState::Unusable(why.clone());
    }
    if observed.security.is_some() {
        observed.revoked = record::read(cluster).await?;
    }
    let mut bundle = None;
    let (mut ca, mut own) = (None, None);
    let tls = observed
        .security
        .as_ref()
        .and_then(|one| one.spec.tls.as_ref());
    if let Some(tls) = tls {
        if tls
            .clients
            .iter()
            .any(|one| !one.namespace_labels.is_empty())
        {
            observed.namespace_labels = labels(context, objects.namespace()).await?;
        }
        let name = Part::Client.secret(cluster.owner());
        if let Some(secret) = cluster.get::<Secret>(&name).await? {
            bundle = field(&secret, CA).ok().map(<[u8]>::to_vec);
            own = set(&secret).ok();
            let content = secrets::leaf(set(&secret).as_ref(), Timestamp::now());
            observed.cluster = Some(facts(secret, content));
        }
        if let Some((name, secret, found)) = signer(cluster, own.as_ref()).await? {
            let content = match &found {
                Ok(stored) => SecretContent::Authority(Box::new(stored.facts())),
                Err(why) => SecretContent::Unusable(why.clone()),
            };
            ca = found.ok();
            observed.authority = Some((name, facts(secret, content)));
        }
    }
    observed.secret = stored.map(|secret| ClientSecret {
        content: content(
            &secret,
            bundle.as_deref(),
            ca.as_ref(),
            password.ok().flatten().as_ref(),
        ),
        metadata: secret.metadata,
    });
    Ok(observed)
}

/// The `TikvSecurity`, when it is in a namespace that is looked after.
async fn security(context: &Context, cluster: &Objects) -> Result<Option<TikvSecurity>, Error> {
    if !context.looks_after(cluster.namespace()) {
        return Ok(None);
    }
    cluster.written(cluster.owner()).await
}

/// The CA that signs now: while the CA is rotated there are two, and clients follow the operator's own set.
async fn signer(
    cluster: &Objects,
    own: Option<&TlsSet>,
) -> Result<Option<(String, Secret, Result<StoredCa, String>)>, Error> {
    let present = authority_secret(cluster.owner());
    let mut first = None;
    for name in [present, next_authority_secret(cluster.owner())] {
        let Some(secret) = cluster.get::<Secret>(&name).await? else {
            continue;
        };
        let found = StoredCa::read(&secret);
        let signed = found
            .as_ref()
            .is_ok_and(|ca| own.is_some_and(|own| by(ca, own, Timestamp::now())));
        if signed {
            return Ok(Some((name, secret, found)));
        }
        first.get_or_insert((name, secret, found));
    }
    Ok(first)
}

/// Whether this CA vouches for the certificate of a set.
fn by(ca: &StoredCa, set: &TlsSet, now: Timestamp) -> bool {
    let set = TlsSet {
        ca: ca.certificates.anchor_pem().as_bytes().to_vec(),
        ..set.clone()
    };
    set.check_client(now).is_ok()
}

async fn labels(context: &Context, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
    let found = Api::<Namespace>::all(context.client.clone())
        .get(namespace)
        .await;
    let found = found.map_err(Error::kube(format!("reading Namespace {namespace}")))?;
    Ok(found.labels().clone())
}

/// The password for PKCS#12: that of the Secret which is named, or the one that was made. `Err` says why it is none.
pub(super) async fn password(
    objects: &Objects,
    resource: &TikvClientCertificate,
    stored: Option<&Secret>,
) -> Result<Result<Option<Password>, String>, Error> {
    let Some(wanted) = &resource.spec.pkcs12 else {
        return Ok(Ok(None));
    };
    let Some(named) = &wanted.password_secret else {
        let made = stored.and_then(|secret| field(secret, PASSWORD).ok());
        // One that somebody broke is made anew.
        return Ok(Ok(made.and_then(|bytes| Password::parse(bytes).ok())));
    };
    let secret: Option<Secret> = objects.get(&named.name).await?;
    let parsed = secret
        .ok_or_else(|| format!("there is no Secret {}", named.name))
        .and_then(|secret| {
            let bytes = field(&secret, &named.key)?;
            let parsed = Password::parse(bytes);
            parsed.map_err(|problem| format!("{} of it: {problem}", named.key))
        })
        .map_err(|why| format!("Secret {}: {why}", named.name));
    Ok(parsed.map(Some))
}

fn content(
    secret: &Secret,
    bundle: Option<&[u8]>,
    ca: Option<&StoredCa>,
    password: Option<&Password>,
) -> ClientContent {
    let now = Timestamp::now();
    let read = || -> Result<ClientContent, String> {
        let own = set(secret)?;
        let bundle = bundle.ok_or("what the cluster trusts is not known")?;
        // By what the cluster says, not by what somebody may have put beside it.
        let with = |ca: &[u8]| TlsSet {
            ca: ca.to_vec(),
            ..own.clone()
        };
        let certificate = with(bundle).check_client(now);
        let certificate = certificate.map_err(|problem| problem.to_string())?;
        let by_present_authority = ca.is_some_and(|ca| by(ca, &own, now));
        Ok(ClientContent::Valid {
            certificate,
            trusts: parse_all(&own.ca).unwrap_or_default(),
            by_present_authority,
            stores: stores(secret, &with(bundle), password),
        })
    };
    read().unwrap_or_else(ClientContent::Unusable)
}

fn stores(secret: &Secret, set: &TlsSet, password: Option<&Password>) -> Stores {
    let (keys, trust) = (field(secret, KEY_STORE), field(secret, TRUST_STORE));
    let Some(password) = password else {
        let none = keys.is_err() && trust.is_err();
        return if none { Stores::Absent } else { Stores::Differ };
    };
    match (keys, trust) {
        (Ok(keys), Ok(trust)) if keystore::fits(keys, trust, set, password) => Stores::Fit,
        _ => Stores::Differ,
    }
}

fn facts(secret: Secret, content: SecretContent) -> SecretFacts {
    SecretFacts {
        metadata: secret.metadata,
        content,
    }
}
