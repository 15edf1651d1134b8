//! From what AWS or the network said to the class of the failure.

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::kms::error::{Class, KmsError, Service};

/// The failure of one request for `key`.
pub(super) fn classify<E>(key: &str, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (class, message) = told(error);
    // KMSInvalidStateException has many reasons; only its words tell this one.
    let deleted = class == Class::Disabled && message.contains("pending deletion");
    KmsError {
        class: if deleted {
            Class::PendingDeletion
        } else {
            class
        },
        service: Service::Aws,
        key: key.to_owned(),
        message,
        after: None,
    }
}

/// Class and words of the failure of one request to whichever service.
pub(crate) fn told<E>(error: &SdkError<E, HttpResponse>) -> (Class, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let (code, said) = (answer.err().code(), answer.err().message());
            (of_answer(status, code), words(status, code, said))
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            (of_answer(status, None), words(status, None, None))
        }
        SdkError::TimeoutError(_) => (Class::Unavailable, "it timed out".to_owned()),
        other => {
            let chain = DisplayErrorContext(other).to_string();
            (of_dispatch(&chain), plain(&chain))
        }
    }
}

fn of_answer(status: u16, code: Option<&str>) -> Class {
    match code.unwrap_or_default() {
        "AccessDeniedException"
        | "AccessDenied"
        // Secrets Manager, of the key that it encrypts with.
        | "DecryptionFailure"
        | "EncryptionFailure"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidGrantTokenException"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Class::Denied,
        "IncorrectKeyException" | "InvalidCiphertextException" | "InvalidKeyUsageException" => {
            Class::WrongKey
        }
        "NotFoundException" | "ResourceNotFoundException" => Class::NotFound,
        "DisabledException" | "KMSInvalidStateException" => Class::Disabled,
        "DependencyTimeoutException"
        | "InternalServiceError"
        | "KMSInternalException"
        | "KeyUnavailableException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => Class::Unavailable,
        _ => match status {
            408 | 429 | 500.. => Class::Unavailable,
            401 | 403 => Class::Denied,
            _ => Class::Malformed,
        },
    }
}

/// Nothing was sent, or nothing came back.
fn of_dispatch(chain: &str) -> Class {
    const NO_CREDENTIALS: [&str; 5] = [
        "no providers in chain provided credentials",
        "CredentialsNotLoaded",
        "InvalidConfiguration",
        "AccessDenied",
        "InvalidIdentityToken",
    ];
    const MALFORMED: [&str; 2] = ["failed to construct request", "invalid uri"];
    let has = |any: &[&str]| any.iter().any(|text| chain.contains(text));
    if has(&NO_CREDENTIALS) {
        Class::Denied
    } else if has(&MALFORMED) {
        Class::Malformed
    } else {
        Class::Unavailable
    }
}

fn words(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => format!("HTTP status {status} without the error code of AWS"),
    }
}

/// The chain of causes without the debug representation that the SDK appends.
fn plain(chain: &str) -> String {
    let words = chain.split(" (").next().unwrap_or(chain);
    words.trim().to_owned()
}
