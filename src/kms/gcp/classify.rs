//! From what Google said to the class of the failure.

use serde::Deserialize;

use crate::kms::error::Class;
use crate::kms::rest::{Answer, Failure, excerpt};

/// The failure that an answer of Cloud KMS is.
pub(super) fn classify(answer: &Answer) -> Failure {
    let (class, message) = match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(Refusal { error }) => (
            of_refusal(answer.status, &error),
            format!("{}: {}", error.status, excerpt(&error.message)),
        ),
        Err(_) => (
            of_http(answer.status),
            format!(
                "HTTP status {} without an error of Google's APIs",
                answer.status
            ),
        ),
    };
    Failure {
        class,
        message,
        after: answer.after,
    }
}

/// What a state of a key version forbids.
pub(super) fn of_state(state: &str) -> Option<Class> {
    match state {
        "ENABLED" => None,
        "DISABLED" => Some(Class::Disabled),
        "DESTROY_SCHEDULED" => Some(Class::PendingDeletion),
        "DESTROYED" => Some(Class::NotFound),
        "PENDING_GENERATION" | "PENDING_IMPORT" | "PENDING_EXTERNAL_DESTRUCTION" => {
            Some(Class::Unavailable)
        }
        _ => Some(Class::Malformed),
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
}

fn of_refusal(status: u16, said: &Said) -> Class {
    match said.status.as_str() {
        "PERMISSION_DENIED" | "UNAUTHENTICATED" => Class::Denied,
        "NOT_FOUND" => Class::NotFound,
        "RESOURCE_EXHAUSTED" | "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "ABORTED"
        | "UNKNOWN" | "CANCELLED" => Class::Unavailable,
        // The state of the version is in the words only.
        "FAILED_PRECONDITION" => said
            .message
            .split(|letter: char| !letter.is_ascii_uppercase() && letter != '_')
            .find_map(|word| of_state(word).filter(|class| *class != Class::Malformed))
            .unwrap_or(Class::Malformed),
        "INVALID_ARGUMENT" if said.message.contains("Decryption failed") => Class::WrongKey,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => Class::Malformed,
        _ => of_http(status),
    }
}

fn of_http(status: u16) -> Class {
    match status {
        408 | 429 | 500.. => Class::Unavailable,
        401 | 403 => Class::Denied,
        _ => Class::Malformed,
    }
}
