//! Reading and writing objects of the API server, never somebody else's by mistake.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::Error;
use crate::api::v1alpha1::{TikvClientCertificate, TikvSecurity, TikvSecurityStatus, TikvVolume};
use crate::api::{FINALIZER, LABEL_NAME, MANAGER};

/// Kinds in a namespace that can be read and written.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
{
}

/// The objects of one `TikvSecurity`.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    namespace: String,
    owner: String,
    owner_uid: String,
}

impl Objects {
    /// The objects in `namespace` for the `TikvSecurity` called `owner`.
    pub fn new(client: Client, namespace: &str, owner: &str, owner_uid: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            owner: owner.to_owned(),
            owner_uid: owner_uid.to_owned(),
        }
    }

    /// The same owner's objects in another namespace.
    pub fn within(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// The API of one kind in our namespace.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the `TikvSecurity`.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Objects that people write, of which one that nobody can read does not hide the others.
    pub fn guarded<K: Kind>(&self) -> Api<DeserializeGuard<K>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An object that people write, as it is now: what the API server's validation lets through may still be no `K`.
    pub async fn written<K: Kind>(&self, name: &str) -> Result<Option<K>, Error> {
        let found = self.guarded().get_opt(name).await;
        let doing = format!("reading {} {}", kind::<K>(), self.at(name));
        let Some(DeserializeGuard(read)) = found.map_err(Error::kube(doing))? else {
            return Ok(None);
        };
        read.map(Some).map_err(|invalid| {
            Error::Malformed(format!(
                "{} {} can not be understood: {invalid}",
                kind::<K>(),
                self.at(name)
            ))
        })
    }

    /// One object as it is now; not from a cache, so a reconcile sees what the last one wrote.
    pub async fn get<K: Kind>(&self, name: &str) -> Result<Option<K>, Error> {
        let doing = || format!("reading {} {}", kind::<K>(), self.at(name));
        self.api::<K>()
            .get_opt(name)
            .await
            .map_err(Error::kube(doing()))
    }

    /// Objects with a label selector.
    pub async fn list<K: Kind>(&self, selector: &str) -> Result<Vec<K>, Error> {
        let doing = format!("listing {} in {}", kind::<K>(), self.namespace);
        let params = ListParams::default().labels(selector);
        let list = self.api::<K>().list(&params).await;
        list.map(|list| list.items).map_err(Error::kube(doing))
    }

    /// Metadata of all objects of a kind.
    pub async fn list_metadata<K: Kind>(&self) -> Result<Vec<PartialObjectMeta<K>>, Error> {
        let doing = format!("listing {} in {}", kind::<K>(), self.namespace);
        let list = self.api::<K>().list_metadata(&ListParams::default()).await;
        list.map(|list| list.items).map_err(Error::kube(doing))
    }

    /// Makes the object, or brings the one we made before to this form.
    ///
    /// # Guarantees
    /// An object that was not made for this `TikvSecurity` is refused. What was looked at is what is written:
    /// a new one is created (never taken over), an old one is named by its UID.
    ///
    /// # Errors
    /// `Error::Foreign`, or what the API server says; a race is a 409 and is tried again.
    pub async fn put<K: Kind>(&self, object: &K) -> Result<K, Error> {
        let name = object.name_any();
        let Some(found) = self.metadata::<K>(&name).await? else {
            return self.create(object).await;
        };
        self.refuse_foreign(&found)?;
        let mut patch = value(object)?;
        pin(&mut patch, found.uid());
        self.apply_value(&name, patch).await
    }

    /// Makes the object; one of this name that is there already is never touched.
    pub async fn create<K: Kind>(&self, object: &K) -> Result<K, Error> {
        let doing = format!("making {} {}", kind::<K>(), self.at(&object.name_any()));
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = self.api::<K>().create(&params, object).await;
        made.map_err(Error::kube(doing))
    }

    /// A JSON merge patch; with a resource version in it, it fits what was looked at or fails.
    pub async fn merge<K: Kind>(&self, name: &str, patch: &Value) -> Result<K, Error> {
        let doing = format!("changing {} {}", kind::<K>(), self.at(name));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let merged = self
            .api::<K>()
            .patch(name, &params, &Patch::Merge(patch))
            .await;
        merged.map_err(Error::kube(doing))
    }

    /// Refuses when an object of this name is there and not ours.
    pub async fn guard<K: Kind>(&self, name: &str) -> Result<(), Error> {
        match self.metadata::<K>(name).await? {
            Some(found) => self.refuse_foreign(&found),
            None => Ok(()),
        }
    }

    /// Deletes exactly this pod: one that was made anew under the same name meanwhile stays. Gone is done.
    pub async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), Error> {
        self.delete_exactly::<Pod>(name, uid).await
    }

    /// Deletes the object if it is still the one with this UID. Gone is done.
    pub async fn delete_exactly<K: Kind>(&self, name: &str, uid: &str) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let doing = format!("deleting {} {}", kind::<K>(), self.at(name));
        match self.api::<K>().delete(name, &params).await {
            Ok(_) => Ok(()),
            // 409: another one by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Error::kube(doing)(error)),
        }
    }

    /// Deletes an object that is ours. Gone is done.
    pub async fn delete<K: Kind>(&self, name: &str) -> Result<(), Error> {
        let Some(found) = self.metadata::<K>(name).await? else {
            return Ok(());
        };
        self.refuse_foreign(&found)?;
        self.delete_exactly::<K>(name, &found.uid().unwrap_or_default())
            .await
    }

    /// Puts our finalizer onto the `TikvSecurity`, or takes it off. Gone is done.
    pub async fn set_finalizer(&self, present: bool) -> Result<(), Error> {
        self.hold::<TikvSecurity>(FINALIZER, present).await
    }

    /// Puts a finalizer onto the owner, or takes it off. Gone is done.
    pub async fn hold<K: Kind>(&self, finalizer: &str, present: bool) -> Result<(), Error> {
        let Some(found) = self.metadata::<K>(&self.owner).await? else {
            return Ok(());
        };
        let mut finalizers = found.finalizers().to_vec();
        let there = finalizers.iter().any(|one| one == finalizer);
        if there == present || found.uid().as_ref() != Some(&self.owner_uid) {
            return Ok(());
        }
        finalizers.retain(|one| one != finalizer);
        if present {
            finalizers.push(finalizer.to_owned());
        }
        let patch = json!({"metadata": {
            "resourceVersion": found.resource_version(),
            "finalizers": finalizers,
        }});
        self.merge::<K>(&self.owner, &patch).await.map(drop)
    }

    /// Writes the status of the `TikvSecurity`, if it is still the one with the same UID; `unchanged` if nobody
    /// wrote to it since it was read.
    pub async fn put_status(
        &self,
        resource: &TikvSecurity,
        status: &TikvSecurityStatus,
        unchanged: bool,
    ) -> Result<(), Error> {
        let mut bare = TikvSecurity::new(&self.owner, resource.spec.clone());
        bare.status = Some(status.clone());
        let version = resource.resource_version().filter(|_| unchanged);
        self.apply_status(&bare, resource.uid(), version).await
    }

    /// Writes the status of a volume object.
    pub async fn put_volume_status(&self, volume: &TikvVolume) -> Result<(), Error> {
        self.apply_status(volume, None, None).await
    }

    /// Writes the status of a client certificate, if it is still the one with the same UID.
    pub async fn put_client_status(
        &self,
        certificate: &TikvClientCertificate,
    ) -> Result<(), Error> {
        let uid = certificate.uid();
        self.apply_status(certificate, uid, None).await
    }

    async fn apply_status<K: Kind>(
        &self,
        object: &K,
        uid: Option<String>,
        version: Option<String>,
    ) -> Result<(), Error> {
        let name = object.name_any();
        let doing = format!("writing the status of {} {}", kind::<K>(), self.at(&name));
        let whole = value(object)?;
        let mut patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name},
            "status": whole.get("status"),
        });
        pin(&mut patch, uid);
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = Value::String(version);
        }
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api::<K>();
        let written = api.patch_status(&name, &params, &Patch::Apply(patch)).await;
        written.map(drop).map_err(Error::kube(doing))
    }

    async fn metadata<K: Kind>(&self, name: &str) -> Result<Option<PartialObjectMeta<K>>, Error> {
        let doing = format!("looking for {} {}", kind::<K>(), self.at(name));
        self.api::<K>()
            .get_metadata_opt(name)
            .await
            .map_err(Error::kube(doing))
    }

    async fn apply_value<K: Kind>(&self, name: &str, patch: Value) -> Result<K, Error> {
        let doing = format!("writing {} {}", kind::<K>(), self.at(name));
        self.api::<K>()
            .patch(
                name,
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(patch),
            )
            .await
            .map_err(Error::kube(doing))
    }

    fn refuse_foreign<K: Kind>(&self, found: &PartialObjectMeta<K>) -> Result<(), Error> {
        let why = match found
            .owner_references()
            .iter()
            .find(|one| one.controller == Some(true))
        {
            Some(owner) if owner.uid == self.owner_uid => return Ok(()),
            Some(owner) => format!("it is controlled by {} {}", owner.kind, owner.name),
            // Secrets and ConfigMaps outlive the resource, so they have no owner.
            None if found.labels().get(LABEL_NAME) == Some(&self.owner) => return Ok(()),
            None => format!("it lacks the label {LABEL_NAME}={}", self.owner),
        };
        Err(Error::Foreign {
            kind: kind::<K>(),
            name: self.at(&found.name_any()),
            why,
        })
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

fn kind<K: Kind>() -> String {
    K::kind(&()).into_owned()
}

fn value<K: Kind>(object: &K) -> Result<Value, Error> {
    serde_json::to_value(object)
        .map_err(|error| Error::Malformed(format!("{} can not be written: {error}", kind::<K>())))
}

/// With the UID in it the write fails when the object was replaced meanwhile. Managed fields may not be sent.
fn pin(object: &mut Value, uid: Option<String>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        if let Some(uid) = uid {
            metadata.insert("uid".to_owned(), Value::String(uid));
        }
    }
}
