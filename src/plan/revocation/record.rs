//! The record of what is revoked: the memory of the operator, in the ConfigMap that the CRLs are published in.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{RefusalProof, RevocationReason, RevocationStatus};

/// Key of the record in the ConfigMap.
pub const RECORD: &str = "revoked.json";
/// Longest record: with it, its CRLs and their copies in base64 the ConfigMap stays below the 1 MiB that it may have.
pub const LONGEST: usize = 2_000;
/// What has ended is remembered so much longer, for clocks that are behind.
pub const MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// What is revoked, and what was published of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Number of the CRLs that were signed last. Never smaller than the one before.
    #[serde(default)]
    pub number: u64,
    /// When they were signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub this_update: Option<Timestamp>,
    /// Until when they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_update: Option<Timestamp>,
    /// Serial numbers of the CAs that they are of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// What is revoked, in the order in which it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
}

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Serial number of the CA that signed it.
    pub authority: String,
    /// Namespace and name of the `TikvClientCertificate` that it was issued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its common name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Its end.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
    /// Number of the first CRL that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<u64>,
    /// That the cluster refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// That the cluster refuses a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Since when that is known.
    pub at: Timestamp,
    /// By what.
    pub proof: RefusalProof,
    /// The same in words.
    pub how: String,
}

/// What is in the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There is none.
    Absent,
    /// Ours.
    Ours {
        /// Its version.
        version: String,
        /// The record in it.
        record: Record,
    },
    /// Somebody else's, or nothing that can be read: never written over. Why.
    Unusable(String),
}

impl Record {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As it is stored.
    pub fn written(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Whether this certificate is revoked.
    pub fn has(&self, serial: &str, authority: &str) -> bool {
        let mut all = self.entries.iter();
        all.any(|one| one.serial == serial && one.authority == authority)
    }

    /// Whether a certificate with this serial number is revoked, whichever CA signed it.
    pub fn revokes(&self, serial: &str) -> bool {
        self.entries.iter().any(|one| one.serial == serial)
    }

    /// Takes up what is not there yet. True when that was anything.
    pub fn append(&mut self, entries: &[Entry]) -> bool {
        let before = self.entries.len();
        for entry in entries {
            if !self.has(&entry.serial, &entry.authority) {
                self.entries.push(entry.clone());
            }
        }
        self.entries.len() > before
    }

    /// What is left of a record that is lost: what the status told of it.
    pub fn recalled(told: &[RevocationStatus]) -> Self {
        let entries = told.iter().map(|one| Entry {
            serial: one.serial.clone(),
            authority: one.authority.clone(),
            certificate: one.certificate.clone(),
            common_name: one.common_name.clone(),
            not_after: one.not_after,
            revoked_at: one.revoked_at,
            reason: one.reason,
            crl: None,
            refused: one.refused_at.zip(one.proof).map(|(at, proof)| Refused {
                at,
                proof,
                how: one.message.clone(),
            }),
        });
        Self {
            entries: entries.collect(),
            ..Self::default()
        }
    }
}

impl Entry {
    /// Whether its end has come.
    pub fn ended(&self, now: Timestamp) -> bool {
        now > self.not_after
    }

    /// Whether nobody can mistake it for valid any more, whose clock is behind by less than the margin.
    pub fn over(&self, now: Timestamp) -> bool {
        now > self
            .not_after
            .saturating_add(MARGIN)
            .unwrap_or(self.not_after)
    }

    /// Whether the cluster is to refuse it before its end. What was only replaced by its successor is in nobody else's hands.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.refused.is_none() && !self.ended(now) && self.reason != RevocationReason::Superseded
    }
}
