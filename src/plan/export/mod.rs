//! Copies of sets outside of the Kubernetes cluster: which there are to be, what is to be done about each, and what is told.
//!
//! What is to be done there is known only when it is looked at, so a job says what is wanted, and whoever carries it out looks first. A copy is named
//! in the status before it is made, with how it is reached: so it can be deleted when the spec does not name it any more.

mod cluster;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

pub use cluster::of_cluster;

use crate::api::v1alpha1::{DeletionPolicy, Export, ExportStatus, reason};

/// A copy that is right is looked at again after this time: somebody else may have changed it.
const LOOK: SignedDuration = SignedDuration::from_mins(5);

/// Where a set is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The Secret.
    pub secret: String,
    /// Its resource version.
    pub version: String,
    /// Serial number of its certificate.
    pub serial: String,
}

/// What is remembered of a copy since the operator started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The version of the Secret that it was last seen to hold, its serial number, and when.
    pub holds: Option<(Source, Timestamp)>,
    /// The last attempt failed.
    pub failure: Option<Failure>,
    /// It was deleted.
    pub deleted: bool,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable word for conditions.
    pub reason: &'static str,
    /// What happened, without secrets, and what to do next.
    pub message: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
    /// How it was to be reached: another way is tried at once.
    pub reached: Box<Export>,
}

/// One copy that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub to: Export,
    /// Of what; or why there is nothing to copy now.
    pub from: Result<Source, Nothing>,
}

/// Why there is nothing to copy: a stable word, and a text.
pub type Nothing = (&'static str, String);

/// Something to be done about one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where.
    pub to: Export,
    /// What it is to hold; `None`: it is to go.
    pub from: Option<Source>,
}

/// The decision about all copies of one object.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// What is to be done.
    pub jobs: Vec<Job>,
    /// What is told of each.
    pub statuses: Vec<ExportStatus>,
    /// All together: whether all is well, a stable word, and a text. `None` where no copies are wanted and none is left.
    pub verdict: Option<(bool, &'static str, String)>,
    /// When something is to be done if nothing happens before.
    pub next: Option<Timestamp>,
}

/// Name of a place.
pub fn place(of: &Export) -> Option<String> {
    of.choice().map(|choice| choice.to_string())
}

/// Decides.
///
/// `before` is what the stored status tells, `forbidden` why nothing may be copied, `leaving` whether the object is being deleted.
pub fn exports(
    wanted: &[Wanted],
    before: &[ExportStatus],
    known: &BTreeMap<String, Known>,
    forbidden: Option<&str>,
    leaving: bool,
    now: Timestamp,
) -> Exports {
    let mut all = Exports::default();
    let mut trouble: Option<(&'static str, String)> = None;
    let mut places = BTreeSet::new();
    for one in wanted.iter().filter(|_| !leaving) {
        let Some(target) = place(&one.to) else {
            let text = "an export does not name exactly one target. Write one of vault and awsSecretsManager";
            trouble.get_or_insert(("InvalidSpec", text.to_owned()));
            continue;
        };
        if !places.insert(target.clone()) {
            let text =
                format!("{target} is named by two exports. Name another place in one of them");
            trouble.get_or_insert(("InvalidSpec", text));
            continue;
        }
        let told = before.iter().find(|told| told.target == target);
        let view = View {
            one,
            told,
            known: known.get(&target),
            forbidden,
            now,
        };
        let (why, status) = view.status(target);
        if let Some(problem) = &status.problem {
            trouble.get_or_insert((why, format!("{}: {problem}", status.target)));
        }
        all.next = all.next.into_iter().chain(view.at()).min();
        all.jobs.extend(view.job());
        all.statuses.push(status);
    }
    let left = before.iter().filter(|told| !places.contains(&told.target));
    for told in left.filter(|told| told.reached.deletion_policy == DeletionPolicy::Delete) {
        let known = known.get(&told.target);
        if known.is_some_and(|known| known.deleted) {
            continue;
        }
        let failure = known.and_then(|known| known.failure.as_ref());
        let problem = failure.map_or("it is being deleted", |failure| &failure.message);
        let why = failure.map_or(reason::IN_PROGRESS, |failure| failure.reason);
        trouble.get_or_insert((why, format!("{}: {problem}", told.target)));
        match failure
            .map(|failure| failure.retry_at)
            .filter(|at| *at > now)
        {
            Some(at) => all.next = all.next.into_iter().chain([at]).min(),
            None => all.jobs.push(Job {
                to: told.reached.clone(),
                from: None,
            }),
        }
        all.statuses.push(ExportStatus {
            current: false,
            problem: Some(problem.to_owned()),
            ..told.clone()
        });
    }
    let some = !all.statuses.is_empty() || trouble.is_some();
    all.verdict = some.then(|| match trouble {
        Some((why, text)) => (false, why, text),
        None => (
            true,
            reason::AS_DESIRED,
            format!(
                "Each of {} copies holds what its Secret holds",
                all.statuses.len()
            ),
        ),
    });
    all
}

/// One copy and all that is known of it.
struct View<'a> {
    one: &'a Wanted,
    told: Option<&'a ExportStatus>,
    known: Option<&'a Known>,
    forbidden: Option<&'a str>,
    now: Timestamp,
}

