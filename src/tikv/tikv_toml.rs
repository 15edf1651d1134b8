//! TiKV's configuration file: what encryption and TLS need, written into what is there. Comments, order and foreign
//! keys stay (facts, encryption at rest §1; TLS §1.2).

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::master_key_name;
use crate::api::key_dict::MasterKeyName;
use crate::api::method::Method;

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TikvChange {
    /// TLS, or no change to it.
    pub tls: Option<TlsFiles>,
    /// Encryption at rest, or no change to it.
    pub encryption: Option<EncryptionConfig>,
}

/// TLS files and who is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Directory with `ca.crt`, `tls.crt`, `tls.key`.
    pub directory: String,
    /// Common names to admit; those in the file stay admitted.
    pub allowed_names: Vec<String>,
}

/// `[security.encryption]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// `data-encryption-method`.
    pub method: Method,
    /// `data-key-rotation-period`.
    pub rotation_period: String,
    /// `master-key`.
    pub master_key: MasterKeyConfig,
    /// `previous-master-key`; `None` leaves what is there.
    pub previous_master_key: Option<MasterKeyConfig>,
    /// Whether another master key in the file may be replaced: the stores are known to be under ours.
    pub replaces: bool,
}

/// `[security.encryption.master-key]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeyConfig {
    /// AWS KMS. Credentials never go here: TiKV prints its configuration.
    AwsKms {
        /// `key-id`.
        key_id: String,
        /// `region`.
        region: String,
        /// `endpoint`.
        endpoint: Option<String>,
    },
    /// Google Cloud KMS.
    GcpKms {
        /// `key-id`.
        key_id: String,
        /// `vendor`: `gcp` or `gcp_v2`.
        vendor: &'static str,
        /// `endpoint`; only `gcp_v2` reads it.
        endpoint: Option<String>,
        /// `gcp.credential-file-path`; Google's default credentials without it.
        credential_file: Option<String>,
    },
    /// Azure Key Vault.
    AzureKeyVault {
        /// `key-id`: name of the key.
        key_name: String,
        /// `azure`.
        azure: AzureConfig,
    },
    /// A file of 65 bytes.
    File {
        /// `path`.
        path: String,
    },
}

impl MasterKeyConfig {
    /// Which key it is, as an agent that reads the configuration calls it.
    pub fn name(&self) -> MasterKeyName {
        match self {
            Self::AwsKms {
                key_id,
                region,
                endpoint,
            } => master_key_name::aws(key_id, Some(region), endpoint.as_deref()),
            Self::GcpKms {
                key_id,
                vendor,
                endpoint,
                ..
            } => master_key_name::gcp(key_id, vendor, endpoint.as_deref()),
            Self::AzureKeyVault { key_name, azure } => {
                master_key_name::azure(key_name, &azure.keyvault_url)
            }
            Self::File { path } => master_key_name::file(path),
        }
    }
}

/// `[security.encryption.master-key.azure]`, without what TiKV would print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureConfig {
    /// `tenant-id`.
    pub tenant_id: String,
    /// `client-id`.
    pub client_id: String,
    /// `keyvault-url`.
    pub keyvault_url: String,
    /// `hsm-name`.
    pub hsm_name: String,
    /// `hsm-url`.
    pub hsm_url: String,
    /// `client-certificate-path`.
    pub certificate_file: String,
}

/// Why a file can not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TomlProblem {
    /// Not TOML.
    #[error("it is not valid TOML: {0}")]
    Syntax(String),
    /// A table was expected.
    #[error("{0} is not a table")]
    NotATable(String),
    /// The stores are under another master key.
    #[error(
        "[security.encryption.master-key] names another master key ({0}) than the TikvSecurity"
    )]
    OtherMasterKey(String),
}

