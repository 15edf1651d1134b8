//! Accounts at an ACME server: made once, kept by whoever holds this program's state.

use futures::future::BoxFuture;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use zeroize::Zeroizing;

use super::AcmeCa;
use super::http::Http;
use crate::crypto::secret::SecretBytes;
use crate::issuer::{IssuerClass, IssuerError};

/// Where accounts are kept. `account` tells servers and external accounts apart.
pub trait Accounts: Send + Sync {
    /// What was kept.
    fn load<'a>(
        &'a self,
        account: &'a str,
    ) -> BoxFuture<'a, Result<Option<SecretBytes>, IssuerError>>;
    /// Keeps it instead of what was kept before.
    fn keep<'a>(
        &'a self,
        account: &'a str,
        content: SecretBytes,
    ) -> BoxFuture<'a, Result<(), IssuerError>>;
}

/// An account at the register of the CA (RFC 8555 §7.3.4).
pub struct ExternalAccount {
    /// Name of its key.
    pub key_id: String,
    /// The key.
    pub key: SecretBytes,
}

impl AcmeCa {
    /// The account that was made before, or a new one. `anew`: the server does not know the one before.
    pub(super) async fn account(&self, server: &str, anew: bool) -> Result<Account, IssuerError> {
        let external = self.settings.external_account.as_ref();
        let id = external.map_or("", |account| account.key_id.as_str());
        let which = format!("{server} {id}");
        let kept = if anew {
            None
        } else {
            self.accounts.load(&which).await?
        };
        let builder = || Account::builder_with_http(Box::new(Http::new(&self.settings.roots)));
        if let Some(kept) = kept {
            // No message of the parser: it could show what is kept.
            let credentials = serde_json::from_slice::<AccountCredentials>(kept.expose());
            let credentials = credentials.map_err(|_| {
                self.error(
                    IssuerClass::Malformed,
                    "the account that was kept can not be read".to_owned(),
                    "Delete the Secret of the account (NAME-acme-…): another account is made.",
                )
            })?;
            let account = builder().from_credentials(credentials).await;
            return account.map_err(|error| self.of_acme(error));
        }
        let contact = self.settings.email.as_ref();
        let contact = contact.map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external =
            external.map(|one| ExternalAccountKey::new(one.key_id.clone(), one.key.expose()));
        let (account, credentials) = builder()
            .create(&wanted, server.to_owned(), external.as_ref())
            .await
            .map_err(|error| self.of_acme(error))?;
        let content = serde_json::to_vec(&credentials).map(Zeroizing::new);
        let content = content.map_err(|error| {
            self.error(IssuerClass::Malformed, error.to_string(), "Report this.")
        })?;
        self.accounts
            .keep(&which, SecretBytes::new(content.to_vec()))
            .await?;
        Ok(account)
    }
}
