//! A key that a hardware security module wraps.

use super::{Provider, Wrapped, file, id, source};
use crate::api::v1alpha1::{MasterKeyChoice, Pkcs11};
use crate::api::wrapped::{Pkcs11Unwrapper, Unwrapper};

/// The PIN beside the wrapped form.
const PIN: &str = "pin";

/// A key that a hardware security module wraps.
pub fn pkcs11(resource: &str, key: &Pkcs11) -> Wrapped {
    let choice = MasterKeyChoice::Pkcs11(key);
    let by = Unwrapper::Pkcs11(Pkcs11Unwrapper {
        module: key.module.clone(),
        token: key.token.clone(),
        key: key.key.clone(),
        pin: file(&id(choice), PIN),
    });
    let configuration = key.config_secret.as_ref();
    let provider = Provider {
        sources: vec![source(&key.pin_secret, PIN)],
        configuration: configuration.map(|secret| secret.name.clone()),
        offline_grace: key.offline_grace,
        by,
    };
    Wrapped::new(resource, choice, provider)
}
