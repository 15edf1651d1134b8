//! A hardware security module, as the operator reaches it: by the vendor's library in its own image.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{Subject, content, no_key, no_secret};
use crate::api::v1alpha1::Pkcs11;
use crate::crypto::secret::SecretBytes;
use crate::kms::pkcs11::{self, Pin, Settings};
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::plan::observed::{MasterKeyClass, MasterKeyProof};

/// The key that the resource names.
pub(super) async fn subject(
    objects: &Objects,
    key: &Pkcs11,
) -> Result<Result<Subject, MasterKeyProof>, Error> {
    if !pkcs11::LOADS_MODULES {
        return Ok(Err(needs_image(&key.module)));
    }
    let reference = &key.pin_secret;
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(Err(no_secret(&reference.name)));
    };
    let Some(pin) = content(&secret, &reference.key) else {
        return Ok(Err(no_key(&reference.name, &reference.key)));
    };
    // The operator's library has a configuration of its own; without this one no agent would start.
    if let Some(reference) = &key.config_secret
        && objects.get::<Secret>(&reference.name).await?.is_none()
    {
        return Ok(Err(no_secret(&reference.name)));
    }
    Ok(Ok(Subject {
        what: format!(
            "{:?}",
            (objects.namespace(), key, secret.resource_version())
        ),
        kms: Arc::new(pkcs11::Pkcs11::new(Settings {
            module: PathBuf::from(&key.module),
            token: key.token.clone(),
            key: key.key.clone(),
            pin: Arc::new(Pin::Given(SecretBytes::new(pin.to_vec()))),
        })),
        wrapped: None,
    }))
}

fn needs_image(module: &str) -> MasterKeyProof {
    MasterKeyProof::Refused {
        class: MasterKeyClass::NeedsHsmImage,
        message: format!(
            "the operator runs in the static image, whose program can not load {module}"
        ),
        remedy: "Install the operator with the image for HSMs, whose tag ends with -hsm, and the vendor's library in it (docs/kms-pkcs11.md); the agents get the same image.".to_owned(),
    }
}