impl View<'_> {
    fn failure(&self) -> Option<&Failure> {
        let failure = self.known?.failure.as_ref()?;
        (*failure.reached == self.one.to).then_some(failure)
    }

    /// When the copy was last seen to hold what it is to hold.
    fn right_since(&self) -> Option<Timestamp> {
        let (held, at) = self.known?.holds.as_ref()?;
        let source = self.one.from.as_ref().ok()?;
        (held == source).then_some(*at)
    }

    /// When it is looked at next, if ever.
    fn at(&self) -> Option<Timestamp> {
        self.one.from.as_ref().ok()?;
        if self.forbidden.is_some() {
            return None;
        }
        let again = self.right_since().map(|at| at.saturating_add(LOOK));
        let at = match (self.failure(), again) {
            (Some(failure), _) => failure.retry_at,
            (None, Some(at)) => at.unwrap_or(self.now),
            (None, None) => self.now,
        };
        Some(at)
    }

    fn job(&self) -> Option<Job> {
        // What can not be found again must not be made.
        let told = self.told.is_some_and(|told| told.reached == self.one.to);
        let due = self.at().is_some_and(|at| at <= self.now);
        (told && due).then(|| Job {
            to: self.one.to.clone(),
            from: self.one.from.clone().ok(),
        })
    }

    fn status(&self, target: String) -> (&'static str, ExportStatus) {
        let (why, problem) = match (&self.one.from, self.failure()) {
            _ if self.forbidden.is_some() => ("PolicyViolated", self.forbidden.map(str::to_owned)),
            (Err((why, text)), _) => (*why, Some(text.clone())),
            (Ok(_), Some(failure)) => (failure.reason, Some(failure.message.clone())),
            (Ok(_), None) if self.right_since().is_some() => (reason::AS_DESIRED, None),
            // After a start nothing is known yet; what was told last holds until it is looked at.
            (Ok(source), None)
                if self.known.is_none()
                    && self.told.is_some_and(|told| {
                        told.problem.is_none() && told.serial.as_ref() == Some(&source.serial)
                    }) =>
            {
                (reason::AS_DESIRED, None)
            }
            (Ok(_), None) => (reason::IN_PROGRESS, Some("it is being written".to_owned())),
        };
        let held = self.known.and_then(|known| known.holds.as_ref());
        let serial = held.map(|(source, _)| source.serial.clone());
        let before = || self.told.and_then(|told| told.serial.clone());
        let status = ExportStatus {
            target,
            current: problem.is_none(),
            serial: serial.or_else(before),
            problem,
            reached: self.one.to.clone(),
        };
        (why, status)
    }
}

#[cfg(test)]
mod tests;
