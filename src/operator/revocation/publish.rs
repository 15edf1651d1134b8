//! Writes the record and the CRLs that follow from it, in one go.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::operator::error::Error;
use crate::operator::objects::Objects;
use crate::plan::revocation::record::{RECORD, Record};
use crate::tls::authority::Authority;
use crate::tls::revocation::crl::{CrlSpec, RevokedLine};

/// The lists of all CAs that are trusted, as PEM, the one that signs now first.
pub(super) const PEM: &str = "ca.crl";

/// Key of the list of one CA, in DER.
pub(super) fn der_key(authority: &str) -> String {
    format!("{authority}.crl")
}

/// Signs and writes.
pub(in crate::operator) async fn publish(
    objects: &Objects,
    metadata: &ObjectMeta,
    version: Option<&String>,
    authorities: &[Authority],
    record: &Record,
) -> Result<(), Error> {
    let name = metadata.name.clone().unwrap_or_default();
    let (Some(this_update), Some(next_update)) = (record.this_update, record.next_update) else {
        return Err(Error::Malformed(format!(
            "ConfigMap {name}: a CRL without times"
        )));
    };
    let (mut pem, mut lists) = (String::new(), BTreeMap::new());
    for authority in authorities {
        let serial = authority.id();
        let entries = record.entries.iter().filter(|one| one.authority == serial);
        let spec = CrlSpec {
            number: record.number,
            this_update,
            next_update,
            revoked: entries
                .map(|one| RevokedLine {
                    serial: one.serial.clone(),
                    at: one.revoked_at,
                    reason: one.reason,
                })
                .collect(),
        };
        let signed = authority.sign_crl(&spec).map_err(Error::issue(format!(
            "signing the CRL of the CA with serial {serial}"
        )))?;
        pem.push_str(&signed.pem);
        lists.insert(der_key(serial), signed.der);
    }
    let text = record.written().map_err(|error| {
        Error::Malformed(format!("what is revoked can not be written down: {error}"))
    })?;
    let data = BTreeMap::from([(PEM.to_owned(), pem), (RECORD.to_owned(), text)]);
    let Some(version) = version else {
        let lists = lists.into_iter().map(|(key, der)| (key, ByteString(der)));
        let map = ConfigMap {
            metadata: metadata.clone(),
            data: Some(data),
            binary_data: Some(lists.collect()),
            ..ConfigMap::default()
        };
        return objects.create(&map).await.map(drop);
    };
    // Lists of CAs that are trusted no more go.
    let stored: Option<ConfigMap> = objects.get(&name).await?;
    let old = stored.and_then(|map| map.binary_data).unwrap_or_default();
    let mut binary: Map<String, Value> = old.into_keys().map(|key| (key, Value::Null)).collect();
    for (key, der) in lists {
        binary.insert(key, Value::String(STANDARD.encode(der)));
    }
    let patch = json!({
        "metadata": {"resourceVersion": version},
        "data": data,
        "binaryData": binary,
    });
    objects.merge::<ConfigMap>(&name, &patch).await.map(drop)
}
