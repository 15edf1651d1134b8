//! AWS Secrets Manager, by its own SDK. A secret is created with its mark, a tag, in one call; AWS has no write that fails when somebody else wrote
//! meanwhile.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::types::Tag;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Content, ExportClass, ExportError, Found, MARK, Seen, Target};
use crate::kms::aws::{StaticCredentials, sdk_config, told};

/// A secret and where it is.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    /// Its place, for people.
    pub place: String,
    /// Its name.
    pub secret: String,
    /// Region.
    pub region: String,
    /// Key of AWS KMS, when it is created.
    pub kms_key_id: Option<String>,
    /// URL of the service when it is not AWS's own.
    pub endpoint: Option<String>,
    /// Credentials; by default the chain of the SDK.
    pub credentials: Option<StaticCredentials>,
}

impl SecretsManager {
    async fn client(&self) -> Result<Client, ExportError> {
        let region = Some(self.region.as_str());
        let config = sdk_config(region, self.endpoint.as_deref(), self.credentials.as_ref());
        let config = config.await;
        let config = config.map_err(|failure| self.error(failure.class.into(), failure.message))?;
        Ok(Client::new(&config))
    }

    async fn found(&self, wanted: Option<&Content>, mark: &str) -> Result<Found, ExportError> {
        let client = self.client().await?;
        let told = client.describe_secret().secret_id(&self.secret).send();
        let told = match told.await {
            Err(error) if is_absent(&error) => return Ok(Found::Absent),
            told => told.map_err(|error| self.failed(&error))?,
        };
        let tag = told.tags().iter().find(|tag| tag.key() == Some(MARK));
        let whose = tag.and_then(|tag| tag.value());
        if let Some(whose) = whose.filter(|whose| *whose != mark) {
            return Ok(Found::Foreign(whose.to_owned()));
        }
        let mut seen = Seen {
            deleted: told.deleted_date().is_some(),
            ..Seen::default()
        };
        if let Some(wanted) = wanted.filter(|_| !seen.deleted) {
            let held = client.get_secret_value().secret_id(&self.secret).send();
            seen.same = match held.await {
                // It has no value.
                Err(error) if is_absent(&error) => false,
                held => {
                    let held = held.map_err(|error| self.failed(&error))?;
                    let text = held.secret_string.map(zeroize::Zeroizing::new);
                    text.is_some_and(|text| wanted.is(text.as_bytes()))
                }
            };
        }
        Ok(match whose {
            Some(_) => Found::Ours(seen),
            None => Found::Unmarked(seen),
        })
    }

    async fn put(&self, content: &Content, mark: &str, found: &Found) -> Result<(), ExportError> {
        let client = self.client().await?;
        let text = content.json(("", ""));
        let text = String::from_utf8_lossy(&text).into_owned();
        if *found == Found::Absent {
            let made = client
                .create_secret()
                .name(&self.secret)
                .set_kms_key_id(self.kms_key_id.clone())
                .tags(tag(mark))
                .secret_string(text);
            return made
                .send()
                .await
                .map(drop)
                .map_err(|error| self.failed(&error));
        }
        if matches!(found, Found::Ours(seen) if seen.deleted) {
            let restored = client.restore_secret().secret_id(&self.secret).send();
            restored.await.map_err(|error| self.failed(&error))?;
        }
        let put = client.put_secret_value().secret_id(&self.secret);
        let put = put.secret_string(text).send().await;
        put.map(drop).map_err(|error| self.failed(&error))
    }

    async fn put_mark(&self, mark: &str) -> Result<(), ExportError> {
        let client = self.client().await?;
        let put = client
            .tag_resource()
            .secret_id(&self.secret)
            .tags(tag(mark));
        put.send()
            .await
            .map(drop)
            .map_err(|error| self.failed(&error))
    }

    async fn remove(&self) -> Result<(), ExportError> {
        let client = self.client().await?;
        let gone = client.delete_secret().secret_id(&self.secret).send().await;
        match gone {
            Err(error) if is_absent(&error) => Ok(()),
            gone => gone.map(drop).map_err(|error| self.failed(&error)),
        }
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> ExportError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (class, message) = told(error);
        self.error(class.into(), message)
    }

    fn error(&self, class: ExportClass, message: String) -> ExportError {
        let remedy = match class {
            ExportClass::Unavailable => {
                "Check the way from the operator to the endpoint: network policy, DNS, proxy. It is tried again by itself."
            }
            ExportClass::Denied => {
                "Allow secretsmanager:DescribeSecret, GetSecretValue, CreateSecret, PutSecretValue, TagResource and RestoreSecret on the secret, DeleteSecret for deletionPolicy Delete, and kms:GenerateDataKey and kms:Decrypt where kmsKeyId is given, to the operator's identity or that of credentialsSecret."
            }
            ExportClass::NotFound | ExportClass::Foreign | ExportClass::Malformed => {
                "Correct name, region, endpoint and kmsKeyId of the export."
            }
        };
        ExportError {
            target: self.place.clone(),
            class,
            message,
            remedy: remedy.to_owned(),
        }
    }
}

fn tag(mark: &str) -> Tag {
    Tag::builder().key(MARK).value(mark).build()
}

fn is_absent<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code());
    code == Some("ResourceNotFoundException")
}

impl Target for SecretsManager {
    fn look<'a>(
        &'a self,
        wanted: Option<&'a Content>,
        mark: &'a str,
    ) -> BoxFuture<'a, Result<Found, ExportError>> {
        self.found(wanted, mark).boxed()
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        mark: &'a str,
        found: &'a Found,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        self.put(content, mark, found).boxed()
    }

    fn mark<'a>(&'a self, mark: &'a str, _: &'a Found) -> BoxFuture<'a, Result<(), ExportError>> {
        self.put_mark(mark).boxed()
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), ExportError>> {
        self.remove().boxed()
    }

    fn name(&self) -> &str {
        &self.place
    }
}
