//! `[security.encryption]` of TiKV's configuration, as far as a store's dictionaries depend on it
//! (facts, encryption at rest §1). Pure; reads what TiKV would read and refuses what TiKV would refuse.

use std::fmt;
use std::path::PathBuf;

use toml_edit::{DocumentMut, Item, TableLike};
use zeroize::Zeroizing;

use super::master_key_name;
use crate::api::key_dict::MasterKeyName;
use crate::api::method::{Method, UnknownMethod};

/// What TiKV does with the data directory.
#[derive(Clone, Debug)]
pub struct TikvEncryption {
    /// Method of new files.
    pub method: Method,
    /// What `key.dict` is sealed under.
    pub master_key: MasterKeyConfig,
    /// What it may still be sealed under.
    pub previous_master_key: MasterKeyConfig,
    /// Whether `file.dict` is a log (version 2).
    pub dictionary_log: bool,
}

/// One of the two master-key tables.
#[derive(Clone, Debug)]
pub enum MasterKeyConfig {
    /// None.
    Plaintext,
    /// A file of 65 bytes.
    File {
        /// Where.
        path: PathBuf,
    },
    /// A key in AWS KMS.
    AwsKms {
        /// Key id, ARN or alias.
        key_id: String,
        /// Region; `None` for that of the environment.
        region: Option<String>,
        /// URL when it is not AWS's own.
        endpoint: Option<String>,
        /// Credentials in the configuration, used only when both are there.
        credentials: Option<InlineCredentials>,
    },
    /// A key in Google Cloud KMS.
    GcpKms {
        /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
        key_id: String,
        /// Whether it is `gcp_v2`.
        v2: bool,
        /// URL when it is not Google's own; only `gcp_v2` has one.
        endpoint: Option<String>,
        /// Credentials file; `None` for Google's default credentials.
        credential_file: Option<PathBuf>,
    },
    /// A key in Azure Key Vault.
    AzureKeyVault {
        /// Name of the key.
        key_name: String,
        /// URL of its vault.
        keyvault_url: String,
        /// Name of the managed HSM that makes random bytes.
        hsm_name: String,
        /// Directory of the application.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// How it shows who it is.
        credential: AzureCredential,
    },
}

impl MasterKeyConfig {
    /// Which key it is. Never the key.
    pub fn name(&self) -> MasterKeyName {
        match self {
            Self::Plaintext => master_key_name::plaintext(),
            Self::File { path } => master_key_name::file(&path.to_string_lossy()),
            Self::AwsKms {
                key_id,
                region,
                endpoint,
                ..
            } => master_key_name::aws(key_id, region.as_deref(), endpoint.as_deref()),
            Self::GcpKms {
                key_id,
                v2,
                endpoint,
                ..
            } => {
                let vendor = if *v2 { "gcp_v2" } else { "gcp" };
                master_key_name::gcp(key_id, vendor, endpoint.as_deref())
            }
            Self::AzureKeyVault {
                key_name,
                keyvault_url,
                ..
            } => master_key_name::azure(key_name, keyvault_url),
        }
    }
}

/// How an application shows Azure who it is. Never shown.
#[derive(Clone)]
pub enum AzureCredential {
    /// `client-certificate-path`: PKCS#12.
    CertificateFile {
        /// Where.
        path: PathBuf,
        /// `client-certificate-password`.
        password: Zeroizing<String>,
    },
    /// `client-certificate`: PKCS#12 in base64.
    Certificate {
        /// The base64.
        content: Zeroizing<String>,
        /// `client-certificate-password`.
        password: Zeroizing<String>,
    },
    /// `client-secret`.
    Secret(Zeroizing<String>),
}

impl fmt::Debug for AzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AzureCredential(..)")
    }
}

/// `[….master-key.aws]`. Never shown.
#[derive(Clone)]
pub struct InlineCredentials {
    /// `access-key`.
    pub access_key: String,
    /// `secret-access-key`.
    pub secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for InlineCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InlineCredentials(..)")
    }
}