/// Writes the change into `source`. Writing it twice changes nothing more.
pub fn edit(source: &str, change: &TikvChange) -> Result<String, TomlProblem> {
    let mut document = parse(source)?;
    if let Some(tls) = &change.tls {
        let security = table(document.as_table_mut(), "security")?;
        let file = |name: &str| value(format!("{}/{name}", tls.directory));
        set(security, "ca-path", file("ca.crt"));
        set(security, "cert-path", file("tls.crt"));
        set(security, "key-path", file("tls.key"));
        admit(security, &tls.allowed_names);
    }
    if let Some(encryption) = &change.encryption {
        let security = table(document.as_table_mut(), "security")?;
        let section = table(security, "encryption")?;
        set(
            section,
            "data-encryption-method",
            value(encryption.method.name()),
        );
        set(
            section,
            "data-key-rotation-period",
            value(&encryption.rotation_period),
        );
        let present = table(section, "master-key")?;
        if encryption.replaces && other_master_key(present, &encryption.master_key).is_some() {
            section.remove("master-key");
        }
        master_key(table(section, "master-key")?, &encryption.master_key)?;
        if let Some(previous) = &encryption.previous_master_key {
            section.remove("previous-master-key");
            master_key(table(section, "previous-master-key")?, previous)?;
        }
    }
    Ok(document.to_string())
}

/// A string at a dotted path.
pub fn text_at(source: &str, path: &[&str]) -> Result<Option<String>, TomlProblem> {
    let document = parse(source)?;
    let mut item = document.as_item();
    for part in path {
        match item.get(part) {
            Some(next) => item = next,
            None => return Ok(None),
        }
    }
    Ok(item.as_str().map(str::to_owned))
}

/// Dotted names of keys that hold a secret in the clear: TiKV prints them in its log, in `last_tikv.toml` and at
/// `GET /config` (facts, encryption at rest §1.3).
pub fn secrets_in_the_clear(source: &str) -> Result<Vec<String>, TomlProblem> {
    const SECRET: [&str; 5] = [
        "access-key",
        "secret-access-key",
        "client-secret",
        "client-certificate",
        "client-certificate-password",
    ];
    let document = parse(source)?;
    let encryption = document
        .get("security")
        .and_then(|item| item.get("encryption"));
    let mut found = Vec::new();
    for key in ["master-key", "previous-master-key"] {
        let Some(master) = encryption.and_then(|item| item.get(key)) else {
            continue;
        };
        let sections = [None, Some("aws"), Some("azure")];
        for section in sections {
            let holder = section.map_or(Some(master), |name| master.get(name));
            for name in SECRET {
                let set = holder
                    .and_then(|item| item.get(name))
                    .and_then(Item::as_str);
                if set.is_some_and(|text| !text.is_empty()) {
                    let middle = section.map(|name| format!(".{name}")).unwrap_or_default();
                    found.push(format!("security.encryption.{key}{middle}.{name}"));
                }
            }
        }
    }
    Ok(found)
}

/// The master key that a section names, if it is another one.
fn other_master_key(section: &dyn TableLike, wanted: &MasterKeyConfig) -> Option<String> {
    let text = |key: &str| {
        let item = section.get(key).and_then(Item::as_str);
        item.unwrap_or_default().to_owned()
    };
    let kind = text("type");
    let present = match kind.as_str() {
        "" | "plaintext" => String::new(),
        "file" => text("path"),
        _ => text("key-id"),
    };
    let (name, vendor, identity) = words(wanted);
    let found = match (kind.as_str(), text("vendor")) {
        ("kms", vendor) if vendor.is_empty() => "aws".to_owned(),
        ("kms", vendor) => vendor,
        _ => String::new(),
    };
    let other = !present.is_empty() && (kind != name || found != vendor || present != identity);
    let kind = if found.is_empty() { kind } else { found };
    other.then(|| format!("{kind} {present}"))
}

/// `type`, `vendor`, and what tells one key of them from another.
fn words(key: &MasterKeyConfig) -> (&'static str, &'static str, &str) {
    match key {
        MasterKeyConfig::AwsKms { key_id, .. } => ("kms", "aws", key_id),
        MasterKeyConfig::GcpKms { key_id, vendor, .. } => ("kms", vendor, key_id),
        MasterKeyConfig::AzureKeyVault { key_name, .. } => ("kms", "azure", key_name),
        MasterKeyConfig::File { path } => ("file", "", path),
    }
}

