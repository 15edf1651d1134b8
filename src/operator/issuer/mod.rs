//! Issuers, as the operator reaches them: with what the resource names, or what the Secret of a CA says of whose it is.

mod acme;
mod cert_manager;
mod files;
mod kms;
mod memory;
pub(super) mod stored;

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use self::cert_manager::CertManager;
pub use self::files::Challenges;
pub use self::memory::Memory;
use self::stored::StoredCa;
use super::error::Error;
use super::missing::Missing;
use super::named::content;
use super::objects::Objects;
use super::observe::secrets::{CA, CERTIFICATE, KEY, field};
use super::reconcile::Context;
use super::vault::means;
use crate::api::v1alpha1::{self as api, IssuerChoice, TikvSecurity};
use crate::issuer::{
    CaFiles, HsmSigner, Issuer, IssuerError, OwnCa, RemoteCa, SelfSigning, VaultPki,
    VaultPkiSettings,
};
use crate::kms::pkcs11::{self, Pin, Pkcs11};
use crate::kms::vault::{Connection, VaultClient};
use crate::plan::observed::IssuerLook;
use crate::tls::anchor::CaCertificates;
use crate::tls::private::PrivatePem;

/// Why an issuer can not be asked.
pub(super) enum Unasked {
    /// A person has to provide something.
    Missing(Missing),
    /// What was provided can not be used.
    Unusable(IssuerError),
    /// The program of this image can not load a module.
    NeedsHsmImage(String),
}

/// An issuer and all that decides what it answers.
struct Found {
    issuer: Arc<dyn Issuer>,
    /// The same text, the same answers.
    what: String,
}

impl Unasked {
    fn told(self) -> (String, String) {
        match self {
            Self::Missing(what) => (what.message("spec.tls.issuer"), what.remedy()),
            Self::Unusable(error) => (error.to_string(), error.remedy.to_owned()),
            Self::NeedsHsmImage(module) => (
                format!("the operator runs in the static image, whose program can not load {module}"),
                "Install the operator with the image for HSMs, whose tag ends with -hsm, and the vendor's library in it (docs/kms-pkcs11.md).".to_owned(),
            ),
        }
    }
}

/// What the issuer of a resource can do.
pub(super) async fn look(
    context: &Context,
    objects: &Objects,
    resource: &TikvSecurity,
) -> Result<IssuerLook, Error> {
    let wanted = match &resource.spec.tls {
        Some(tls) => &tls.issuer,
        None => return Ok(IssuerLook::Makes),
    };
    if let Some(IssuerChoice::SelfSigned(_)) | None = wanted.choice() {
        return Ok(IssuerLook::Makes);
    }
    let refused = |(message, remedy)| IssuerLook::Refused { message, remedy };
    let found = match reach(context, objects, wanted, None).await? {
        Ok(found) => found,
        Err(unasked) => return Ok(refused(unasked.told())),
    };
    let what = format!("{} {wanted:?} {}", objects.namespace(), found.what);
    if let Some(known) = context.issuers.look(&what) {
        return Ok(known);
    }
    let look = match found.issuer.look().await {
        Ok(None) => IssuerLook::Makes,
        Ok(Some(certificates)) => IssuerLook::Offers {
            anchor: Box::new(certificates.anchor().clone()),
            signer: Box::new(certificates.signer().clone()),
        },
        Err(error) => refused((error.to_string(), error.remedy.to_owned())),
    };
    context.issuers.looked(what, &look);
    Ok(look)
}

/// The issuer that is named, to have a CA of it.
pub(super) async fn named(
    context: &Context,
    objects: &Objects,
    issuer: &api::Issuer,
) -> Result<Arc<dyn Issuer>, Error> {
    let found = reach(context, objects, issuer, None).await?;
    found.map(|found| found.issuer).map_err(gone)
}

/// Who signs for the CA in a Secret.
pub(super) async fn signer(
    context: &Context,
    objects: &Objects,
    stored: &StoredCa,
) -> Result<Arc<dyn Issuer>, Error> {
    if let Some(own) = &stored.own {
        let name = stored.issuer.choice().map(|choice| choice.to_string());
        let own = OwnCa::shared(name.unwrap_or_default(), own.clone());
        return Ok(Arc::new(own));
    }
    let certificates = Some(stored.certificates.clone());
    let found = reach(context, objects, &stored.issuer, certificates).await?;
    found.map(|found| found.issuer).map_err(gone)
}

fn gone(unasked: Unasked) -> Error {
    let (message, remedy) = unasked.told();
    Error::Malformed(format!("{message}. {remedy}"))
}

