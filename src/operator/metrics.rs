//! Every metric of the operator, in one place.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::v1alpha1::{Issuer, TikvClientCertificateStatus, condition};
use crate::issuer::IssuerClass;

/// Labels of what is said about one `TikvSecurity`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Owner {
    namespace: String,
    name: String,
}

/// As `Owner`, with one word more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labelled {
    namespace: String,
    name: String,
    /// The class, state, phase, condition, pod or Secret that the number is about.
    of: String,
}

/// What is said about an issuer's refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    namespace: String,
    name: String,
    /// Kind of the issuer, as in `tls.issuer`.
    issuer: String,
    /// In which way it did not do what it was asked.
    class: &'static str,
}

/// What is said about one certificate on one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    namespace: String,
    name: String,
    pod: String,
    port: u16,
}

/// One number about a `TikvSecurity`, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    /// End of validity of the certificate in this Secret.
    Stored(String),
    /// End of validity of what this port of this pod serves.
    Served(String, u16),
    /// Stores in this state of PD.
    Stores(String),
    /// Plaintext bytes of this pod's volume.
    Plaintext(String),
    /// 1 when this pod's agent says of an error, or does not answer.
    AgentError(String),
    /// 1 when this condition is True.
    Condition(String),
    /// 1 for the phase of the rollout.
    Phase(String),
    /// 1 for the phase of the rotation of the CA.
    CaPhase(String),
    /// When the certificate in this Secret is to be renewed, Unix time.
    RenewAt(String),
    /// Ports that serve the certificate of their Secret (`stored`), or not (`other`).
    Ports(String),
    /// Microseconds of a full handshake with this port of this pod.
    HandshakeFull(String, u16),
    /// The same of one that took a session up again.
    HandshakeResumed(String, u16),
    /// Revoked certificates in this phase.
    Revoked(String),
    /// When the next CRL is there at the latest, Unix time.
    CrlNextUpdate,
    /// Seconds since the operator last proved the master key.
    KeySuccessAge,
    /// Milliseconds that the last proof took.
    KeyLatency,
    /// End of the last full verification of this pod's store, Unix time.
    Verified(String),
    /// Files that it found wrong.
    VerificationFailed(String),
    /// 1 when a full verification of this pod's store is overdue.
    Overdue(String),
    /// Differences of objects of this kind that are there now.
    Drift(String),
}

/// When a client's certificate begins, is renewed and ends, Unix time.
#[derive(Clone, Debug, Default)]
pub struct ClientLife {
    /// First moment.
    pub not_before: Option<i64>,
    /// Renewal; absent when none is to come.
    pub renew_at: Option<i64>,
    /// Last moment.
    pub not_after: Option<i64>,
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Owner, Counter>,
    errors: Family<Labelled, Counter>,
    stored_not_after: Family<Labelled, Gauge>,
    served_not_after: Family<Listener, Gauge>,
    handshake_full: Family<Listener, Gauge>,
    handshake_resumed: Family<Listener, Gauge>,
    stores: Family<Labelled, Gauge>,
    plaintext_bytes: Family<Labelled, Gauge>,
    agent_error: Family<Labelled, Gauge>,
    condition: Family<Labelled, Gauge>,
    phase: Family<Labelled, Gauge>,
    ca_phase: Family<Labelled, Gauge>,
    renew_at: Family<Labelled, Gauge>,
    ports: Family<Labelled, Gauge>,
    revoked: Family<Labelled, Gauge>,
    crl_next_update: Family<Owner, Gauge>,
    key_success_age: Family<Owner, Gauge>,
    key_latency: Family<Owner, Gauge>,
    verified: Family<Labelled, Gauge>,
    verification_failed: Family<Labelled, Gauge>,
    verification_overdue: Family<Labelled, Gauge>,
    client_not_after: Family<Owner, Gauge>,
    client_not_before: Family<Owner, Gauge>,
    client_renew_at: Family<Owner, Gauge>,
    client_ready: Family<Owner, Gauge>,
    client_exported: Family<Owner, Gauge>,
    exports: Family<Labelled, Counter>,
    export_failures: Family<Labelled, Counter>,
    issue_failures: Family<Refusal, Counter>,
    drift: Family<Labelled, Gauge>,
    drifts: Family<Labelled, Counter>,
    /// What was shown last: what is not there any more must go, or it would be alerted on for ever.
    shown: Mutex<HashMap<Owner, HashSet<Series>>>,
}

