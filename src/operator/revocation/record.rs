//! The record of what is revoked, in the ConfigMap `X-crl`.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tokio::sync::Mutex;

use crate::api::v1alpha1::TikvSecurity;
use crate::api::{LABEL_MANAGED_BY, LABEL_NAME, LABEL_PART, MANAGER};
use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::plan::names::crl_config;
use crate::plan::revocation::is_full;
use crate::plan::revocation::record::{Entry, LONGEST, RECORD, Record, Stored};

/// One writer of this process at a time, so that many deletions at once do not get in each other's way. Others are met by the
/// version of the ConfigMap.
#[derive(Debug, Default)]
pub(in crate::operator) struct Pen(Mutex<()>);

/// Reads it.
pub(in crate::operator) async fn read(cluster: &Objects) -> Result<Stored, Error> {
    let name = crl_config(cluster.owner());
    let Some(map) = cluster.get::<ConfigMap>(&name).await? else {
        return Ok(Stored::Absent);
    };
    Ok(stored(map, cluster.owner()))
}

/// What a ConfigMap holds.
pub(super) fn stored(map: ConfigMap, owner: &str) -> Stored {
    let name = map.metadata.name.clone().unwrap_or_default();
    let label = |key: &str| map.metadata.labels.as_ref().and_then(|all| all.get(key));
    let ours = label(LABEL_NAME).is_some_and(|one| one == owner)
        && label(LABEL_MANAGED_BY).is_some_and(|one| one == MANAGER);
    if !ours {
        return Stored::Unusable(format!(
            "ConfigMap {name} exists and was not made for this TikvSecurity; rename or delete it"
        ));
    }
    let text = map.data.as_ref().and_then(|data| data.get(RECORD));
    let record = match text.map(|text| Record::parse(text)) {
        None => Record::default(),
        Some(Ok(record)) => record,
        Some(Err(error)) => {
            return Stored::Unusable(format!(
                "{RECORD} in ConfigMap {name} can not be read ({error}); restore it from a backup"
            ));
        }
    };
    Stored::Ours {
        version: map.metadata.resource_version.unwrap_or_default(),
        record,
    }
}

/// Writes down what is revoked. Returns when it is stored, by whomever.
pub(in crate::operator) async fn append(
    pen: &Pen,
    cluster: &Objects,
    security: Option<&TikvSecurity>,
    entries: &[Entry],
) -> Result<(), Error> {
    let _writing = pen.0.lock().await;
    let (version, mut record) = match read(cluster).await? {
        Stored::Ours { version, record } => (Some(version), record),
        Stored::Absent => {
            let told = security.and_then(|one| one.status.as_ref());
            let told = told.map(|told| Record::recalled(&told.revocations));
            (None, told.unwrap_or_default())
        }
        Stored::Unusable(why) => return Err(Error::Malformed(why)),
    };
    if !record.append(entries) {
        return Ok(());
    }
    let name = crl_config(cluster.owner());
    if is_full(&record) {
        return Err(Error::Malformed(format!(
            "ConfigMap {}/{name} lists {LONGEST} revoked certificates and can take no more; with rotate.ca in the TikvSecurity the list becomes short again as they end",
            cluster.namespace()
        )));
    }
    let text = record.written().map_err(|error| {
        Error::Malformed(format!("what is revoked can not be written down: {error}"))
    })?;
    match version {
        Some(version) => {
            let patch = json!({
                "metadata": {"resourceVersion": version},
                "data": {RECORD: text},
            });
            cluster.merge::<ConfigMap>(&name, &patch).await.map(drop)
        }
        None => {
            let labels = [
                (LABEL_MANAGED_BY, MANAGER),
                (LABEL_NAME, cluster.owner()),
                (LABEL_PART, "crl"),
            ];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: Some(cluster.namespace().to_owned()),
                    labels: Some(labels.into()),
                    ..ObjectMeta::default()
                },
                data: Some([(RECORD.to_owned(), text)].into()),
                ..ConfigMap::default()
            };
            cluster.create(&map).await.map(drop)
        }
    }
}
