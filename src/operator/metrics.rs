//! Every metric of the operator, in one place.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

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
    /// The class, state, phase, condition, pod or Secret that the number is about.
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
    agent_error: Family<Labelled, Gauge>,
    condition: Family<Labelled, Gauge>,
    phase: Family<Labelled, Gauge>,
    /// What was shown last: what is not there any more must go, or it would be alerted on for ever.
    shown: Mutex<HashMap<Owner, HashSet<Series>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tikv_security");
        let (reconciles, errors) = (Family::default(), Family::<Labelled, Counter>::default());
        registry.register("reconciles", "Reconciles begun", Family::clone(&reconciles));
        registry.register(
            "errors",
            "Reconciles that failed, by class of error",
            errors.clone(),
        );
        let served_not_after = Family::<Listener, Gauge>::default();
        registry.register(
            "served_certificate_not_after_seconds",
            "End of validity of the certificate that a port serves, Unix time",
            served_not_after.clone(),
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
            registry,
            reconciles,
            errors,
            served_not_after,
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

    /// All numbers about one `TikvSecurity` from now on; those that are not among them go. None when it is gone.
    pub fn show(&self, namespace: &str, name: &str, numbers: &[(Series, i64)]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.remove(&owner(namespace, name)).unwrap_or_default();
        let now: HashSet<Series> = numbers.iter().map(|(series, _)| series.clone()).collect();
        for gone in before.difference(&now) {
            if let Series::Served(pod, port) = gone {
                self.served_not_after
                    .remove(&listener(namespace, name, pod, *port));
            } else if let Some((family, of)) = self.family(gone) {
                family.remove(&labelled(namespace, name, of));
            }
        }
        for (series, value) in numbers {
            if let Series::Served(pod, port) = series {
                self.served_not_after
                    .get_or_create(&listener(namespace, name, pod, *port))
                    .set(*value);
            } else if let Some((family, of)) = self.family(series) {
                family
                    .get_or_create(&labelled(namespace, name, of))
                    .set(*value);
            }
        }
        if !now.is_empty() {
            shown.insert(owner(namespace, name), now);
        }
    }

    fn family<'a>(&self, series: &'a Series) -> Option<(&Family<Labelled, Gauge>, &'a str)> {
        Some(match series {
            Series::Stored(of) => (&self.stored_not_after, of),
            Series::Stores(of) => (&self.stores, of),
            Series::Plaintext(of) => (&self.plaintext_bytes, of),
            Series::AgentError(of) => (&self.agent_error, of),
            Series::Condition(of) => (&self.condition, of),
            Series::Phase(of) => (&self.phase, of),
            Series::Served(..) => return None,
        })
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
