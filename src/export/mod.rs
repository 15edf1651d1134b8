//! Copies of certificates outside of the cluster: a store of secrets that is asked. One trait, one file each.
//!
//! # Guarantees
//! Nothing is written over that is not marked as this export's, unless it holds the very same already. What was looked at is what is written
//! over, where the store can tell.

mod aws;
mod content;
mod vault;

use std::fmt;

use futures::future::BoxFuture;

pub use self::aws::SecretsManager;
pub use self::content::Content;
pub use self::vault::KvEngine;
use crate::kms::Class;

/// Name of the mark: a key of Vault's custom metadata, a tag of AWS.
pub const MARK: &str = "security.tikv.org/owner";

/// A place for one copy.
pub trait Target: Send + Sync {
    /// What is there, and whether it holds this. Whose it is is told by the mark.
    fn look<'a>(
        &'a self,
        wanted: Option<&'a Content>,
        mark: &'a str,
    ) -> BoxFuture<'a, Result<Found, ExportError>>;

    /// Does what [`step`] said of what was found.
    fn write<'a>(
        &'a self,
        content: &'a Content,
        mark: &'a str,
        found: &'a Found,
    ) -> BoxFuture<'a, Result<(), ExportError>>;

    /// Only the mark is written.
    fn mark<'a>(
        &'a self,
        mark: &'a str,
        found: &'a Found,
    ) -> BoxFuture<'a, Result<(), ExportError>>;

    /// The copy goes.
    fn delete(&self) -> BoxFuture<'_, Result<(), ExportError>>;

    /// Which one, for people.
    fn name(&self) -> &str;
}

/// What is at the place of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// Something with the mark of this export.
    Ours(Seen),
    /// Something without a mark.
    Unmarked(Seen),
    /// Something with another mark, which is this.
    Foreign(String),
}

/// How something was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It holds what it is to hold.
    pub same: bool,
    /// Somebody deleted it, in a way that can be undone.
    pub deleted: bool,
    /// Version of what was seen, where there are such; 0: there never was any content.
    pub version: Option<u64>,
    /// What else is written beside the mark.
    pub beside: Vec<(String, String)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// The first time.
    Create,
    /// It is brought to what it is to hold.
    Replace,
    /// It holds it already, and lacks the mark: what a run that was cut off leaves.
    Mark,
    /// It goes.
    Delete,
    /// It is somebody else's.
    Refuse,
}

/// Decides, for a copy that is wanted or is to go.
pub fn step(found: &Found, wanted: bool) -> Step {
    match (found, wanted) {
        (Found::Absent, true) => Step::Create,
        (Found::Ours(seen), true) if seen.same && !seen.deleted => Step::Rest,
        (Found::Ours(_), true) => Step::Replace,
        (Found::Unmarked(seen), true) if seen.same && !seen.deleted => Step::Mark,
        // Prepared by a person, with rules of their own, and empty.
        (Found::Unmarked(seen), true) if seen.version == Some(0) => Step::Create,
        (Found::Unmarked(_) | Found::Foreign(_), true) => Step::Refuse,
        (Found::Ours(seen), false) if !seen.deleted => Step::Delete,
        // In Vault, what is deleted by version only still has its other versions.
        (Found::Ours(seen), false) if seen.version.is_some() => Step::Delete,
        (_, false) => Step::Rest,
    }
}

/// In which way a store of secrets did not do what it was asked. Never merged: each has its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportClass {
    /// No answer, or "not now": may pass by itself.
    Unavailable,
    /// Permission or credentials are missing.
    Denied,
    /// There is no such engine, region or key.
    NotFound,
    /// Somebody else's secret is in its place.
    Foreign,
    /// Its configuration or its answer can not be used.
    Malformed,
}

impl ExportClass {
    /// Stable word for conditions and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unavailable => "ExportUnavailable",
            Self::Denied => "ExportDenied",
            Self::NotFound => "ExportNotFound",
            Self::Foreign => "ExportForeign",
            Self::Malformed => "ExportMalformed",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Unavailable => "does not answer",
            Self::Denied => "refuses access",
            Self::NotFound => "does not exist",
            Self::Foreign => "holds a secret of somebody else",
            Self::Malformed => "can not be used",
        }
    }
}

impl From<Class> for ExportClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Unavailable => Self::Unavailable,
            Class::Denied => Self::Denied,
            Class::NotFound => Self::NotFound,
            Class::WrongKey | Class::Disabled | Class::PendingDeletion | Class::Malformed => {
                Self::Malformed
            }
        }
    }
}

/// A store of secrets did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError {
    /// Which place, for people.
    pub target: String,
    /// In which way.
    pub class: ExportClass,
    /// What it or the network said.
    pub message: String,
    /// What to do next.
    pub remedy: String,
}

impl ExportError {
    /// What is there is not to be written over.
    pub fn foreign(target: &str, found: &Found, mark: &str) -> Self {
        let whose = match found {
            Found::Foreign(whose) => format!("it is marked as that of {whose}"),
            _ => format!("it has no mark {MARK}, and holds something else"),
        };
        Self {
            target: target.to_owned(),
            class: ExportClass::Foreign,
            message: whose,
            remedy: format!(
                "Name another place, or delete it there. If it may be written over, mark it: {MARK}={mark} (custom metadata in Vault, a tag in AWS)."
            ),
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            class,
            message,
            ..
        } = self;
        write!(f, "{target} {}: {message}", class.says())
    }
}

impl std::error::Error for ExportError {}

#[cfg(test)]
mod tests {
    use super::{Found, Seen, Step, step};

    fn seen(same: bool, deleted: bool, version: Option<u64>) -> Seen {
        Seen {
            same,
            deleted,
            version,
            beside: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_ours_or_empty_is_written_over() {
        let right = seen(true, false, Some(3));
        let other = seen(false, false, Some(3));
        let empty = seen(false, false, Some(0));
        let gone = seen(true, true, None);
        let foreign = Found::Foreign("somebody".to_owned());
        for (found, wanted, left) in [
            (Found::Absent, Step::Create, Step::Rest),
            (Found::Ours(right.clone()), Step::Rest, Step::Delete),
            (Found::Ours(other.clone()), Step::Replace, Step::Delete),
            (Found::Ours(gone.clone()), Step::Replace, Step::Rest),
            (Found::Unmarked(right), Step::Mark, Step::Rest),
            (Found::Unmarked(other), Step::Refuse, Step::Rest),
            (Found::Unmarked(gone), Step::Refuse, Step::Rest),
            (Found::Unmarked(empty), Step::Create, Step::Rest),
            (foreign, Step::Refuse, Step::Rest),
        ] {
            assert_eq!(step(&found, true), wanted, "{found:?}");
            assert_eq!(step(&found, false), left, "{found:?}");
        }
    }
}
