//! From TiKV's configuration to a master key that opens this store.

use crate::kms::aws::{AwsKms, Settings, StaticCredentials};
use crate::kms::{MasterKey, MasterKeyError};
use crate::tikv::encryption_config::MasterKeyConfig;

/// The master key that TiKV itself would use. A file is read now; a KMS is asked later.
pub fn build(config: &MasterKeyConfig) -> Result<MasterKey, MasterKeyError> {
    match config {
        MasterKeyConfig::Plaintext => Ok(MasterKey::Plaintext),
        MasterKeyConfig::File { path } => MasterKey::from_file(path),
        MasterKeyConfig::AwsKms {
            key_id,
            region,
            endpoint,
            credentials,
        } => Ok(MasterKey::from_kms(AwsKms::new(Settings {
            key_id: key_id.clone(),
            region: region.clone(),
            endpoint: endpoint.clone(),
            credentials: credentials.as_ref().map(|found| {
                StaticCredentials::new(&found.access_key, &found.secret_access_key, None)
            }),
        }))),
    }
}
