//! Every metric of the operator, in one place.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    /// The class, state, phase or Secret that the number is about.
    of: String,
}

/// What is said about one certificate on one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    namespace: String,
    name: String,
    pod: String,
    port: u16,
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Owner, Counter>,
    errors: Family<Labelled, Counter>,
    stored_not_after: Family<Labelled, Gauge>,
    served_not_after: Family<Listener, Gauge>,
    stores: Family<Labelled, Gauge>,
    plaintext_bytes: Family<Labelled, Gauge>,
    phase: Family<Labelled, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tikv_security");
        let metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            errors: Family::default(),
            stored_not_after: Family::default(),
            served_not_after: Family::default(),
            stores: Family::default(),
            plaintext_bytes: Family::default(),
            phase: Family::default(),
        };
        registry.register("reconciles", "Reconciles begun", metrics.reconciles.clone());
        registry.register(
            "errors",
            "Reconciles that failed, by class of error",
            metrics.errors.clone(),
        );
        registry.register(
            "certificate_not_after_seconds",
            "End of validity of the certificate in a Secret, Unix time",
            metrics.stored_not_after.clone(),
        );
        registry.register(
            "served_certificate_not_after_seconds",
            "End of validity of the certificate that a port serves, Unix time",
            metrics.served_not_after.clone(),
        );
        registry.register("stores", "Stores by state in PD", metrics.stores.clone());
        registry.register(
            "plaintext_bytes",
            "Bytes of a volume that should be encrypted and are not, as measured by its agent",
            metrics.plaintext_bytes.clone(),
        );
        registry.register(
            "rollout_phase",
            "1 for the phase that the rollout is in",
            metrics.phase.clone(),
        );
        Self {
            registry,
            ..metrics
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

    /// Validity of the certificate in a Secret.
    pub fn stored(&self, namespace: &str, name: &str, secret: &str, not_after: jiff::Timestamp) {
        self.stored_not_after
            .get_or_create(&labelled(namespace, name, secret))
            .set(not_after.as_second());
    }

    /// Validity of the certificate on a port.
    pub fn served(
        &self,
        namespace: &str,
        name: &str,
        pod: &str,
        port: u16,
        not_after: jiff::Timestamp,
    ) {
        let listener = Listener {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            pod: pod.to_owned(),
            port,
        };
        self.served_not_after
            .get_or_create(&listener)
            .set(not_after.as_second());
    }

    /// Number of stores in a state; states that are not named are gone.
    pub fn stores<'a>(&self, namespace: &str, name: &str, states: impl Iterator<Item = &'a str>) {
        for known in ["Up", "Disconnected", "Down", "Offline", "Unknown"] {
            self.stores
                .get_or_create(&labelled(namespace, name, known))
                .set(0);
        }
        for state in states {
            self.stores
                .get_or_create(&labelled(namespace, name, state))
                .inc();
        }
    }

    /// Plaintext bytes of one volume.
    pub fn plaintext(&self, namespace: &str, name: &str, volume: &str, bytes: u64) {
        self.plaintext_bytes
            .get_or_create(&labelled(namespace, name, volume))
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The rollout moved to `phase`.
    pub fn phase(&self, namespace: &str, name: &str, before: Option<&str>, phase: &str) {
        if let Some(before) = before.filter(|before| *before != phase) {
            self.phase.remove(&labelled(namespace, name, before));
        }
        self.phase
            .get_or_create(&labelled(namespace, name, phase))
            .set(1);
    }
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
