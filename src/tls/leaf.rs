//! What a leaf must contain.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::SignedDuration;

use super::private::PrivatePem;
use crate::api::v1alpha1::{KeyAlgorithm, Subject};

/// A leaf to be issued. Every leaf of a component carries both key usages, because each component is server and
/// client with one file pair (facts, TLS §3.1), and a common name, because TiKV refuses callers
/// without one when it has a list of names (facts, TLS §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSpec {
    /// Subject common name.
    pub common_name: String,
    /// More of the subject.
    pub subject: Subject,
    /// DNS names, wildcards included.
    pub dns: BTreeSet<String>,
    /// IP addresses.
    pub ips: BTreeSet<IpAddr>,
    /// Wanted validity; cut where the authority ends.
    pub duration: SignedDuration,
    /// Kind of the key.
    pub key: KeyAlgorithm,
}

/// What a leaf may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafUse {
    /// By a server and by a client.
    Both,
    /// By a client alone: with the key of an application nobody can pass for a store.
    Client,
}

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub struct IssuedLeaf {
    /// The certificate and, after it, its intermediates.
    pub certificate_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: PrivatePem,
}