impl Default for Metrics {
    #[allow(
        clippy::too_many_lines,
        reason = "one metric after the other, with its name and what it says"
    )]
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tikv_security");
        let (reconciles, errors) = (Family::default(), Family::<Labelled, Counter>::default());
        registry.register("reconciles", "Reconciles begun", Family::clone(&reconciles));
        registry.register(
            "errors",
            "Reconciles that failed, by class of error",
            errors.clone(),
        );
        let drifts = Family::<Labelled, Counter>::default();
        registry.register(
            "drifts",
            "Changes by others of what this operator made, by kind of object",
            drifts.clone(),
        );
        let issue_failures = Family::<Refusal, Counter>::default();
        registry.register(
            "issue_failures",
            "Certificates of a cluster and of its clients that an issuer was asked for and did not give, by kind of issuer and class",
            issue_failures.clone(),
        );
        let exports = Family::<Labelled, Counter>::default();
        registry.register(
            "exports",
            "Copies outside of the cluster that were written (Exported), put back (ExportPutBack) or deleted (ExportDeleted)",
            exports.clone(),
        );
        let export_failures = Family::<Labelled, Counter>::default();
        registry.register(
            "export_failures",
            "Attempts to look after a copy outside of the cluster that failed, by reason",
            export_failures.clone(),
        );
        let served_not_after = Family::<Listener, Gauge>::default();
        registry.register(
            "served_certificate_not_after_seconds",
            "End of validity of the certificate that a port serves, Unix time",
            served_not_after.clone(),
        );
        let mut listener = |name: &str, help: &str| {
            let family = Family::<Listener, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let handshake_full = listener(
            "handshake_full_microseconds",
            "How long the operator's last full TLS handshake with a port took, without connecting",
        );
        let handshake_resumed = listener(
            "handshake_resumed_microseconds",
            "The same of one that took a session up again; absent where the port does not do that",
        );
        let mut single = |name: &str, help: &str| {
            let family = Family::<Owner, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        let key_success_age = single(
            "master_key_seconds_since_success",
            "Seconds since the operator last described the master key and wrapped and unwrapped a key with it",
        );
        let key_latency = single(
            "master_key_latency_milliseconds",
            "How long the operator's last question to the master key took",
        );
        let crl_next_update = single(
            "crl_next_update_seconds",
            "When the CRL that is published now ends, Unix time",
        );
        let client_not_after = single(
            "client_certificate_not_after_seconds",
            "End of validity of the certificate of a TikvClientCertificate, Unix time",
        );
        let client_not_before = single(
            "client_certificate_not_before_seconds",
            "Beginning of validity of the certificate of a TikvClientCertificate, Unix time",
        );
        let client_renew_at = single(
            "client_certificate_renew_at_seconds",
            "When the certificate of a TikvClientCertificate is to be renewed, Unix time",
        );
        let client_ready = single(
            "client_certificate_ready",
            "1 when a TikvClientCertificate is Ready",
        );
        let client_exported = single(
            "client_certificate_exported",
            "1 when each copy of a TikvClientCertificate outside of the cluster is current; absent where none is asked for",
        );
        let mut gauge = |name: &str, help: &str| {
            let family = Family::<Labelled, Gauge>::default();
            registry.register(name, help, family.clone());
            family
        };
        Self {
            stored_not_after: gauge(
                "certificate_not_after_seconds",
                "End of validity of the certificate in a Secret, Unix time",
            ),
            stores: gauge("stores", "Stores by state in PD"),
            plaintext_bytes: gauge(
                "plaintext_bytes",
                "Bytes of a volume that should be encrypted and are not, as measured by its agent",
            ),
            agent_error: gauge(
                "agent_error",
                "1 when the agent of a pod reports an error or does not answer",
            ),
            condition: gauge("condition", "1 when the condition is True"),
            phase: gauge("rollout_phase", "1 for the phase that the rollout is in"),
            ca_phase: gauge(
                "ca_rotation_phase",
                "1 for the phase that the rotation of the CA is in; absent while there is none",
            ),
            renew_at: gauge(
                "certificate_renew_at_seconds",
                "When the certificate in a Secret is to be renewed, Unix time",
            ),
            ports: gauge(
                "certificate_ports",
                "Ports that serve the certificate of their Secret (stored), and ports that do not (other)",
            ),
            revoked: gauge(
                "revoked_certificates",
                "Revoked certificates by phase; the cluster may still accept those that are Recorded, Published or CuttingOff",
            ),
            crl_next_update,
            key_success_age,
            key_latency,
            verified: gauge(
                "store_verified_timestamp_seconds",
                "End of the last full verification of a store, Unix time",
            ),
            verification_failed: gauge(
                "store_verification_failed_files",
                "Files that the last full verification of a store found unreadable or not what their entry says",
            ),
            verification_overdue: gauge(
                "store_verification_overdue",
                "1 when a full verification of a store should have been done and was not",
            ),
            drift: gauge(
                "drift",
                "Differences between what this operator made and what is there now, by kind of object",
            ),
            client_not_after,
            client_not_before,
            client_renew_at,
            client_ready,
            client_exported,
            exports,
            export_failures,
            issue_failures,
            drifts,
            registry,
            reconciles,
            errors,
            served_not_after,
            handshake_full,
            handshake_resumed,
            shown: Mutex::default(),
        }
    }
}

