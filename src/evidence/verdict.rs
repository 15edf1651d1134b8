//! What may be said of the whole, and nothing more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::stores::Store;
use crate::api::v1alpha1::{TikvSecurity, condition};

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Measured, and as asked for.
    Proven,
    /// Measured or known not to be as asked for.
    NotProven,
    /// Not asked for, so not looked at.
    NotAsked,
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// In one word.
    pub verdict: Verdict,
    /// In one sentence.
    pub because: String,
}

impl Fact {
    fn new(verdict: Verdict, because: impl Into<String>) -> Self {
        Self {
            verdict,
            because: because.into(),
        }
    }
}

/// Whether all data of all stores is encrypted.
pub fn at_rest(security: &TikvSecurity, stores: &[Store], at: Timestamp) -> Fact {
    let Some(encryption) = &security.spec.encryption else {
        return Fact::new(Verdict::NotAsked, "the spec asks for no encryption");
    };
    if !encryption.method.encrypts() {
        return Fact::new(
            Verdict::NotAsked,
            "the spec asks for data in the clear: encryption.method is plaintext",
        );
    }
    if let Some(why) = stale(security) {
        return Fact::new(Verdict::NotProven, why);
    }
    let counted = security
        .status
        .as_ref()
        .and_then(|status| status.encryption.as_ref())
        .map_or(0, |encryption| encryption.stores_total);
    if stores.is_empty() || counted != stores.len() as u64 {
        return Fact::new(
            Verdict::NotProven,
            format!(
                "the cluster has {counted} stores, and {} were measured",
                stores.len()
            ),
        );
    }
    let open: Vec<String> = stores
        .iter()
        .filter_map(|store| {
            let why = store.unproven_because.as_ref()?;
            Some(format!("{}: {why}", store.pod))
        })
        .collect();
    if !open.is_empty() {
        return Fact::new(Verdict::NotProven, open.join("; "));
    }
    let bytes: u64 = stores.iter().map(|store| store.encrypted_bytes).sum();
    let oldest = stores.iter().filter_map(|store| store.measured_at).min();
    Fact::new(
        Verdict::Proven,
        format!(
            "all {bytes} bytes of {} stores are under {}, measured between {} and {at}",
            stores.len(),
            encryption.method,
            oldest.unwrap_or(at),
        ),
    )
}

/// Whether every port serves the certificates that were made for it.
pub fn in_transit(security: &TikvSecurity, at: Timestamp) -> Fact {
    if security.spec.tls.is_none() {
        return Fact::new(Verdict::NotAsked, "the spec asks for no TLS");
    }
    if let Some(why) = stale(security) {
        return Fact::new(Verdict::NotProven, why);
    }
    let status = security.status.clone().unwrap_or_default();
    for type_ in [condition::CERTIFICATES_READY, condition::ROLLOUT_COMPLETE] {
        match status.conditions.iter().find(|one| one.type_ == type_) {
            Some(one) if one.status == "True" => {}
            Some(one) => {
                return Fact::new(Verdict::NotProven, format!("{type_}: {}", one.message));
            }
            None => {
                return Fact::new(Verdict::NotProven, format!("{type_} was not said yet"));
            }
        }
    }
    if let Some(ended) = status.certificates.iter().find(|one| one.not_after <= at) {
        return Fact::new(
            Verdict::NotProven,
            format!(
                "the certificate {} ended at {}",
                ended.name, ended.not_after
            ),
        );
    }
    if let Some(wrong) = status
        .certificates
        .iter()
        .find(|one| !one.not_served.is_empty())
    {
        return Fact::new(
            Verdict::NotProven,
            format!(
                "{} is not served by {}",
                wrong.name,
                wrong.not_served.join(", ")
            ),
        );
    }
    Fact::new(
        Verdict::Proven,
        "each port serves its certificate, by handshake, and every pod runs the configuration that asks callers for theirs",
    )
}

/// Why the status says nothing of the present spec.
fn stale(security: &TikvSecurity) -> Option<String> {
    let observed = security
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    let generation = security.metadata.generation;
    match observed {
        None => Some("the operator has not reported anything yet".to_owned()),
        Some(_) if observed == generation => None,
        Some(observed) => Some(format!(
            "the status answers generation {observed} of the spec, which is at {}",
            generation.unwrap_or_default()
        )),
    }
}
