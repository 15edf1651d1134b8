//! What a resource names in Secrets: read, with the version that was read, or what a person has to provide.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::error::Error;
use super::master_key::credentials;
use super::missing::Missing;
use super::objects::Objects;
use super::observe::secrets::field;
use crate::api::v1alpha1::{SecretKeyRef, SecretRef};
use crate::crypto::secret::SecretBytes;
use crate::kms::aws::StaticCredentials;

/// Resource version of a Secret.
pub(super) type Version = Option<String>;

/// What is under a key.
pub(super) async fn content(
    objects: &Objects,
    reference: &SecretKeyRef,
) -> Result<Result<(SecretBytes, Version), Missing>, Error> {
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(Err(Missing::Secret(reference.name.clone())));
    };
    Ok(match field(&secret, &reference.key) {
        Ok(bytes) => Ok((SecretBytes::new(bytes.to_vec()), secret.resource_version())),
        Err(_) => Err(Missing::of_key(reference)),
    })
}

/// Credentials of AWS.
pub(super) async fn aws_credentials(
    objects: &Objects,
    reference: &SecretRef,
) -> Result<Result<(StaticCredentials, Version), Missing>, Error> {
    let Some(secret) = objects.get::<Secret>(&reference.name).await? else {
        return Ok(Err(Missing::Secret(reference.name.clone())));
    };
    let version = secret.resource_version();
    Ok(credentials(&secret).map(|found| (found, version)))
}