/// Why the section can not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionConfigError {
    /// Not TOML. The text of the parser is left out, because it quotes the file.
    #[error("TiKV's configuration is not valid TOML{}", .0.map(|at| format!(" (byte {at})")).unwrap_or_default())]
    Toml(Option<usize>),
    /// A value of another type than TiKV expects.
    #[error("security.encryption.{key} must be {expected}")]
    Type {
        /// Key below `security.encryption`.
        key: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Unknown method.
    #[error("security.encryption.data-encryption-method: {0}")]
    Method(#[from] UnknownMethod),
    /// The kind of master key is missing or unknown.
    #[error("security.encryption.{table}.type must be plaintext, file or kms, not {found:?}")]
    Kind {
        /// The table.
        table: &'static str,
        /// What is there.
        found: String,
    },
    /// A needed key is missing or empty.
    #[error("security.encryption.{0} must be set")]
    Missing(String),
    /// A KMS that this program does not speak to.
    #[error(
        "security.encryption.{table}.vendor is {found:?}; this version knows aws, azure, gcp and gcp_v2"
    )]
    Vendor {
        /// The table.
        table: &'static str,
        /// What is there.
        found: String,
    },
}

/// Reads the section; without it encryption is off.
pub fn parse(toml: &str) -> Result<TikvEncryption, EncryptionConfigError> {
    let document: DocumentMut = toml.parse().map_err(|error: toml_edit::TomlError| {
        EncryptionConfigError::Toml(error.span().map(|span| span.start))
    })?;
    let section = table(document.get("security"), "")?
        .map(|security| table(security.get("encryption"), ""))
        .transpose()?
        .flatten();
    let Some(section) = section else {
        return Ok(TikvEncryption {
            method: Method::Plaintext,
            master_key: MasterKeyConfig::Plaintext,
            previous_master_key: MasterKeyConfig::Plaintext,
            dictionary_log: true,
        });
    };
    let method = match text(section, "", "data-encryption-method")? {
        Some(name) => name.parse()?,
        None => Method::Plaintext,
    };
    let dictionary_log = match section.get("enable-file-dictionary-log") {
        None => true,
        Some(item) => item.as_bool().ok_or(EncryptionConfigError::Type {
            key: "enable-file-dictionary-log".to_owned(),
            expected: "true or false",
        })?,
    };
    Ok(TikvEncryption {
        method,
        master_key: master_key(section, "master-key")?,
        previous_master_key: master_key(section, "previous-master-key")?,
        dictionary_log,
    })
}

fn master_key(
    section: &dyn TableLike,
    name: &'static str,
) -> Result<MasterKeyConfig, EncryptionConfigError> {
    let Some(table) = table(section.get(name), name)? else {
        return Ok(MasterKeyConfig::Plaintext);
    };
    let needed = |key: &str| {
        text(table, name, key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| EncryptionConfigError::Missing(format!("{name}.{key}")))
    };
    match text(table, name, "type")?.unwrap_or_default().as_str() {
        "plaintext" => Ok(MasterKeyConfig::Plaintext),
        "file" => Ok(MasterKeyConfig::File {
            path: needed("path")?.into(),
        }),
        "kms" => kms(table, name, needed("key-id")?),
        found => Err(EncryptionConfigError::Kind {
            table: name,
            found: found.to_owned(),
        }),
    }
}

fn kms(
    table: &dyn TableLike,
    name: &'static str,
    key_id: String,
) -> Result<MasterKeyConfig, EncryptionConfigError> {
    let optional = |key: &str| -> Result<Option<String>, EncryptionConfigError> {
        Ok(text(table, name, key)?.filter(|text| !text.is_empty()))
    };
    let vendor = optional("vendor")?.unwrap_or_default();
    match vendor.as_str() {
        "" | "aws" => Ok(MasterKeyConfig::AwsKms {
            key_id,
            region: optional("region")?,
            endpoint: optional("endpoint")?,
            credentials: credentials(table, name)?,
        }),
        "gcp" | "gcp_v2" => {
            let v2 = vendor == "gcp_v2";
            let endpoint = optional("endpoint")?.filter(|_| v2);
            google(table, name, key_id, v2, endpoint)
        }
        "azure" => azure(table, name, key_id),
        _ => Err(EncryptionConfigError::Vendor {
            table: name,
            found: vendor,
        }),
    }
}