fn master_key(section: &mut dyn TableLike, wanted: &MasterKeyConfig) -> Result<(), TomlProblem> {
    if let Some(other) = other_master_key(section, wanted) {
        return Err(TomlProblem::OtherMasterKey(other));
    }
    let (name, vendor, _) = words(wanted);
    set(section, "type", value(name));
    match wanted {
        MasterKeyConfig::AwsKms {
            key_id,
            region,
            endpoint,
        } => {
            set(section, "vendor", value(vendor));
            set(section, "key-id", value(key_id));
            set(section, "region", value(region));
            set_or_remove(section, "endpoint", endpoint.as_deref());
        }
        MasterKeyConfig::GcpKms {
            key_id,
            endpoint,
            credential_file,
            ..
        } => {
            set(section, "vendor", value(vendor));
            set(section, "key-id", value(key_id));
            set_or_remove(section, "endpoint", endpoint.as_deref());
            // TiKV demands the table, even when nothing is in it (facts, encryption at rest §1.2).
            let gcp = explicit_table(section, "gcp")?;
            set_or_remove(gcp, "credential-file-path", credential_file.as_deref());
        }
        MasterKeyConfig::AzureKeyVault {
            key_name,
            azure: wanted,
        } => {
            set(section, "vendor", value(vendor));
            set(section, "key-id", value(key_name));
            let azure = explicit_table(section, "azure")?;
            set(azure, "tenant-id", value(&wanted.tenant_id));
            set(azure, "client-id", value(&wanted.client_id));
            set(azure, "keyvault-url", value(&wanted.keyvault_url));
            set(azure, "hsm-name", value(&wanted.hsm_name));
            set(azure, "hsm-url", value(&wanted.hsm_url));
            let path = value(&wanted.certificate_file);
            set(azure, "client-certificate-path", path);
            // What a person wrote in the clear goes: it would win over the file, or be its wrong password.
            for secret in [
                "client-certificate",
                "client-certificate-password",
                "client-secret",
            ] {
                azure.remove(secret);
            }
        }
        MasterKeyConfig::File { path } => set(section, "path", value(path)),
    }
    Ok(())
}

fn set_or_remove(section: &mut dyn TableLike, key: &str, wanted: Option<&str>) {
    match wanted {
        Some(wanted) => set(section, key, value(wanted)),
        None => drop(section.remove(key)),
    }
}

/// A table that is written even when it is empty.
fn explicit_table<'a>(
    parent: &'a mut dyn TableLike,
    key: &str,
) -> Result<&'a mut dyn TableLike, TomlProblem> {
    if parent.get(key).is_none() {
        parent.insert(key, Item::Table(Table::new()));
    }
    table(parent, key)
}

/// Ours are added to those that are admitted already: whoever could talk to TiKV still can.
pub(super) fn admit(security: &mut dyn TableLike, names: &[String]) {
    if names.is_empty() {
        return;
    }
    if security
        .get("cert-allowed-cn")
        .and_then(Item::as_array)
        .is_none()
    {
        security.insert("cert-allowed-cn", value(Array::new()));
    }
    let list = security
        .get_mut("cert-allowed-cn")
        .and_then(Item::as_array_mut);
    let Some(list) = list else { return };
    for name in names {
        if !list.iter().any(|item| item.as_str() == Some(name)) {
            list.push(name.as_str());
        }
    }
}

pub(super) fn parse(source: &str) -> Result<DocumentMut, TomlProblem> {
    let parsed = source.parse::<DocumentMut>();
    parsed.map_err(|error| {
        // Only where and why: the text around it may hold a secret.
        let place = error.span().map_or(0, |span| {
            source[..span.start.min(source.len())].lines().count()
        });
        TomlProblem::Syntax(format!("line {place}: {}", error.message()))
    })
}

