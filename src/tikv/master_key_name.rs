//! How master keys are called in reports: the same for who writes TiKV's configuration and for who reads it.

use crate::api::key_dict::MasterKeyName;

/// A key in AWS KMS.
pub fn aws(key_id: &str, region: Option<&str>, endpoint: Option<&str>) -> MasterKeyName {
    let place: Vec<&str> = [region, endpoint].into_iter().flatten().collect();
    name("aws", key_id, &place.join(" at "))
}

/// A key in Google Cloud KMS; `vendor` is `gcp` or `gcp_v2`.
pub fn gcp(key_id: &str, vendor: &str, endpoint: Option<&str>) -> MasterKeyName {
    name(vendor, key_id, endpoint.unwrap_or_default())
}

/// A key in Azure Key Vault.
pub fn azure(key_name: &str, vault: &str) -> MasterKeyName {
    name("azure", key_name, vault)
}

/// A key in a file.
pub fn file(path: &str) -> MasterKeyName {
    name("file", path, "")
}

/// None.
pub fn plaintext() -> MasterKeyName {
    name("plaintext", "", "")
}

fn name(kind: &str, key: &str, place: &str) -> MasterKeyName {
    MasterKeyName {
        kind: kind.to_owned(),
        key: key.to_owned(),
        place: (!place.is_empty()).then(|| place.to_owned()),
    }
}