async fn reach(
    context: &Context,
    objects: &Objects,
    issuer: &api::Issuer,
    certificates: Option<CaCertificates>,
) -> Result<Result<Found, Unasked>, Error> {
    let Some(choice) = issuer.choice() else {
        return Ok(Err(Unasked::Missing(Missing::Login)));
    };
    let name = choice.to_string();
    match choice {
        IssuerChoice::SelfSigned(_) => Ok(Ok(Found {
            issuer: Arc::new(SelfSigning),
            what: String::new(),
        })),
        IssuerChoice::CaSecret(reference) => ca_secret(objects, name, &reference.name).await,
        IssuerChoice::Vault(vault) => vault_pki(context, objects, name, vault).await,
        IssuerChoice::CertManager(wanted) => cert_manager(context, objects, name, wanted).await,
        IssuerChoice::Acme(wanted) => acme::find(context, objects, name, wanted).await,
        IssuerChoice::Kms(wanted) => kms::reach(objects, name, wanted, certificates).await,
        IssuerChoice::Pkcs11(wanted) => hsm(objects, name, wanted, certificates).await,
    }
}

async fn ca_secret(
    objects: &Objects,
    name: String,
    secret: &str,
) -> Result<Result<Found, Unasked>, Error> {
    let Some(stored) = objects.get::<Secret>(secret).await? else {
        let missing = Missing::Secret(secret.to_owned());
        return Ok(Err(Unasked::Missing(missing)));
    };
    let lacks = |key: &str| {
        Unasked::Missing(Missing::Key {
            secret: secret.to_owned(),
            key: key.to_owned(),
        })
    };
    let (certificate, key) = match (field(&stored, CERTIFICATE), field(&stored, KEY)) {
        (Ok(certificate), Ok(key)) => (certificate, key),
        (Err(_), _) => return Ok(Err(lacks(CERTIFICATE))),
        (_, Err(_)) => return Ok(Err(lacks(KEY))),
    };
    let anchor = field(&stored, CA).ok().filter(|bytes| !bytes.is_empty());
    let files = CaFiles {
        certificate: certificate.to_vec(),
        key: PrivatePem::new(key.to_vec()),
        anchor: anchor.map(<[u8]>::to_vec),
    };
    Ok(OwnCa::of_files(name, &files)
        .map(|own| Found {
            issuer: Arc::new(own),
            what: format!("{:?}", stored.resource_version()),
        })
        .map_err(Unasked::Unusable))
}

async fn vault_pki(
    context: &Context,
    objects: &Objects,
    name: String,
    vault: &api::VaultIssuer,
) -> Result<Result<Found, Unasked>, Error> {
    let mut means = match means(objects, vault.ca_secret.as_ref(), &vault.auth).await? {
        Ok(means) => means,
        Err(missing) => return Ok(Err(Unasked::Missing(missing))),
    };
    let what = format!("{:?}", (objects.namespace(), vault, &means.versions));
    if let Some(issuer) = context.issuers.client(&what) {
        return Ok(Ok(Found { issuer, what }));
    }
    let auth = match means.auth(context, &vault.auth).await? {
        Ok(auth) => auth,
        Err(missing) => return Ok(Err(Unasked::Missing(missing))),
    };
    let client = VaultClient::new(Connection {
        address: vault.address.clone(),
        ca: means.ca,
        namespace: vault.namespace.clone(),
        auth,
    });
    let settings = VaultPkiSettings {
        mount: vault.mount.trim_matches('/').to_owned(),
        role: vault.role.clone(),
        client_role: vault.client_role.clone(),
    };
    let issuer: Arc<dyn Issuer> = Arc::new(VaultPki::new(name, Arc::new(client), settings));
    context.issuers.keep(&what, &issuer);
    Ok(Ok(Found { issuer, what }))
}

async fn cert_manager(
    context: &Context,
    objects: &Objects,
    name: String,
    wanted: &api::CertManagerIssuer,
) -> Result<Result<Found, Unasked>, Error> {
    let mut root = None;
    let mut what = String::new();
    if let Some(reference) = &wanted.ca_secret {
        match content(objects, reference).await? {
            Ok((pem, version)) => {
                root = Some(pem.expose().to_vec());
                what = format!("{version:?}");
            }
            Err(missing) => return Ok(Err(Unasked::Missing(missing))),
        }
    }
    let issuer = CertManager::new(
        context.client.clone(),
        objects,
        name,
        &wanted.issuer_ref,
        root,
    );
    Ok(Ok(Found {
        issuer: Arc::new(issuer),
        what,
    }))
}

async fn hsm(
    objects: &Objects,
    name: String,
    wanted: &api::Pkcs11Issuer,
    certificates: Option<CaCertificates>,
) -> Result<Result<Found, Unasked>, Error> {
    if !pkcs11::LOADS_MODULES {
        return Ok(Err(Unasked::NeedsHsmImage(wanted.module.clone())));
    }
    let (pin, version) = match content(objects, &wanted.pin_secret).await? {
        Ok(found) => found,
        Err(missing) => return Ok(Err(Unasked::Missing(missing))),
    };
    let key = Pkcs11::new(pkcs11::Settings {
        module: PathBuf::from(&wanted.module),
        token: wanted.token.clone(),
        key: wanted.key.clone(),
        pin: Arc::new(Pin::Given(pin)),
    });
    let signer = Arc::new(HsmSigner::new(name.clone(), key));
    Ok(Ok(Found {
        issuer: Arc::new(RemoteCa::new(name, signer, certificates)),
        what: format!("{version:?}"),
    }))
}
