//! What is known of the ports: a step counts only when each of them serves what it made.

use jiff::{SignedDuration, Timestamp};

use super::{Course, authority, course, guests};
use crate::plan::names::{Part, authority_secret};
use crate::plan::observed::{Observed, SecretContent};
use crate::plan::pods::{PodView, replicas, views};
use crate::tikv::status_port::STATUS_PORT;

/// What lacks until every port of every pod is known to serve the certificate of its Secret, and that one suits the step.
pub(super) fn lacking(observed: &Observed, course: &Course<'_>) -> Option<String> {
    for part in observed.parts() {
        if serial(observed, course, part).is_none() {
            let secret = part.secret(observed.name());
            let why = observed.not_issued.get(&secret);
            let why = why.map_or(String::new(), |failure| format!(" ({})", failure.message));
            return Some(format!(
                "the certificate in Secret {secret} to be issued{why}"
            ));
        }
    }
    for facts in observed.workloads() {
        let pods = views(observed, facts);
        if pods.len() < replicas(facts) {
            let all = if observed.workloads().len() > 2 {
                "TiKV, PD and TiDB"
            } else {
                "TiKV and PD"
            };
            return Some(format!("all pods of {all} to be there"));
        }
        let silent = pods.iter().find(|pod| {
            pod.terminating || pod.tls && !observed.served.iter().any(|one| one.pod == pod.name)
        });
        if let Some(pod) = silent {
            return Some(format!("{} to serve its certificate", pod.name));
        }
    }
    let wrong = observed.served.iter().find_map(|served| {
        let part = part_of(observed, served.port)?;
        let wanted = serial(observed, course, part)?;
        let what = match &served.result {
            Ok(leaf) if leaf.serial == wanted && leaf.trusted => return None,
            Ok(leaf) => format!("it serves {}", leaf.serial),
            Err(why) => why.clone(),
        };
        Some(format!(
            "{}:{} to serve the certificate in Secret {} ({what}); the kubelet brings it within two minutes",
            served.pod,
            served.port,
            part.secret(observed.name())
        ))
    });
    wrong.or_else(|| guests::lacking(observed))
}

/// Whether the part has a leaf that suits the step.
pub fn suits(observed: &Observed, part: Part) -> bool {
    let present = authority(observed, &authority_secret(observed.name()));
    let course = present.and_then(|present| course(observed, present).ok());
    course.is_some_and(|course| serial(observed, &course, part).is_some())
}

/// Time in which a store that started catches up with its peers: less than half a minute was measured (facts, TLS §9.3).
const CATCHING_UP: SignedDuration = SignedDuration::from_mins(2);

/// A pod whose store is well by PD, and which its peers do not reach: they try with certificates that they read while it was away
/// (facts, TLS §2.3, §9.3). PD does not see it; the store itself does.
pub(super) fn stranded(observed: &Observed, now: Timestamp) -> Option<&str> {
    let pods = views(observed, &observed.tikv);
    let long = |pod: &PodView<'_>| {
        let started = pod
            .store
            .and_then(|store| store.started)
            .max(pod.ready_since);
        started.is_some_and(|at| now.duration_since(at) > CATCHING_UP)
    };
    let mut stranded = pods.iter().filter(|pod| {
        observed.unready.contains(pod.name) && pod.ailment(now).is_none() && long(pod)
    });
    stranded.next().map(|pod| pod.name)
}

/// Serial number of the part's leaf, when it suits.
fn serial<'a>(observed: &'a Observed, course: &Course<'_>, part: Part) -> Option<&'a str> {
    match &observed.secrets.get(&part.secret(observed.name()))?.content {
        SecretContent::Leaf {
            certificate,
            trusts,
            root,
        } if course.suits(root, trusts) => Some(&certificate.serial),
        _ => None,
    }
}

fn part_of(observed: &Observed, port: u16) -> Option<Part> {
    let port = if port == STATUS_PORT { 20160 } else { port };
    let mut parts = observed.parts().into_iter();
    parts.find(|part| part.ports().contains(&port))
}