impl Metrics {
    /// The text that `/metrics` answers.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String can not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A reconcile began.
    pub fn reconciled(&self, namespace: &str, name: &str) {
        self.reconciles.get_or_create(&owner(namespace, name)).inc();
    }

    /// A reconcile failed.
    pub fn failed(&self, namespace: &str, name: &str, class: &str) {
        self.errors
            .get_or_create(&labelled(namespace, name, class))
            .inc();
    }

    /// Somebody else changed so many things of this kind that this operator made. None counts as well: an increase is
    /// seen only of what was shown before.
    pub fn drifted(&self, namespace: &str, name: &str, kind: &str, count: u64) {
        self.drifts
            .get_or_create(&labelled(namespace, name, kind))
            .inc_by(count);
    }

    /// What is true of one `TikvClientCertificate`.
    pub fn client(&self, namespace: &str, name: &str, ready: bool, life: &ClientLife) {
        let whose = owner(namespace, name);
        self.client_ready
            .get_or_create(&whose)
            .set(i64::from(ready));
        let times = [
            (&self.client_not_before, life.not_before),
            (&self.client_renew_at, life.renew_at),
            (&self.client_not_after, life.not_after),
        ];
        for (family, time) in times {
            match time {
                Some(time) => drop(family.get_or_create(&whose).set(time)),
                None => drop(family.remove(&whose)),
            }
        }
    }

    /// Whether the copies of one `TikvClientCertificate` are current.
    pub fn client_exported(
        &self,
        namespace: &str,
        name: &str,
        status: &TikvClientCertificateStatus,
    ) {
        let whose = owner(namespace, name);
        let mut all = status.conditions.iter();
        match all.find(|one| one.type_ == condition::EXPORTED) {
            Some(one) => {
                let good = i64::from(one.status == "True");
                self.client_exported.get_or_create(&whose).set(good);
            }
            None => drop(self.client_exported.remove(&whose)),
        }
    }

    /// An issuer did not give what it was asked for.
    pub fn not_issued(&self, namespace: &str, name: &str, issuer: &Issuer, class: IssuerClass) {
        let kind = issuer.choice().map(|choice| choice.kind().to_string());
        let refusal = Refusal {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            issuer: kind.unwrap_or_default(),
            class: class.name(),
        };
        self.issue_failures.get_or_create(&refusal).inc();
    }

    /// A copy outside of the cluster was written, put back or deleted.
    pub fn exported(&self, namespace: &str, name: &str, what: &str) {
        self.exports
            .get_or_create(&labelled(namespace, name, what))
            .inc();
    }

    /// One could not be looked after.
    pub fn export_failed(&self, namespace: &str, name: &str, reason: &str) {
        self.export_failures
            .get_or_create(&labelled(namespace, name, reason))
            .inc();
    }

    /// One `TikvClientCertificate` is gone.
    pub fn client_gone(&self, namespace: &str, name: &str) {
        self.client_exported.remove(&owner(namespace, name));
        self.client(namespace, name, false, &ClientLife::default());
        self.client_ready.remove(&owner(namespace, name));
    }

    /// All numbers about one `TikvSecurity` from now on; those that are not among them go. None when it is gone.
    pub fn show(&self, namespace: &str, name: &str, numbers: &[(Series, i64)]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.remove(&owner(namespace, name)).unwrap_or_default();
        let now: HashSet<Series> = numbers.iter().map(|(series, _)| series.clone()).collect();
        let whose = owner(namespace, name);
        for gone in before.difference(&now) {
            match self.family(gone) {
                Shown::Listener(family, pod, port) => {
                    family.remove(&listener(namespace, name, pod, port));
                }
                Shown::Labelled(family, of) => drop(family.remove(&labelled(namespace, name, of))),
                Shown::Single(family) => drop(family.remove(&whose)),
            }
        }
        for (series, value) in numbers {
            match self.family(series) {
                Shown::Listener(family, pod, port) => family
                    .get_or_create(&listener(namespace, name, pod, port))
                    .set(*value),
                Shown::Labelled(family, of) => family
                    .get_or_create(&labelled(namespace, name, of))
                    .set(*value),
                Shown::Single(family) => family.get_or_create(&whose).set(*value),
            };
        }
        if !now.is_empty() {
            shown.insert(owner(namespace, name), now);
        }
    }

