//! CAs whose key is in a key management service.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Found, Unasked};
use crate::api::v1alpha1::{self as api, SigningKeyChoice};
use crate::issuer::{AwsSigner, AzureSigner, GcpSigner, KeySigner, RemoteCa};
use crate::kms::{aws, azure, gcp};
use crate::operator::error::Error;
use crate::operator::missing::Missing;
use crate::operator::named::{aws_credentials, content};
use crate::operator::objects::Objects;
use crate::tls::anchor::CaCertificates;

/// A key, and the versions of the Secrets that it is reached by.
type Signer = (Arc<dyn KeySigner>, String);

pub(super) async fn reach(
    objects: &Objects,
    name: String,
    wanted: &api::KmsIssuer,
    certificates: Option<CaCertificates>,
) -> Result<Result<Found, Unasked>, Error> {
    let signer = match wanted.choice() {
        Some(SigningKeyChoice::Aws(key)) => aws(objects, &name, key).await?,
        Some(SigningKeyChoice::Gcp(key)) => google(objects, &name, key).await?,
        Some(SigningKeyChoice::Azure(key)) => azure(objects, &name, key).await?,
        None => Err(Missing::Login),
    };
    Ok(signer
        .map(|(signer, what)| Found {
            issuer: Arc::new(RemoteCa::new(name, signer, certificates)),
            what,
        })
        .map_err(Unasked::Missing))
}

async fn aws(
    objects: &Objects,
    name: &str,
    key: &api::AwsKms,
) -> Result<Result<Signer, Missing>, Error> {
    let mut own = None;
    let mut what = String::new();
    if let Some(reference) = &key.credentials_secret {
        match aws_credentials(objects, reference).await? {
            Ok((found, version)) => {
                own = Some(found);
                what = format!("{version:?}");
            }
            Err(missing) => return Ok(Err(missing)),
        }
    }
    let key = aws::AwsKms::new(aws::Settings {
        key_id: key.key_id.clone(),
        region: Some(key.region.clone()),
        endpoint: key.endpoint.clone(),
        credentials: own,
    });
    Ok(Ok((Arc::new(AwsSigner::new(name, key)), what)))
}

async fn google(
    objects: &Objects,
    name: &str,
    key: &api::GcpSigningKey,
) -> Result<Result<Signer, Missing>, Error> {
    let mut credentials = gcp::Credentials::Default;
    let mut what = String::new();
    if let Some(reference) = &key.credentials_secret {
        match content(objects, reference).await? {
            Ok((bytes, version)) => {
                credentials = gcp::Credentials::Json(bytes);
                what = format!("{version:?}");
            }
            Err(missing) => return Ok(Err(missing)),
        }
    }
    let key = gcp::GcpKms::new(gcp::Settings {
        key_id: key.key_version.clone(),
        // Of master keys only.
        vendor: gcp::Vendor::V2,
        endpoint: key.endpoint.clone(),
        credentials,
    });
    Ok(Ok((Arc::new(GcpSigner::new(name, key)), what)))
}

async fn azure(
    objects: &Objects,
    name: &str,
    key: &api::AzureSigningKey,
) -> Result<Result<Signer, Missing>, Error> {
    let (certificate, version) = match content(objects, &key.client_certificate_secret).await? {
        Ok(found) => found,
        Err(missing) => return Ok(Err(missing)),
    };
    let vault = azure::AzureKeyVault::new(azure::Settings {
        key_name: key.key_name.clone(),
        vault_url: key.keyvault_url.clone(),
        // Of master keys only.
        hsm_url: String::new(),
        tenant_id: key.tenant_id.clone(),
        client_id: key.client_id.clone(),
        credential: azure::Credential::Certificate {
            content: certificate,
            password: Zeroizing::default(),
        },
        authority: azure::AUTHORITY.to_owned(),
    });
    let signer = AzureSigner::new(name, vault, key.key_version.clone());
    Ok(Ok((Arc::new(signer), format!("{version:?}"))))
}
