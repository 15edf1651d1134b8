//! The certificates of the CA in other namespaces: a ConfigMap for those who have to know whom to trust.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::action::Action;
use super::names::{Part, bundle_config};
use super::observed::{Observed, SecretContent};
use crate::api::v1alpha1::TrustStatus;
use crate::api::{LABEL_MANAGED_BY, LABEL_NAMESPACE, LABEL_TRUST, MANAGER};
use crate::tls::parse::CertificateInfo;

/// What is in a namespace under the name of the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// Nothing.
    Absent,
    /// Ours.
    Ours {
        /// Its UID.
        uid: String,
        /// The certificates in it.
        trusts: Vec<CertificateInfo>,
    },
    /// Somebody else's.
    Foreign,
    /// It can not be told; why.
    Unknown(String),
}

/// Namespaces that are to have one.
pub fn chosen(observed: &Observed) -> &[String] {
    let tls = observed.resource.spec.tls.as_ref();
    let trust = tls.and_then(|tls| tls.trust.as_ref());
    trust
        .map(|trust| trust.namespaces.as_slice())
        .unwrap_or_default()
}

/// The labels by which ours are found.
pub fn labels(name: &str, namespace: &str) -> BTreeMap<String, String> {
    let labels = [
        (LABEL_MANAGED_BY, MANAGER),
        (LABEL_TRUST, name),
        (LABEL_NAMESPACE, namespace),
    ];
    labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// What is to be written, and what is to go.
pub fn actions(observed: &Observed) -> Vec<Action> {
    let wanted = trusted(observed);
    let chosen = chosen(observed);
    let mut actions = Vec::new();
    for (namespace, bundle) in &observed.bundles {
        let name = bundle_config(observed.name());
        let put = Action::PublishTrust {
            metadata: Box::new(ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                labels: Some(labels(observed.name(), observed.namespace())),
                ..ObjectMeta::default()
            }),
            from: Part::Client.secret(observed.name()),
        };
        match bundle {
            Bundle::Ours { uid, .. } if !chosen.contains(namespace) => {
                actions.push(Action::WithdrawTrust {
                    namespace: namespace.clone(),
                    name,
                    uid: uid.clone(),
                });
            }
            Bundle::Ours { trusts, .. } => {
                if wanted.is_some_and(|wanted| !same(wanted, trusts)) {
                    actions.push(put);
                }
            }
            Bundle::Absent if wanted.is_some() && chosen.contains(namespace) => actions.push(put),
            Bundle::Absent | Bundle::Foreign | Bundle::Unknown(_) => {}
        }
    }
    actions
}

/// What is told of each namespace.
pub fn statuses(observed: &Observed) -> Vec<TrustStatus> {
    let wanted = trusted(observed);
    let told = |namespace: &String| {
        let name = bundle_config(observed.name());
        let problem = match (observed.bundles.get(namespace), wanted) {
            (_, None) => Some("there is no CA yet".to_owned()),
            (Some(Bundle::Ours { trusts, .. }), Some(wanted)) if same(wanted, trusts) => None,
            (Some(Bundle::Foreign), _) => Some(format!(
                "ConfigMap {name} exists and was not made for this TikvSecurity; rename or delete it"
            )),
            (Some(Bundle::Unknown(why)), _) => Some(why.clone()),
            (Some(Bundle::Ours { .. } | Bundle::Absent) | None, _) => {
                Some("it is being written".to_owned())
            }
        };
        TrustStatus {
            namespace: namespace.clone(),
            current: problem.is_none(),
            problem,
        }
    };
    chosen(observed).iter().map(told).collect()
}

/// What clients of the cluster are to trust now.
fn trusted(observed: &Observed) -> Option<&[CertificateInfo]> {
    let secret = observed
        .secrets
        .get(&Part::Client.secret(observed.name()))?;
    match &secret.content {
        SecretContent::Leaf { trusts, .. } => Some(trusts),
        _ => None,
    }
}

/// Whether both hold the same certificates.
pub fn same(one: &[CertificateInfo], other: &[CertificateInfo]) -> bool {
    let has = |all: &[CertificateInfo], this: &CertificateInfo| {
        all.iter()
            .any(|one| (&one.serial, &one.public_key) == (&this.serial, &this.public_key))
    };
    one.len() == other.len() && one.iter().all(|this| has(other, this))
}