pub(super) fn table<'a>(
    parent: &'a mut dyn TableLike,
    key: &str,
) -> Result<&'a mut dyn TableLike, TomlProblem> {
    if parent.get(key).is_none() {
        let mut table = Table::new();
        table.set_implicit(true);
        parent.insert(key, Item::Table(table));
    }
    let item = parent.get_mut(key).and_then(Item::as_table_like_mut);
    item.ok_or_else(|| TomlProblem::NotATable(key.to_owned()))
}

/// Sets a value and keeps the comments around the old one.
pub(super) fn set(section: &mut dyn TableLike, key: &str, wanted: Item) {
    let old = section.get_mut(key).and_then(Item::as_value_mut);
    match (old, wanted) {
        (Some(old), Item::Value(mut new)) => {
            if old.as_str() == new.as_str() {
                return;
            }
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, wanted) => {
            section.insert(key, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> TikvChange {
        TikvChange {
            tls: Some(TlsFiles {
                directory: "/var/lib/tikv-tls".into(),
                allowed_names: vec!["tikv.db.prod.tikv-security".into()],
            }),
            encryption: Some(EncryptionConfig {
                method: Method::Aes256Ctr,
                rotation_period: "168h".into(),
                master_key: MasterKeyConfig::AwsKms {
                    key_id: "alias/tikv".into(),
                    region: "eu-central-1".into(),
                    endpoint: None,
                },
                previous_master_key: None,
                replaces: false,
            }),
        }
    }

    #[test]
    fn comments_order_and_foreign_keys_stay() {
        let source = "# ours\nlog-level = \"info\" # quiet\n\n[storage]\ndata-dir = \"/data\"\n\n[security]\n# who may\nredact-info-log = true\n\n[raftstore]\ncapacity = \"10GB\"\n";
        let edited = edit(source, &change()).unwrap();
        for line in source.lines() {
            assert!(edited.contains(line), "{line:?} is lost in\n{edited}");
        }
        assert!(edited.find("[storage]") < edited.find("[security]"));
        assert!(edited.find("[security]") < edited.find("[raftstore]"));
        let read = |path: &[&str]| text_at(&edited, path).unwrap().unwrap();
        assert_eq!(read(&["security", "ca-path"]), "/var/lib/tikv-tls/ca.crt");
        assert_eq!(
            read(&["security", "encryption", "data-encryption-method"]),
            "aes256-ctr"
        );
        assert_eq!(
            read(&["security", "encryption", "master-key", "type"]),
            "kms"
        );
    }

    #[test]
    fn editing_twice_changes_nothing_more() {
        for source in [
            "",
            "[security]\ncert-allowed-cn = [\"mine\"]\n",
            "security.encryption.enable-file-dictionary-log = false\n",
            "[security.encryption.master-key]\ntype = \"plaintext\" # none yet\n",
        ] {
            let once = edit(source, &change()).unwrap();
            assert_eq!(edit(&once, &change()).unwrap(), once);
        }
    }

    #[test]
    fn another_master_key_is_refused() {
        let source = "[security.encryption.master-key]\ntype = \"file\"\npath = \"/k\"\n";
        let refused = edit(source, &change());
        assert_eq!(refused, Err(TomlProblem::OtherMasterKey("file /k".into())));
    }

    #[test]
    fn another_master_key_makes_way_when_the_stores_are_known_to_be_under_ours() {
        let mut change = change();
        let previous = MasterKeyConfig::File { path: "/k".into() };
        if let Some(encryption) = &mut change.encryption {
            encryption.previous_master_key = Some(previous.clone());
            encryption.replaces = true;
        }
        let wanted = change.encryption.clone().unwrap().master_key;
        for source in [
            "",
            "[security.encryption.master-key]\ntype = \"file\"\npath = \"/k\"\n",
            "[security.encryption]\nprevious-master-key = { type = \"kms\", key-id = \"x\" }\n",
        ] {
            let edited = edit(source, &change).unwrap();
            let read = crate::tikv::encryption_config::parse(&edited).unwrap();
            assert_eq!(read.master_key.name(), wanted.name(), "{edited}");
            assert_eq!(read.previous_master_key.name(), previous.name(), "{edited}");
            assert!(
                !edited.contains("\"x\"") && edited.matches("/k").count() == 1,
                "{edited}"
            );
            assert_eq!(edit(&edited, &change).unwrap(), edited);
        }
    }

    fn google(credential_file: Option<&str>) -> TikvChange {
        let mut change = change();
        if let Some(encryption) = &mut change.encryption {
            encryption.master_key = MasterKeyConfig::GcpKms {
                key_id: "projects/p/locations/l/keyRings/r/cryptoKeys/k".into(),
                vendor: "gcp",
                endpoint: None,
                credential_file: credential_file.map(str::to_owned),
            };
        }
        change
    }

    #[test]
    fn the_table_of_google_is_there_even_when_it_is_empty() {
        for source in [
            "",
            "[security.encryption]\nmaster-key = { type = \"plaintext\" }\n",
        ] {
            let edited = edit(source, &google(None)).unwrap();
            let document = edited.parse::<DocumentMut>().unwrap();
            let key = &document["security"]["encryption"]["master-key"];
            assert!(key["gcp"].is_table_like(), "{edited}");
            assert_eq!(key["vendor"].as_str(), Some("gcp"));
            let edited = edit(&edited, &google(Some("/c/key.json"))).unwrap();
            let path = [
                "security",
                "encryption",
                "master-key",
                "gcp",
                "credential-file-path",
            ];
            assert_eq!(
                text_at(&edited, &path).unwrap().as_deref(),
                Some("/c/key.json")
            );
            assert_eq!(edit(&edited, &google(Some("/c/key.json"))).unwrap(), edited);
        }
    }

    #[test]
    fn credentials_of_azure_in_the_clear_make_way_for_the_file() {
        let mut change = change();
        if let Some(encryption) = &mut change.encryption {
            encryption.master_key = MasterKeyConfig::AzureKeyVault {
                key_name: "stores".into(),
                azure: AzureConfig {
                    tenant_id: "t".into(),
                    client_id: "c".into(),
                    keyvault_url: "https://v.vault.azure.net".into(),
                    hsm_name: "h".into(),
                    hsm_url: "https://h.managedhsm.azure.net/".into(),
                    certificate_file: "/c/azure.pfx".into(),
                },
            };
        }
        let source = "[security.encryption.master-key]\ntype = \"kms\"\nvendor = \"azure\"\nkey-id = \"stores\"\n[security.encryption.master-key.azure]\nclient-secret = \"s\"\nclient-certificate-password = \"p\"\n";
        assert_eq!(secrets_in_the_clear(source).unwrap().len(), 2);
        let edited = edit(source, &change).unwrap();
        assert!(
            secrets_in_the_clear(&edited).unwrap().is_empty(),
            "{edited}"
        );
        let section = ["security", "encryption", "master-key", "azure"];
        let read = |key| text_at(&edited, &[&section[..], &[key]].concat()).unwrap();
        assert_eq!(
            read("client-certificate-path").as_deref(),
            Some("/c/azure.pfx")
        );
        assert_eq!(
            read("keyvault-url").as_deref(),
            Some("https://v.vault.azure.net")
        );
        assert_eq!(edit(&edited, &change).unwrap(), edited);
    }

    #[test]
    fn another_vendor_of_the_same_key_is_another_master_key() {
        let source = "[security.encryption.master-key]\ntype = \"kms\"\nvendor = \"gcp_v2\"\nkey-id = \"projects/p/locations/l/keyRings/r/cryptoKeys/k\"\n";
        let refused = edit(source, &google(None)).unwrap_err().to_string();
        assert!(refused.contains("gcp_v2 projects/p"), "{refused}");
    }

    #[test]
    fn a_syntax_error_names_the_line_and_not_the_text() {
        let error = edit("a = 1\nsecret-access-key = hunter2\n", &change()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn secrets_are_found() {
        let source = "[security.encryption.master-key.aws]\nsecret-access-key = \"s\"\n";
        let found = secrets_in_the_clear(source).unwrap();
        assert_eq!(
            found,
            ["security.encryption.master-key.aws.secret-access-key"]
        );
    }
}