    fn family<'a>(&'a self, series: &'a Series) -> Shown<'a> {
        match series {
            Series::Served(pod, port) => Shown::Listener(&self.served_not_after, pod, *port),
            Series::HandshakeFull(pod, port) => Shown::Listener(&self.handshake_full, pod, *port),
            Series::HandshakeResumed(pod, port) => {
                Shown::Listener(&self.handshake_resumed, pod, *port)
            }
            Series::Stored(of) => Shown::Labelled(&self.stored_not_after, of),
            Series::Stores(of) => Shown::Labelled(&self.stores, of),
            Series::Plaintext(of) => Shown::Labelled(&self.plaintext_bytes, of),
            Series::AgentError(of) => Shown::Labelled(&self.agent_error, of),
            Series::Condition(of) => Shown::Labelled(&self.condition, of),
            Series::Phase(of) => Shown::Labelled(&self.phase, of),
            Series::CaPhase(of) => Shown::Labelled(&self.ca_phase, of),
            Series::Verified(of) => Shown::Labelled(&self.verified, of),
            Series::VerificationFailed(of) => Shown::Labelled(&self.verification_failed, of),
            Series::Overdue(of) => Shown::Labelled(&self.verification_overdue, of),
            Series::Drift(of) => Shown::Labelled(&self.drift, of),
            Series::RenewAt(of) => Shown::Labelled(&self.renew_at, of),
            Series::Ports(of) => Shown::Labelled(&self.ports, of),
            Series::Revoked(of) => Shown::Labelled(&self.revoked, of),
            Series::CrlNextUpdate => Shown::Single(&self.crl_next_update),
            Series::KeySuccessAge => Shown::Single(&self.key_success_age),
            Series::KeyLatency => Shown::Single(&self.key_latency),
        }
    }
}

/// Where a series is shown, and with which labels beside its owner's.
enum Shown<'a> {
    Listener(&'a Family<Listener, Gauge>, &'a str, u16),
    Labelled(&'a Family<Labelled, Gauge>, &'a str),
    Single(&'a Family<Owner, Gauge>),
}

fn owner(namespace: &str, name: &str) -> Owner {
    Owner {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn labelled(namespace: &str, name: &str, of: &str) -> Labelled {
    Labelled {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        of: of.to_owned(),
    }
}

fn listener(namespace: &str, name: &str, pod: &str, port: u16) -> Listener {
    Listener {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        pod: pod.to_owned(),
        port,
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Series};
    use crate::api::v1alpha1::Issuer;
    use crate::issuer::IssuerClass;

    #[test]
    fn refusals_are_counted_by_issuer_and_class() {
        let metrics = Metrics::default();
        for class in [
            IssuerClass::Denied,
            IssuerClass::Denied,
            IssuerClass::Unavailable,
        ] {
            metrics.not_issued("prod", "db", &Issuer::own(), class);
        }
        let text = metrics.render();
        let counted = r#"issue_failures_total{namespace="prod",name="db",issuer="selfSigned",class="Denied"} 2"#;
        assert!(text.contains(counted), "{text}");
        assert!(text.contains(r#"class="Unavailable"} 1"#), "{text}");
    }

    #[test]
    fn what_is_gone_is_not_shown() {
        let metrics = Metrics::default();
        let both = [("tikv-0", 7), ("tikv-1", 0)];
        let both = both.map(|(pod, bytes)| (Series::Plaintext(pod.into()), bytes));
        metrics.show("prod", "db", &both);
        metrics.show(
            "prod",
            "other",
            &[(Series::Served("tikv-1".into(), 20160), 9)],
        );
        metrics.show("prod", "db", &both[..1]);
        let text = metrics.render();
        assert!(
            text.contains(r#"plaintext_bytes{namespace="prod",name="db",of="tikv-0"} 7"#),
            "{text}"
        );
        assert!(!text.contains(r#"of="tikv-1""#), "{text}");
        assert!(text.contains(r#"pod="tikv-1",port="20160"} 9"#), "{text}");
        metrics.show("prod", "db", &[]);
        assert!(!metrics.render().contains(r#"name="db""#));
    }
}