fn google(
    parent: &dyn TableLike,
    name: &str,
    key_id: String,
    v2: bool,
    endpoint: Option<String>,
) -> Result<MasterKeyConfig, EncryptionConfigError> {
    let section = format!("{name}.gcp");
    // TiKV does not start without it (facts, encryption at rest §1.2).
    let gcp = table(parent.get("gcp"), &section)?
        .ok_or_else(|| EncryptionConfigError::Missing(section.clone()))?;
    let credential_file = text(gcp, &section, "credential-file-path")?;
    Ok(MasterKeyConfig::GcpKms {
        key_id,
        v2,
        endpoint,
        credential_file: credential_file.map(PathBuf::from),
    })
}

fn azure(
    parent: &dyn TableLike,
    name: &str,
    key_name: String,
) -> Result<MasterKeyConfig, EncryptionConfigError> {
    let section = format!("{name}.azure");
    let missing = |key: &str| EncryptionConfigError::Missing(format!("{section}{key}"));
    let azure = table(parent.get("azure"), &section)?.ok_or_else(|| missing(""))?;
    let optional = |key: &str| -> Result<Option<String>, EncryptionConfigError> {
        Ok(text(azure, &section, key)?.filter(|text| !text.is_empty()))
    };
    let needed = |key: &str| optional(key)?.ok_or_else(|| missing(&format!(".{key}")));
    let secret = |key: &str| optional(key).map(|text| text.map(Zeroizing::new));
    let password = secret("client-certificate-password")?.unwrap_or_default();
    // In the order in which TiKV looks (facts, encryption at rest §1.2).
    let credential = if let Some(content) = secret("client-certificate")? {
        AzureCredential::Certificate { content, password }
    } else if let Some(path) = optional("client-certificate-path")? {
        let path = path.into();
        AzureCredential::CertificateFile { path, password }
    } else {
        let secret = secret("client-secret")?;
        AzureCredential::Secret(secret.ok_or_else(|| missing(".client-certificate-path"))?)
    };
    Ok(MasterKeyConfig::AzureKeyVault {
        key_name,
        keyvault_url: needed("keyvault-url")?,
        hsm_name: needed("hsm-name")?,
        tenant_id: needed("tenant-id")?,
        client_id: needed("client-id")?,
        credential,
    })
}

fn credentials(
    parent: &dyn TableLike,
    name: &str,
) -> Result<Option<InlineCredentials>, EncryptionConfigError> {
    let Some(aws) = table(parent.get("aws"), &format!("{name}.aws"))? else {
        return Ok(None);
    };
    let access_key = text(aws, name, "access-key")?;
    let secret = text(aws, name, "secret-access-key")?.map(Zeroizing::new);
    Ok(access_key
        .zip(secret)
        .map(|(access_key, secret_access_key)| InlineCredentials {
            access_key,
            secret_access_key,
        }))
}

fn table<'a>(
    item: Option<&'a Item>,
    key: &str,
) -> Result<Option<&'a dyn TableLike>, EncryptionConfigError> {
    item.map(|item| {
        item.as_table_like()
            .ok_or_else(|| EncryptionConfigError::Type {
                key: key.to_owned(),
                expected: "a table",
            })
    })
    .transpose()
}

