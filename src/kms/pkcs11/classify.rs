//! From a return value of PKCS#11 to the class of the failure.

use cryptoki::error::{Error, RvError};

use super::Asking;
use crate::kms::error::Class;
use crate::kms::rest::Failure;

/// The failure that an error of a module is.
pub(super) fn classify(error: &Error, asking: Asking) -> Failure {
    let class = match error {
        Error::Pkcs11(value, _) => of_value(*value, asking),
        _ => Class::Malformed,
    };
    Failure::new(class, format!("PKCS#11: {error}"))
}

fn of_value(value: RvError, asking: Asking) -> Class {
    match (value, asking) {
        (
            RvError::TokenNotPresent
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::HostMemory
            | RvError::SlotIdInvalid
            | RvError::SessionCount
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::FunctionCanceled
            | RvError::CryptokiNotInitialized,
            _,
        ) => Class::Unavailable,
        (
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserNotLoggedIn
            | RvError::UserPinNotInitialized
            | RvError::ActionProhibited,
            _,
        ) => Class::Denied,
        (RvError::KeyFunctionNotPermitted, _) => Class::Disabled,
        (RvError::KeyTypeInconsistent | RvError::KeySizeRange, _) => Class::WrongKey,
        // Some modules have no better word for a tag that does not fit.
        (
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::GeneralError
            | RvError::FunctionFailed,
            Asking::Unwrapping,
        ) => Class::WrongKey,
        (RvError::GeneralError | RvError::FunctionFailed, _) => Class::Unavailable,
        _ => Class::Malformed,
    }
}
