//! What of TiKV's configuration says where a store's files are (facts, encryption at rest §3.3).

use toml_edit::{DocumentMut, Item};

/// Where the files are, and how the dictionary is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// `storage.data-dir`.
    pub data_dir: Option<String>,
    /// `security.encryption.enable-file-dictionary-log`.
    pub file_dictionary_log: bool,
    /// `security.ca-path` is set: its ports speak TLS.
    pub tls: bool,
    /// The configuration is one of TiFlash, or of the TiKV within it (facts, encryption at rest §6.7).
    pub tiflash: bool,
    elsewhere: Vec<(String, String)>,
}

/// The text is no TOML.
#[derive(Debug, thiserror::Error)]
#[error("TiKV's configuration does not parse: {0}")]
pub struct NotToml(#[from] toml_edit::TomlError);

/// Settings that name directories, and what their files are classified below.
const DIRECTORIES: [(&str, &str); 7] = [
    ("raft-engine.dir", "raft-engine/"),
    ("raft-engine.spill-dir", "raft-engine/spill/"),
    ("rocksdb.wal-dir", "wal/"),
    ("raftdb.wal-dir", "raft-wal/"),
    ("rocksdb.titan.dirname", "titandb/"),
    ("raftstore.raftdb-path", "raft/"),
    ("log-backup.temp-path", "log-backup-temp/"),
];

impl StoreConfig {
    /// Reads `tikv.toml` or `last_tikv.toml`. Unknown keys do not count, as for TiKV.
    pub fn parse(text: &str) -> Result<Self, NotToml> {
        let document: DocumentMut = text.parse()?;
        let string = |path: &str| {
            find(&document, path)
                .and_then(Item::as_str)
                .filter(|value| !value.is_empty())
                .map(|value| value.trim_end_matches('/').to_owned())
        };
        Ok(Self {
            data_dir: string("storage.data-dir").filter(|dir| dir.starts_with('/')),
            file_dictionary_log: find(&document, "security.encryption.enable-file-dictionary-log")
                .and_then(Item::as_bool)
                .unwrap_or(true),
            tls: string("security.ca-path").is_some(),
            tiflash: find(&document, "flash").is_some()
                || string("server.labels.engine").is_some_and(|engine| engine == "tiflash")
                || string("server.engine-addr").is_some(),
            elsewhere: DIRECTORIES
                .iter()
                .filter_map(|(path, prefix)| Some(((*prefix).to_owned(), string(path)?)))
                .filter(|(_, dir)| dir.starts_with('/'))
                .collect(),
        })
    }

    /// Directories of the store by their prefix for classification; those below the data directory among them.
    pub fn elsewhere(&self) -> Vec<(String, String)> {
        self.elsewhere.clone()
    }
}

fn find<'a>(document: &'a DocumentMut, path: &str) -> Option<&'a Item> {
    path.split('.')
        .try_fold(document.as_item(), |item, key| item.get(key))
}

#[cfg(test)]
mod tests {
    use super::StoreConfig;

    #[test]
    fn directories_elsewhere_are_found() {
        let config = StoreConfig::parse(
            "[storage]\ndata-dir = \"/var/lib/tikv\"\n[raft-engine]\ndir = \"/raft\" # fast disk\n\
             [security.encryption]\nenable-file-dictionary-log = false\n",
        )
        .unwrap();
        assert_eq!(config.data_dir.as_deref(), Some("/var/lib/tikv"));
        assert!(!config.file_dictionary_log && !config.tls);
        assert_eq!(
            config.elsewhere(),
            [("raft-engine/".to_owned(), "/raft".to_owned())]
        );
    }
}