fn text(
    table: &dyn TableLike,
    name: &str,
    key: &str,
) -> Result<Option<String>, EncryptionConfigError> {
    let wrong_type = || EncryptionConfigError::Type {
        key: [name, key].join(".").trim_start_matches('.').to_owned(),
        expected: "a string",
    };
    table
        .get(key)
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong_type))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::{AzureCredential, MasterKeyConfig, Method, parse};

    #[test]
    fn nothing_said_is_no_encryption() {
        let found = parse("[storage]\ndata-dir = \"/d\"\n").unwrap();
        assert_eq!(found.method, Method::Plaintext);
        assert!(matches!(found.master_key, MasterKeyConfig::Plaintext));
        assert!(found.dictionary_log);
    }

    #[test]
    fn a_kms_key_is_read_whole_and_its_credentials_are_not_shown() {
        let found = parse(
            "[security.encryption]\ndata-encryption-method = \"AES256-CTR\"\n\
             [security.encryption.master-key]\ntype = \"kms\"\nkey-id = \"k\"\nregion = \"r\"\nendpoint = \"\"\n\
             aws = { access-key = \"a\", secret-access-key = \"hidden\" }\n",
        )
        .unwrap();
        assert_eq!(found.method, Method::Aes256Ctr);
        assert!(!format!("{found:?}").contains("hidden"));
        let MasterKeyConfig::AwsKms {
            key_id,
            region,
            endpoint,
            credentials,
        } = found.master_key
        else {
            panic!("not KMS");
        };
        assert_eq!(
            (key_id.as_str(), region.as_deref(), endpoint),
            ("k", Some("r"), None)
        );
        assert_eq!(*credentials.unwrap().secret_access_key, "hidden");
    }

    #[test]
    fn only_the_second_client_of_google_has_an_endpoint() {
        for (vendor, second) in [("gcp", false), ("gcp_v2", true)] {
            let found = parse(&format!(
                "[security.encryption.master-key]\ntype = \"kms\"\nkey-id = \"k\"\nvendor = \"{vendor}\"\nendpoint = \"http://e\"\n\
                 [security.encryption.master-key.gcp]\ncredential-file-path = \"/c\"\n",
            ));
            let MasterKeyConfig::GcpKms {
                v2,
                endpoint,
                credential_file,
                ..
            } = found.unwrap().master_key
            else {
                panic!("not Google's");
            };
            assert_eq!((v2, endpoint.is_some()), (second, second));
            assert_eq!(credential_file, Some("/c".into()));
        }
    }

    #[test]
    fn the_credentials_of_azure_are_taken_in_the_order_of_tikv_and_not_shown() {
        let azure = |credentials: &str| {
            let found = parse(&format!(
                "[security.encryption.master-key]\ntype = \"kms\"\nkey-id = \"k\"\nvendor = \"azure\"\n\
                 [security.encryption.master-key.azure]\ntenant-id = \"t\"\nclient-id = \"c\"\n\
                 keyvault-url = \"https://v.vault.azure.net\"\nhsm-name = \"h\"\n{credentials}\n",
            ))
            .unwrap();
            assert!(!format!("{found:?}").contains("hidden"), "{found:?}");
            let MasterKeyConfig::AzureKeyVault { credential, .. } = found.master_key else {
                panic!("not Azure's");
            };
            credential
        };
        let (secret, path) = (
            "client-secret = \"hidden\"",
            "client-certificate-path = \"/p\"",
        );
        let password = "client-certificate-password = \"hidden\"";
        let inline = "client-certificate = \"hidden\"";
        assert!(matches!(azure(secret), AzureCredential::Secret(_)));
        let AzureCredential::CertificateFile { password, .. } =
            azure(&[secret, path, password].join("\n"))
        else {
            panic!("not the file");
        };
        assert_eq!(*password, "hidden");
        assert!(matches!(
            azure(&[secret, path, inline].join("\n")),
            AzureCredential::Certificate { .. }
        ));
    }

    #[test]
    fn what_tikv_refuses_is_refused() {
        let refused = |body: &str| {
            let text = format!("[security.encryption]\n{body}");
            parse(&text).unwrap_err().to_string()
        };
        assert!(refused("data-encryption-method = \"rot13\"").contains("rot13"));
        assert_eq!(
            refused("data-encryption-method = 1"),
            "security.encryption.data-encryption-method must be a string"
        );
        assert_eq!(
            refused("master-key = { type = \"KMS\" }"),
            "security.encryption.master-key.type must be plaintext, file or kms, not \"KMS\""
        );
        assert_eq!(
            refused("master-key = { type = \"kms\" }"),
            "security.encryption.master-key.key-id must be set"
        );
        assert!(
            refused("master-key = { type = \"kms\", key-id = \"k\", vendor = \"ibm\" }")
                .contains("ibm")
        );
        assert_eq!(
            refused(
                "master-key = { type = \"kms\", key-id = \"k\", vendor = \"azure\", azure = { tenant-id = \"t\" } }"
            ),
            "security.encryption.master-key.azure.client-certificate-path must be set"
        );
        assert_eq!(
            refused("master-key = { type = \"kms\", key-id = \"k\", vendor = \"gcp\" }"),
            "security.encryption.master-key.gcp must be set"
        );
        assert_eq!(
            refused("= secret"),
            "TiKV's configuration is not valid TOML (byte 22)"
        );
    }
}
