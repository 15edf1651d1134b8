//! What must hold for any bytes that come from outside, one function for each format: it takes them apart and panics
//! when a promise is broken. The fuzz targets call these, and so does `tests/parsers.rs`, with damaged copies of real
//! files and with the committed corpora.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use tikv_security::agent::class::{Class, classify};
use tikv_security::agent::content::{HEAD, TAIL, look};
use tikv_security::agent::{journal, names};
use tikv_security::api::desired::DesiredState;
use tikv_security::api::method::Method;
use tikv_security::api::report::AgentReport;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::format::envelope::{self, Version};
use tikv_security::format::file_dict::FileDict;
use tikv_security::format::key_dict;
use tikv_security::format::pb::{DataKey, KeyDictionary};
use tikv_security::kms::{MasterKey, check_file_key};
use tikv_security::tikv::store_config::StoreConfig;
use tikv_security::tikv::tikv_toml::{
    self, EncryptionConfig, MasterKeyConfig, TikvChange, TlsFiles,
};
use tikv_security::tikv::version::Version as TikvVersion;
use tikv_security::tikv::{encryption_config, pd_toml};
use tikv_security::tls::parse;

/// A format: the name of its corpus, and what must hold.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("file_dict", file_dict),
    ("key_dict", key_dict),
    ("key_dictionary", key_dictionary),
    ("journal", journal),
    ("toml", toml),
    ("documents", documents),
    ("paths", paths),
    ("certificates", certificates),
];

/// `file.dict`: what is read is written and read again as the same, in both versions.
pub fn file_dict(bytes: &[u8]) {
    let Ok(dict) = FileDict::parse(bytes) else {
        return;
    };
    assert!(dict.torn_bytes < bytes.len());
    for version in [Version::V1, Version::V2] {
        let again = FileDict::parse(&dict.encode(version)).expect("what was written is read");
        assert_eq!(again.entries, dict.entries);
        assert_eq!((again.version, again.torn_bytes), (version, 0));
    }
}

/// `key.dict` under the master key of the test stores: its container is written as it was read, and what opens is the
/// content that was sealed.
pub fn key_dict(bytes: &[u8]) {
    let Ok(sealed) = envelope::parse_encrypted(bytes) else {
        return;
    };
    let again = envelope::parse_encrypted(&envelope::seal_encrypted(&sealed));
    assert_eq!(again.as_ref(), Ok(&sealed));
    if let Ok(plain) = test_master_key().open(&sealed) {
        key_dictionary(plain.expose());
    }
    // Insecure: anything may be in there.
    if let Ok(plain) = MasterKey::Plaintext.open(&sealed) {
        key_dictionary(plain.expose());
    }
}

/// The plaintext of `key.dict`: every key fits its method, the current one is there.
pub fn key_dictionary(bytes: &[u8]) {
    let Ok(dict) = key_dict::parse(bytes) else {
        return;
    };
    assert!(dict.current_key_id == 0 || dict.keys.contains_key(&dict.current_key_id));
    assert!(key_dict::parse(&dict.encode_to_vec()).is_ok_and(|again| again == dict));
}

/// The journal: only what a holder of the data keys signed is believed.
pub fn journal(bytes: &[u8]) {
    let keys = journal_keys();
    if let Ok(run) = journal::open(bytes, &keys) {
        let sealed = journal::seal(&run, &keys).expect("the key that opened it is there");
        assert!(
            journal::open(&sealed, &keys).is_ok_and(|again| again == run),
            "a record that was believed is not what was signed"
        );
    }
}

/// TiKV's and PD's configuration: what is edited is TOML, and editing it again changes nothing.
pub fn toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = StoreConfig::parse(text);
    let _ = encryption_config::parse(text);
    let _ = tikv_toml::secrets_in_the_clear(text);
    let _ = tikv_toml::text_at(text, &["storage", "data-dir"]);
    let _ = pd_toml::sets_urls(text);
    let change = TikvChange {
        tls: Some(TlsFiles {
            directory: "/var/lib/tikv-tls".to_owned(),
            allowed_names: vec!["tikv.x.y.tikv-security".to_owned()],
        }),
        encryption: Some(EncryptionConfig {
            method: Method::Aes256Ctr,
            rotation_period: "7d".to_owned(),
            master_key: MasterKeyConfig::File {
                path: "/k".to_owned(),
            },
            previous_master_key: Some(MasterKeyConfig::File {
                path: "/before".to_owned(),
            }),
            replaces: true,
        }),
    };
    if let Ok(edited) = tikv_toml::edit(text, &change) {
        assert_eq!(tikv_toml::edit(&edited, &change).as_ref(), Ok(&edited));
        // What is broken in keys that are not ours to edit stays broken, and is told.
        if encryption_config::parse(text).is_ok() {
            let read = encryption_config::parse(&edited).map(|section| section.method);
            assert_eq!(read, Ok(Method::Aes256Ctr));
        }
    }
    if let Ok(edited) = pd_toml::edit(text, "/var/lib/pd-tls", "pd.x.y.tikv-security") {
        let again = pd_toml::edit(&edited, "/var/lib/pd-tls", "pd.x.y.tikv-security");
        assert_eq!(again.as_ref(), Ok(&edited));
    }
}

/// The JSON between operator and agent: what is read is written and read again as the same.
pub fn documents(bytes: &[u8]) {
    if let Ok(desired) = serde_json::from_slice::<DesiredState>(bytes) {
        let text = serde_json::to_vec(&desired).expect("it has no maps with odd keys");
        assert_eq!(
            serde_json::from_slice::<DesiredState>(&text).ok(),
            Some(desired)
        );
    }
    if let Ok(report) = serde_json::from_slice::<AgentReport>(bytes) {
        let text = serde_json::to_vec(&report).expect("it has no maps with odd keys");
        assert_eq!(
            serde_json::from_slice::<AgentReport>(&text).ok(),
            Some(report)
        );
    }
}

/// Names of files and what a content looks like: any name has a class, any content a look.
pub fn paths(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let class = classify(&name);
    assert!(!class.name().is_empty());
    assert!(name.starts_with(&names::common_dir(&name)));
    if let Class::Data(kind) = class {
        let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
        let _ = look(kind, &bytes[..bytes.len().min(HEAD)], tail);
    }
    let _ = TikvVersion::parse(&name).map(|version| version.to_string());
    let _ = check_file_key(Path::new("/k"), bytes);
}

/// Certificates of a cluster that was not made by this operator.
pub fn certificates(bytes: &[u8]) {
    let _ = parse::parse_all(bytes);
    let _ = parse::parse_der(bytes);
}

/// The master key of most of the test stores.
pub fn test_master_key() -> MasterKey {
    let text = include_str!("../../tests/stores/keys/master.key").trim_end();
    let digits = text.as_bytes().as_chunks::<2>().0.iter();
    let byte = |pair: &[u8; 2]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    MasterKey::File(SecretBytes::new(digits.map(byte).collect()))
}

/// The data key by which the corpus of the journal is signed.
pub fn journal_keys() -> KeyDictionary {
    let key = DataKey {
        key: (0..32).collect(),
        method: 4,
        creation_time: 1_700_000_000,
        was_exposed: false,
    };
    KeyDictionary {
        keys: BTreeMap::from([(7, key)]),
        current_key_id: 7,
    }
}
