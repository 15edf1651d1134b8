//! From what Azure said to the class of the failure.

use serde::Deserialize;

use crate::kms::error::Class;
use crate::kms::rest::{Answer, Failure, excerpt};

/// The failure that an answer is; `decrypting` when wrapped bytes were sent, which only their own key can open.
pub(super) fn classify(answer: &Answer, decrypting: bool) -> Failure {
    let (class, message) = match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(Refusal { error }) => (of_refusal(answer.status, &error, decrypting), words(&error)),
        Err(_) => (
            of_http(answer.status),
            format!("HTTP status {} without an error of Azure", answer.status),
        ),
    };
    Failure {
        class,
        message,
        after: answer.after,
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    code: String,
}

impl Said {
    fn inner(&self) -> &str {
        self.innererror.as_ref().map_or("", |inner| &inner.code)
    }
}

fn of_refusal(status: u16, said: &Said, decrypting: bool) -> Class {
    match (said.code.as_str(), said.inner()) {
        (_, "KeyDisabled" | "KeyExpired" | "KeyNotYetValid") => Class::Disabled,
        (_, "KeyOperationForbidden") | ("KeyOperationForbidden", _) => Class::WrongKey,
        ("KeyNotFound", _) => Class::NotFound,
        (_, "ObjectIsDeletedButRecoverable" | "ObjectIsBeingDeleted") => Class::PendingDeletion,
        // Padding that does not fit: RSA has no other way to say that another key wrapped this.
        ("BadParameter", _) if decrypting && status == 400 => Class::WrongKey,
        _ => of_http(status),
    }
}

fn of_http(status: u16) -> Class {
    match status {
        408 | 409 | 429 | 500.. => Class::Unavailable,
        401 | 403 => Class::Denied,
        _ => Class::Malformed,
    }
}

fn words(said: &Said) -> String {
    let inner = said.inner();
    let dot = if inner.is_empty() { "" } else { "." };
    format!("{}{dot}{inner}: {}", said.code, excerpt(&said.message))
}
