//! Who unwraps a key, from what the operator wrote.

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::wrapped::{Pkcs11Unwrapper, Unwrapper, VaultLogin, VaultUnwrapper};
use crate::kms::Kms;
use crate::kms::pkcs11::{self, Pin, Pkcs11};
use crate::kms::vault::{Auth, Settings, Source, VaultTransit};

/// Nothing is asked yet. What is secret is read from its file when it is needed.
pub(super) fn provider(by: &Unwrapper) -> Box<dyn Kms> {
    match by {
        Unwrapper::VaultTransit(vault) => Box::new(of_vault(vault)),
        Unwrapper::Pkcs11(module) => Box::new(of_module(module)),
    }
}

fn of_module(by: &Pkcs11Unwrapper) -> Pkcs11 {
    Pkcs11::new(pkcs11::Settings {
        module: PathBuf::from(&by.module),
        token: by.token.clone(),
        key: by.key.clone(),
        pin: Arc::new(Pin::File(PathBuf::from(&by.pin))),
    })
}

fn of_vault(by: &VaultUnwrapper) -> VaultTransit {
    let file = |path: &String| Source::File(PathBuf::from(path));
    VaultTransit::new(Settings {
        address: by.address.clone(),
        ca: by.ca.as_ref().map(file),
        namespace: by.namespace.clone(),
        mount: by.mount.clone(),
        key: by.key.clone(),
        auth: match &by.auth {
            VaultLogin::Kubernetes { mount, role, token } => Auth::Kubernetes {
                mount: mount.clone(),
                role: role.clone(),
                token: file(token),
            },
            VaultLogin::AppRole {
                mount,
                role_id,
                secret_id,
            } => Auth::AppRole {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id: file(secret_id),
            },
            VaultLogin::Token { file: token } => Auth::Token(file(token)),
        },
    })
}
