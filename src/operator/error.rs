//! What went wrong in a reconcile, and what follows from it.

use std::time::Duration;

use crate::issuer::{IssuerClass, IssuerError};
use crate::kms::{self, KmsError};
use crate::tikv::pd::PdError;
use crate::tls::authority::IssueError;

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passing: tried again, each time a little later.
    Retry,
    /// Somebody else is at work or was faster: look again soon.
    Wait,
    /// Only a person can mend it.
    Human,
}

impl Class {
    /// The word in metrics, events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Wait => "Wait",
            Self::Human => "Human",
        }
    }
}

/// Why a reconcile did not get through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or was not reached.
    #[error("{doing}: {source}")]
    Kube {
        /// What was being done, with the object's name.
        doing: String,
        /// What the server said.
        source: Box<kube::Error>,
    },
    /// An object of a name we need belongs to somebody else.
    #[error(
        "{kind} {name} exists and was not made for this TikvSecurity ({why}); delete or rename it"
    )]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// By what it was recognised as foreign.
        why: String,
    },
    /// The object can not be understood.
    #[error("{0}")]
    Malformed(String),
    /// Something went away meanwhile.
    #[error("{0}")]
    Gone(String),
    /// PD did not do it.
    #[error("{doing}: {source}")]
    Pd {
        /// What was being done.
        doing: String,
        /// What PD said.
        source: PdError,
    },
    /// Somebody else was faster.
    #[error("{doing}: {holder} has it; it is tried again")]
    Busy {
        /// What was being done.
        doing: String,
        /// Who has it.
        holder: String,
    },
    /// The KMS did not do it.
    #[error("{doing}: {source}. {}", source.remedy())]
    Kms {
        /// What was being done.
        doing: String,
        /// What the KMS said.
        source: KmsError,
    },
    /// An issuer gave no certificate. It is remembered, and the next plan does what can be done without it.
    #[error("{doing}: {source}. {}", source.remedy)]
    NotIssued {
        /// What was being done.
        doing: String,
        /// What the issuer said.
        source: IssuerError,
    },
    /// No certificate.
    #[error("{doing}: {source}. {}", source.remedy)]
    Issue {
        /// What was being done.
        doing: String,
        /// What the issuer said.
        source: IssuerError,
    },
}

impl Error {
    /// For `map_err` on a call of the API server.
    pub fn kube(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Kube {
            doing,
            source: Box::new(source),
        }
    }

    /// For `map_err` on what a CA of ours does.
    pub fn issue(doing: impl Into<String>) -> impl FnOnce(IssueError) -> Self {
        let doing = doing.into();
        move |source| Self::Issue {
            doing,
            source: IssuerError::of_issue("of this cluster", &source),
        }
    }

    /// What follows from it.
    pub fn class(&self) -> Class {
        match self {
            Self::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => match status.code {
                    // Somebody wrote between our reading and our writing, or the object went away.
                    404 | 409 => Class::Wait,
                    // Refused by admission, by validation or for lack of rights: saying it again does not help.
                    400 | 403 | 422 => Class::Human,
                    _ => Class::Retry,
                },
                _ => Class::Retry,
            },
            Self::Foreign { .. } | Self::Malformed(_) => Class::Human,
            Self::Issue { source, .. } | Self::NotIssued { source, .. } => match source.class {
                IssuerClass::Unavailable => Class::Retry,
                _ => Class::Human,
            },
            Self::Gone(_) | Self::Busy { .. } => Class::Wait,
            Self::Pd { .. } => Class::Retry,
            Self::Kms { source, .. } if source.class == kms::Class::Unavailable => Class::Retry,
            Self::Kms { .. } => Class::Human,
        }
    }

    /// A stable word for events.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Kube { .. } => "RefusedByApiServer",
            Self::Foreign { .. } => "ForeignObject",
            Self::Malformed(_) => "Malformed",
            Self::Gone(_) => "Gone",
            Self::Pd { .. } => "PdFailed",
            Self::Busy { .. } => "Busy",
            Self::Kms { .. } => "MasterKeyNotMade",
            Self::Issue { .. } | Self::NotIssued { .. } => "IssueFailed",
        }
    }
}

/// When to try again after the `attempt`th failure in a row (from 0): a jittered, growing pause.
/// `dice` is a random number, so that many objects do not come back at the same moment.
pub fn pause(class: Class, attempt: u32, dice: u64) -> Duration {
    let (first, last) = match class {
        Class::Wait => (500, 5_000),
        Class::Retry => (1_000, 120_000),
        Class::Human => (30_000, 600_000),
    };
    let full = first * (1_u64 << attempt.min(16));
    let full = full.min(last);
    // Between half of it and all of it.
    Duration::from_millis(full / 2 + dice % (full / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::{Class, pause};

    #[test]
    fn pauses_grow_with_jitter_and_end() {
        for class in [Class::Wait, Class::Retry, Class::Human] {
            let mut before = 0;
            for attempt in 0..40 {
                let shortest = pause(class, attempt, 0).as_millis();
                let longest = (0..2_000).map(|dice| pause(class, attempt, dice * 7919));
                let longest = longest.max().map_or(0, |longest| longest.as_millis());
                assert!(shortest >= before && longest <= 600_000);
                assert!(longest > shortest);
                before = shortest;
            }
        }
    }
}
