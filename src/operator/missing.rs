//! What a person has to provide, and did not.

use crate::api::v1alpha1::SecretKeyRef;

/// Something that is named and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// A Secret.
    Secret(String),
    /// A key of a Secret.
    Key {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// The operator was not told its own service account.
    Account,
    /// No way to log in to Vault, or several; admission refuses that.
    Login,
    /// No solver of ACME, or several; admission refuses that.
    Solver,
}

impl Missing {
    /// A key of a Secret.
    pub fn of_key(reference: &SecretKeyRef) -> Self {
        Self::Key {
            secret: reference.name.clone(),
            key: reference.key.clone(),
        }
    }

    /// What is missing. `field` is what names it.
    pub fn message(&self, field: &str) -> String {
        match self {
            Self::Secret(name) => format!("the Secret {name} that {field} names does not exist"),
            Self::Key { secret, key } => format!("the Secret {secret} has no key {key}"),
            Self::Account => "the operator does not know its own service account, so it can not log in to Vault by it".to_owned(),
            Self::Solver => format!("{field} names no solver of ACME, or several"),
            Self::Login => format!("{field} names no way to log in to Vault, or several"),
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::Secret(name) => {
                format!("Create the Secret {name} in the same namespace, or correct its name.")
            }
            Self::Key { secret, key } => format!("Put {key} into the Secret {secret}."),
            Self::Account => "Start the operator with --service-account (POD_SERVICE_ACCOUNT), as the chart does, or use auth.appRole.".to_owned(),
            Self::Solver => "Write one of solver.http01 and solver.dns01.".to_owned(),
            Self::Login => "Write one of auth.kubernetes, auth.appRole and auth.token.".to_owned(),
        }
    }
}
