//! Copies of the test stores, which a real TiKV wrote.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tikv_security_standins::options::Options;
use tikv_security_standins::store::dictionary;
use tikv_security_standins::store::directory::Directory;

const SEEN_AS: &str = "/var/lib/tikv";

/// A store at a place of its own.
pub struct Copy {
    name: String,
    directory: TempDir,
}

impl Copy {
    /// The store's names in `file.dict` are changed to its new place.
    pub fn unpack(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = stores().join(name).join("data.tar.zst");
        let done = Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(done.success());
        let copy = Self {
            name: name.to_owned(),
            directory,
        };
        copy.rename_entries();
        copy
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Opens it under the configuration with which TiKV ran.
    pub fn open(&self) -> Directory {
        self.open_as(|_| {})
    }

    /// Opens it under a changed configuration.
    pub fn open_as(&self, change: impl FnOnce(&mut String)) -> Directory {
        Directory::open(self.path(), &self.options(change))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    pub fn options(&self, change: impl FnOnce(&mut String)) -> Options {
        let mut text = fs::read_to_string(stores().join(&self.name).join("tikv.toml")).unwrap();
        text = text.replace("/etc/tikv/keys", &stores().join("keys").to_string_lossy());
        change(&mut text);
        Options::parse(&text).unwrap()
    }

    /// Prefixes of rows, and how many there are.
    pub fn expected_rows(&self) -> BTreeMap<String, u64> {
        let text = fs::read_to_string(stores().join(&self.name).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(manifest["rows"].clone()).unwrap()
    }

    fn rename_entries(&self) {
        let path = self.path().join("file.dict");
        let Ok(bytes) = fs::read(&path) else { return };
        let Ok(mut files) = dictionary::parse_files(&bytes) else {
            panic!("{}: file.dict", self.name)
        };
        let own = self.path().to_string_lossy().into_owned();
        files.files = files
            .files
            .into_iter()
            .map(|(name, info)| (name.replace(SEEN_AS, &own), info))
            .collect();
        dictionary::write_files(&path, &files, true).unwrap();
    }
}

/// Where the stores are.
pub fn stores() -> PathBuf {
    PathBuf::from("../../tests/stores")
}
