//! What an ACME server says when it does not do what it was asked (RFC 8555 §6.7), in our classes.

use instant_acme::{Error, Problem};

use super::AcmeCa;
use super::http::Unreached;
use crate::issuer::{IssuerClass, IssuerError};
use crate::kms::Class;
use crate::kms::rest::{Failure, excerpt};

const WAY: &str = "Check that the server runs, and the way from the operator to it: network policy (networkPolicy.extraEgress), DNS, proxy. It is tried again by itself.";
pub(super) const CORRECT: &str =
    "Correct server, clientServer and caSecret of tls.issuer.acme; the server's log says more.";
pub(super) const EXTERNAL: &str = "Put the key that the CA gave for this account into a Secret, and name both in tls.issuer.acme.externalAccount.";
const RULES: &str = "Let the CA's rules give certificates with these names, and a common name that is one of them; the server's log says more.";
const SHOW: &str = "See how the server came to that (its log). It must reach the operator (http01) or the zone (dns01) by the DNS that it uses; a TXT record must not be kept by a cache.";

impl AcmeCa {
    pub(super) fn error(
        &self,
        class: IssuerClass,
        message: String,
        remedy: &'static str,
    ) -> IssuerError {
        IssuerError {
            issuer: self.name.clone(),
            class,
            message,
            remedy,
        }
    }

    pub(super) fn unreached(&self, failure: &Failure) -> IssuerError {
        let (class, remedy) = match failure.class {
            Class::Unavailable => (IssuerClass::Unavailable, WAY),
            _ => (IssuerClass::Malformed, CORRECT),
        };
        self.error(class, failure.message.clone(), remedy)
    }

    /// `NotFound` when the server does not know the account.
    pub(super) fn of_acme(&self, error: Error) -> IssuerError {
        match error {
            Error::Api(problem) => self.of_problem(&problem),
            Error::Other(other) => match other.downcast::<Unreached>() {
                Ok(unreached) => self.unreached(&unreached.0),
                Err(other) => {
                    self.error(IssuerClass::Malformed, excerpt(&other.to_string()), CORRECT)
                }
            },
            Error::Timeout(_) => self.error(
                IssuerClass::Unavailable,
                "it did not come to an end within 30 s".to_owned(),
                WAY,
            ),
            other => self.error(IssuerClass::Malformed, excerpt(&other.to_string()), CORRECT),
        }
    }

    fn of_problem(&self, problem: &Problem) -> IssuerError {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default();
        let (class, remedy) = match kind {
            "rateLimited" | "serverInternal" | "badNonce" => (IssuerClass::Unavailable, WAY),
            "accountDoesNotExist" => (IssuerClass::NotFound, WAY),
            "externalAccountRequired" | "unauthorized" | "userActionRequired" => {
                (IssuerClass::Denied, EXTERNAL)
            }
            "connection" | "dns" | "incorrectResponse" | "tls" => (IssuerClass::Refused, SHOW),
            "badCSR"
            | "caa"
            | "rejectedIdentifier"
            | "unsupportedIdentifier"
            | "badPublicKey"
            | "invalidProfile"
            | "compound" => (IssuerClass::Refused, RULES),
            _ if problem.status.is_some_and(|status| status >= 500) => {
                (IssuerClass::Unavailable, WAY)
            }
            _ => (IssuerClass::Refused, RULES),
        };
        self.error(class, excerpt(&problem.to_string()), remedy)
    }

    /// A challenge was answered with an error at once.
    pub(super) fn not_proven(&self, name: &str, error: Error) -> IssuerError {
        match error {
            Error::Api(problem) => self.unproven(&format!("{name}: {problem}")),
            other => self.of_acme(other),
        }
    }

    /// The server looked, and did not find what was shown.
    pub(super) fn unproven(&self, told: &str) -> IssuerError {
        let message = format!("it did not find that the names are ours: {}", excerpt(told));
        self.error(IssuerClass::Refused, message, SHOW)
    }
}
