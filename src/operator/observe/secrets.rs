//! Secrets of our names: what they hold, and the sets that we use ourselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls::ClientConfig;

use crate::api::LABEL_NAME;
use crate::operator::error::Error;
use crate::operator::issuer::stored::StoredCa;
use crate::operator::objects::Objects;
use crate::plan::names::{Part, WRAPPED_KEY, authority_secret, next_authority_secret};
use crate::plan::observed::{SecretContent, SecretFacts};
use crate::tls::anchor::to_pem;
use crate::tls::authority::Authority;
use crate::tls::bundle::TlsSet;
use crate::tls::client;
use crate::tls::parse::{CertificateInfo, ders, parse_all};
use crate::tls::private::PrivatePem;

/// Keys of a Secret with a leaf.
pub(in crate::operator) const CA: &str = "ca.crt";
/// The certificate.
pub(in crate::operator) const CERTIFICATE: &str = "tls.crt";
/// Its key.
pub(in crate::operator) const KEY: &str = "tls.key";

/// The Secrets, with what is secret in those that we use.
pub(super) struct Secrets {
    facts: BTreeMap<String, SecretFacts>,
    /// The operator's own set, when it is usable.
    client: Option<TlsSet>,
}

/// Reads the Secrets that have our names, whoever made them. `wrapped` are those with wrapped master
/// keys, where there are to be some.
pub(super) async fn read(
    objects: &Objects,
    resource: &str,
    parts: &[Part],
    wrapped: &[String],
) -> Result<Secrets, Error> {
    let now = Timestamp::now();
    let mut facts = BTreeMap::new();
    let mut client = None;
    for name in [authority_secret(resource), next_authority_secret(resource)] {
        let Some(secret) = objects.get::<Secret>(&name).await? else {
            continue;
        };
        if is_vacant(&secret, resource) {
            continue;
        }
        let content = match StoredCa::read(&secret) {
            Ok(stored) => SecretContent::Authority(Box::new(stored.facts())),
            Err(error) => SecretContent::Unusable(error),
        };
        facts.insert(name, with(secret, content));
    }
    for part in parts {
        let name = part.secret(resource);
        let Some(secret) = objects.get::<Secret>(&name).await? else {
            continue;
        };
        let set = set(&secret);
        let content = leaf(set.as_ref(), now);
        if *part == Part::Client && matches!(content, SecretContent::Leaf { .. }) {
            client = set.ok();
        }
        facts.insert(name, with(secret, content));
    }
    for name in wrapped {
        let Some(secret) = objects.get::<Secret>(name).await? else {
            continue;
        };
        let content = match field(&secret, WRAPPED_KEY) {
            Ok(_) => SecretContent::Wrapped,
            Err(why) => SecretContent::Unusable(why),
        };
        facts.insert(name.clone(), with(secret, content));
    }
    Ok(Secrets { facts, client })
}

/// True for a Secret of ours that held a CA and was emptied: as good as none.
pub(in crate::operator) fn is_vacant(secret: &Secret, resource: &str) -> bool {
    let labels = secret.metadata.labels.as_ref();
    let owner = labels.and_then(|labels| labels.get(LABEL_NAME));
    let empty = |key| field(secret, key).is_ok_and(<[u8]>::is_empty);
    owner.is_some_and(|owner| owner == resource) && empty(CERTIFICATE) && empty(KEY)
}

impl Secrets {
    /// The operator's own set, when it is usable.
    pub fn client(&self) -> Option<&TlsSet> {
        self.client.as_ref()
    }

    /// Mutual TLS as the operator, when its set is usable.
    pub fn client_config(&self) -> Option<Arc<ClientConfig>> {
        client::mutual(self.client.as_ref()?).ok()
    }

    /// Whether this Secret is there.
    pub fn has(&self, secret: &str) -> bool {
        self.facts.contains_key(secret)
    }

    /// Serial of the leaf in a Secret.
    pub fn serial(&self, secret: &str) -> Option<&str> {
        match &self.facts.get(secret)?.content {
            SecretContent::Leaf { certificate, .. } => Some(&certificate.serial),
            SecretContent::Authority(_) | SecretContent::Wrapped | SecretContent::Unusable(_) => {
                None
            }
        }
    }

    /// What a plan may see.
    pub fn into_facts(self) -> BTreeMap<String, SecretFacts> {
        self.facts
    }
}

fn with(secret: Secret, content: SecretContent) -> SecretFacts {
    SecretFacts {
        metadata: secret.metadata,
        content,
    }
}

/// The CA in a Secret whose key is there too.
pub(in crate::operator) fn authority(secret: &Secret) -> Result<Authority, String> {
    let own = StoredCa::read(secret)?.own;
    own.map(|own| (*own).clone())
        .ok_or_else(|| "its key is elsewhere".to_owned())
}

/// What a set is to a plan.
pub(in crate::operator) fn leaf(set: Result<&TlsSet, &String>, now: Timestamp) -> SecretContent {
    let read = || {
        let set = set.map_err(Clone::clone)?;
        let certificate = set.check(now).map_err(|error| error.to_string())?;
        let trusts = parse_all(&set.ca).map_err(|error| error.to_string())?;
        let root = root(set, &trusts, now).ok_or("no certificate in ca.crt vouches for it")?;
        Ok(SecretContent::Leaf {
            certificate,
            root: Box::new(root),
            trusts,
        })
    };
    read().unwrap_or_else(SecretContent::Unusable)
}

/// The trusted certificate that the chain leads to.
fn root(set: &TlsSet, trusts: &[CertificateInfo], now: Timestamp) -> Option<CertificateInfo> {
    let anchors = ders(&set.ca).ok()?;
    let leads = anchors.iter().zip(trusts).find(|(anchor, _)| {
        let alone = TlsSet {
            ca: to_pem(anchor.as_ref()).into_bytes(),
            ..set.clone()
        };
        alone.check(now).is_ok()
    });
    leads.map(|(_, root)| root.clone())
}

/// The set in a Secret.
pub(in crate::operator) fn set(secret: &Secret) -> Result<TlsSet, String> {
    Ok(TlsSet {
        ca: field(secret, CA)?.to_vec(),
        certificate: field(secret, CERTIFICATE)?.to_vec(),
        key: PrivatePem::new(field(secret, KEY)?.to_vec()),
    })
}

/// What is under a key.
pub(in crate::operator) fn field<'a>(secret: &'a Secret, key: &str) -> Result<&'a [u8], String> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.map(|bytes| bytes.0.as_slice())
        .ok_or_else(|| format!("it has no key {key}"))
}
