//! CA keys in a key management service. Whoever has to know the service matches on [`SigningKeyChoice`], exhaustively.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::encryption::{AwsKms, SecretKeyRef};
use super::issuer::ca_duration;

/// A CA whose key is in a key management service. Exactly one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.awsKms), has(self.gcpKms), has(self.azureKeyVault)].exists_one(one, one)").message("exactly one key of a CA: write one of awsKms, gcpKms and azureKeyVault"))]
pub struct KmsIssuer {
    /// AWS KMS: an asymmetric key for `SIGN_VERIFY` of the kind `ECC_NIST_P256` or `RSA_*`. The operator needs `kms:GetPublicKey` and `kms:Sign`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_kms: Option<AwsKms>,
    /// Google Cloud KMS: a key version of the purpose `ASYMMETRIC_SIGN` and the algorithm `EC_SIGN_P256_SHA256` or
    /// `RSA_SIGN_PKCS1_*_SHA256`. The operator needs the role `roles/cloudkms.signerVerifier` on the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp_kms: Option<GcpSigningKey>,
    /// Azure Key Vault or a managed HSM: a key of the type EC (P-256) or RSA that may sign. The application needs `get` and `sign` on keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<AzureSigningKey>,
    /// Validity of the CA.
    #[serde(default = "ca_duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('262800h')").message("caDuration must be between 1h and 262800h; 87600h is usual"))]
    pub ca_duration: GoDuration,
}

/// A version of a key in Google Cloud KMS that signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcpSigningKey {
    /// Resource name of the version: `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`. Another version is another CA.
    #[schemars(
        length(max = 512),
        regex(
            pattern = "^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+$"
        )
    )]
    pub key_version: String,
    /// URL of the service when it is not Google's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    pub endpoint: Option<String>,
    /// A credentials file of Google in a Secret: `service_account` or `external_account`. Better is none: workload identity, the identity of
    /// the operator's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretKeyRef>,
}

/// A version of a key in Azure that signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureSigningKey {
    /// Name of the key.
    #[schemars(length(min = 1, max = 127), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub key_name: String,
    /// Its version, 32 hexadecimal digits: the end of the key identifier. Another version is another CA.
    #[schemars(length(min = 32, max = 32), regex(pattern = "^[0-9a-f]{32}$"))]
    pub key_version: String,
    /// URL of the vault or managed HSM that has the key: `https://NAME.vault.azure.net` or `https://NAME.managedhsm.azure.net`.
    #[schemars(
        length(max = 256),
        regex(pattern = "^https://[0-9A-Za-z-]+[.][0-9A-Za-z.-]+/?$")
    )]
    pub keyvault_url: String,
    /// Directory (tenant) of the application.
    #[schemars(length(max = 253), regex(pattern = "^[0-9A-Za-z.-]+$"))]
    pub tenant_id: String,
    /// The application (client) that may use the key.
    #[schemars(length(max = 64), regex(pattern = "^[0-9A-Za-z-]+$"))]
    pub client_id: String,
    /// Certificate and key of the application in a Secret: PKCS#12 without a password.
    pub client_certificate_secret: SecretKeyRef,
}

/// The one service that is named.
#[derive(Clone, Copy, Debug)]
pub enum SigningKeyChoice<'a> {
    /// AWS.
    Aws(&'a AwsKms),
    /// Google.
    Gcp(&'a GcpSigningKey),
    /// Azure.
    Azure(&'a AzureSigningKey),
}

impl KmsIssuer {
    /// The one that is named; `None` when there is none or more than one, which admission refuses.
    pub const fn choice(&self) -> Option<SigningKeyChoice<'_>> {
        match (&self.aws_kms, &self.gcp_kms, &self.azure_key_vault) {
            (Some(aws), None, None) => Some(SigningKeyChoice::Aws(aws)),
            (None, Some(gcp), None) => Some(SigningKeyChoice::Gcp(gcp)),
            (None, None, Some(azure)) => Some(SigningKeyChoice::Azure(azure)),
            _ => None,
        }
    }

    /// What tells a key from another.
    pub fn identity(&self) -> [&str; 4] {
        match self.choice() {
            Some(SigningKeyChoice::Aws(key)) => {
                let endpoint = key.endpoint.as_deref().unwrap_or_default();
                ["kms", &key.key_id, &key.region, endpoint]
            }
            Some(SigningKeyChoice::Gcp(key)) => {
                let endpoint = key.endpoint.as_deref().unwrap_or_default();
                ["gcpKms", &key.key_version, "", endpoint]
            }
            Some(SigningKeyChoice::Azure(key)) => [
                "azureKeyVault",
                &key.key_name,
                &key.key_version,
                key.keyvault_url.trim_end_matches('/'),
            ],
            None => ["kms", "", "", ""],
        }
    }
}

impl fmt::Display for KmsIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.choice() {
            Some(SigningKeyChoice::Aws(key)) => write!(f, "kms {} in {}", key.key_id, key.region),
            Some(SigningKeyChoice::Gcp(key)) => write!(f, "kms {}", key.key_version),
            Some(SigningKeyChoice::Azure(key)) => {
                write!(f, "kms {} in {}", key.key_name, key.keyvault_url)
            }
            None => f.write_str("kms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::v1alpha1::Issuer;

    fn issuer(kms: &Value) -> Issuer {
        serde_json::from_value(json!({"kms": kms})).unwrap()
    }

    #[test]
    fn another_key_is_another_ca_and_two_are_none() {
        let aws = json!({"keyId": "alias/ca", "region": "eu-central-1"});
        let version = |version: &str| {
            format!("projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/{version}")
        };
        let gcp = |number: &str| json!({"keyVersion": version(number)});
        let azure = json!({
            "keyName": "ca", "keyVersion": "0123456789abcdef0123456789abcdef", "keyvaultUrl": "https://v.vault.azure.net/",
            "tenantId": "t", "clientId": "c", "clientCertificateSecret": {"name": "s", "key": "k"},
        });
        let all = [
            issuer(&json!({"awsKms": aws})),
            issuer(&json!({"gcpKms": gcp("1")})),
            issuer(&json!({"gcpKms": gcp("2")})),
            issuer(&json!({"azureKeyVault": azure})),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[..at] {
                let (one, other) = (one.choice().unwrap(), other.choice().unwrap());
                assert_ne!(one.identity(), other.identity());
                assert_ne!(one.to_string(), other.to_string());
            }
        }
        let both = json!({"awsKms": aws, "gcpKms": gcp("1")});
        for wrong in [both, json!({})] {
            assert!(issuer(&wrong).choice().is_none());
        }
    }
}
