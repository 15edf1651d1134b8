//! From what Vault said to the class of the failure. Its statuses are few, so its words count.

use serde::Deserialize;

use crate::kms::error::Class;
use crate::kms::rest::{Answer, Failure, excerpt};

/// What was asked: one status means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Login,
    Description,
    DataKey,
    Unwrapping,
}

/// The failure that an answer is.
pub(super) fn classify(answer: &Answer, asking: Asking) -> Failure {
    let (class, words) = match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(Refusal { errors }) => {
            let words = excerpt(&plain(&errors).join("; "));
            (of_refusal(answer.status, &words, asking), words)
        }
        Err(_) => (of_http(answer.status, asking), String::new()),
    };
    let words = match (words.is_empty(), answer.status) {
        (false, _) => words,
        (true, 404) => "there is nothing of this name".to_owned(),
        (true, status) => format!("HTTP status {status} without an error of Vault"),
    };
    let doing = if asking == Asking::Login {
        "logging in: "
    } else {
        ""
    };
    Failure {
        class,
        message: format!("{doing}{words}"),
        after: answer.after,
    }
}

/// A list of one error is written as a list in a text: `1 error occurred:`, and the error in the next line after a star.
fn plain(errors: &[String]) -> Vec<&str> {
    let plain = errors.iter().map(|error| {
        let listed = error.strip_prefix("1 error occurred:");
        listed.map_or(error.as_str(), |listed| {
            listed.trim().trim_start_matches("* ")
        })
    });
    plain.collect()
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<String>,
}

fn of_refusal(status: u16, words: &str, asking: Asking) -> Class {
    let says = |part: &str| words.contains(part);
    match () {
        () if says("soft-deleted") || says("soft deleted") => Class::Disabled,
        // The key's minimum version for decryption was raised beyond the one that wrapped this.
        () if says("disallowed by policy") => Class::Disabled,
        () if asking == Asking::Unwrapping
            && (says("message authentication failed")
                || says("invalid ciphertext")
                || says("unable to decrypt")) =>
        {
            Class::WrongKey
        }
        () if status == 400 && says("key not found") => Class::NotFound,
        () if status == 400 && says("not supported for key type") => Class::WrongKey,
        () => of_http(status, asking),
    }
}

fn of_http(status: u16, asking: Asking) -> Class {
    match status {
        // 412: a standby does not know yet what was written; 472, 473: a standby that does not answer itself.
        408 | 412 | 429 | 472 | 473 | 500.. => Class::Unavailable,
        401 | 403 => Class::Denied,
        // Unknown role, wrong secret.
        400 if asking == Asking::Login => Class::Denied,
        404 if asking != Asking::Login => Class::NotFound,
        _ => Class::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Asking, Class, of_refusal};

    #[test]
    fn one_status_means_what_was_asked_for() {
        let sealed = of_refusal(503, "Vault is sealed", Asking::Unwrapping);
        assert_eq!(sealed, Class::Unavailable);
        let denied = of_refusal(403, "permission denied", Asking::DataKey);
        assert_eq!(denied, Class::Denied);
        let nobody = of_refusal(400, "invalid role or secret ID", Asking::Login);
        assert_eq!(nobody, Class::Denied);
        let no_method = of_refusal(404, "no handler for route", Asking::Login);
        assert_eq!(no_method, Class::Malformed);
        for status in [400, 500] {
            let other = "cipher: message authentication failed";
            let other = of_refusal(status, other, Asking::Unwrapping);
            assert_eq!(other, Class::WrongKey);
        }
    }
}
