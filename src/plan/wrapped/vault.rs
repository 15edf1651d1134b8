//! A key that Vault wraps.

use serde_json::json;

use super::{Provider, Wrapped, file, id, source};
use crate::api::v1alpha1::{MasterKeyChoice, VaultAuthChoice, VaultTransit};
use crate::api::wrapped::{Unwrapper, VaultLogin, VaultUnwrapper};
use crate::plan::desired::Blocker;

/// Life of a service account's token, in seconds: the shortest that Kubernetes allows; the kubelet renews it.
const TOKEN_SECONDS: u64 = 600;

/// A key that Vault wraps.
pub fn vault(resource: &str, vault: &VaultTransit) -> Result<Wrapped, Blocker> {
    let choice = MasterKeyChoice::VaultTransit(vault);
    let id = id(choice);
    let file = |name: &str| file(&id, name);
    let mut sources = Vec::new();
    let ca = vault.ca_secret.as_ref().map(|reference| {
        sources.push(source(reference, "ca.crt"));
        file("ca.crt")
    });
    let auth = match vault.auth.choice() {
        Some(VaultAuthChoice::Kubernetes(kubernetes)) => {
            sources.push(json!({"serviceAccountToken": {
                "audience": kubernetes.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token",
            }}));
            VaultLogin::Kubernetes {
                mount: kubernetes.mount.clone(),
                role: kubernetes.role.clone(),
                token: file("token"),
            }
        }
        Some(VaultAuthChoice::AppRole(role)) => {
            sources.push(source(&role.secret_id, "secret-id"));
            VaultLogin::AppRole {
                mount: role.mount.clone(),
                role_id: role.role_id.clone(),
                secret_id: file("secret-id"),
            }
        }
        Some(VaultAuthChoice::Token(reference)) => {
            sources.push(source(reference, "vault-token"));
            VaultLogin::Token {
                file: file("vault-token"),
            }
        }
        None => {
            return Err(Blocker::new(
                "InvalidSpec",
                "encryption.masterKey.vaultTransit.auth does not name exactly one way to log in",
                "Write one of kubernetes, appRole and token.",
            ));
        }
    };
    let by = Unwrapper::VaultTransit(VaultUnwrapper {
        address: vault.address.trim_end_matches('/').to_owned(),
        ca,
        namespace: vault.namespace.clone(),
        mount: vault.mount.clone(),
        key: vault.key.clone(),
        auth,
    });
    let provider = Provider {
        sources,
        configuration: None,
        offline_grace: vault.offline_grace,
        by,
    };
    Ok(Wrapped::new(resource, choice, provider))
}
