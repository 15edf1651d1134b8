//! Stores that a real TiKV wrote, unpacked, changed, handed to the binary and judged by OpenSSL.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use openssl::symm::{Cipher, Crypter, Mode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tikv_security::api::method::Method;
use tikv_security::format::file_dict::FileDict;
use tikv_security::format::pb::{self, FileInfo, KeyDictionary};
use tikv_security::format::{envelope, key_dict};
use tikv_security::kms::MasterKey;

/// Where TiKV saw each of the stores.
pub const SEEN_AS: &str = "/var/lib/tikv";
/// Not content: what every run rewrites, and what no TiKV encrypts.
const NOT_CONTENT: [&str; 6] = [
    "file.dict",
    "key.dict",
    "last_tikv.toml",
    "panic_mark_file",
    "tikv-security.journal",
    "LOCK",
];

/// A store of `tests/stores`, unpacked.
pub struct DataDir {
    dir: tempfile::TempDir,
    pub master_key: PathBuf,
}

impl DataDir {
    pub fn unpack(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let packed = fs::File::open(stores().join(name).join("data.tar.zst")).unwrap();
        tar::Archive::new(zstd::Decoder::new(packed).unwrap())
            .unpack(dir.path())
            .unwrap();
        let key = if name == "master-key-rotated" {
            "master2.key"
        } else {
            "master.key"
        };
        Self {
            dir,
            master_key: stores().join("keys").join(key),
        }
    }

    /// A store with long logs cut to their beginnings: as good for the engine, and many times quicker.
    pub fn small(name: &str) -> Self {
        let store = Self::unpack(name);
        for path in store.files() {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(store.at(&path))
                .unwrap();
            let log = path.ends_with(".raftlog") || path.ends_with(".log");
            if log && file.metadata().unwrap().len() > 70_000 {
                file.set_len(70_000).unwrap();
            }
        }
        store
    }

    /// The same store once more.
    pub fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("cp")
            .args(["-a", "--"])
            .arg(format!("{}/.", self.path().display()))
            .arg(dir.path())
            .status();
        assert!(done.unwrap().success());
        Self {
            dir,
            master_key: self.master_key.clone(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The command with all that it needs to open the store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tikv-security"));
        command.args(self.arguments(arguments));
        command
    }

    /// Arguments of the binary.
    pub fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = vec![
            arguments[0].to_owned(),
            self.path().to_string_lossy().into_owned(),
        ];
        all.extend(arguments[1..].iter().map(|&word| word.to_owned()));
        for (flag, value) in [
            ("--master-key-file", &*self.master_key.to_string_lossy()),
            ("--seen-as", SEEN_AS),
            ("--output", "json"),
        ] {
            let config = flag == "--master-key-file" && arguments.contains(&"--config");
            if !arguments.contains(&flag) && !config {
                all.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        all
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The document of a command that must succeed.
    pub fn document(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The document of a command that has something to report.
    pub fn document_of_findings(&self, arguments: &[&str]) -> Value {
        serde_json::from_slice(&self.run(arguments).stdout).unwrap()
    }

    /// Exit code, document and what was said on standard error.
    pub fn fails(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"));
        (output.status.code().unwrap(), document, said)
    }

    /// Every byte of the directory, by path.
    pub fn image(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |path: String| {
            let bytes = fs::read(self.at(&path)).unwrap();
            (path, bytes)
        };
        self.files().into_iter().map(read).collect()
    }

    /// Every regular file.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        below(self.path(), "", &mut found);
        found.sort();
        found
    }

    pub fn file_dict(&self) -> FileDict {
        FileDict::parse(&fs::read(self.at("file.dict")).unwrap()).unwrap()
    }

    pub fn change_entries(&self, change: impl FnOnce(&mut BTreeMap<String, FileInfo>)) {
        let mut dict = self.file_dict();
        change(&mut dict.entries);
        dict.torn_bytes = 0;
        fs::write(self.at("file.dict"), dict.encode(dict.version)).unwrap();
    }

    pub fn dictionaries(&self) -> (BTreeMap<String, FileInfo>, KeyDictionary) {
        let (Ok(files), Ok(keys)) = (
            fs::read(self.at("file.dict")),
            fs::read(self.at("key.dict")),
        ) else {
            return (BTreeMap::new(), KeyDictionary::default());
        };
        let master = MasterKey::from_file(&self.master_key).unwrap();
        let opened = master
            .open(&envelope::parse_encrypted(&keys).unwrap())
            .unwrap();
        (
            FileDict::parse(&files).unwrap().entries,
            key_dict::parse(opened.expose()).unwrap(),
        )
    }

    /// What TiKV reads at each path, as a digest. `at` is the path of the entry.
    pub fn contents(&self) -> BTreeMap<String, String> {
        let (entries, keys) = self.dictionaries();
        let content = |path: String| {
            let mut bytes = fs::read(self.at(&path)).unwrap();
            if let Some(entry) = entries.get(&format!("{SEEN_AS}/{path}")) {
                bytes = plain(entry, &keys, &bytes);
            }
            (path, digest(&bytes))
        };
        let wanted = |path: &String| !NOT_CONTENT.contains(&path.as_str());
        let files = self.files().into_iter().filter(wanted);
        files.map(content).collect()
    }
}

fn below(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            below(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// The directory of packed stores and their keys.
pub fn stores() -> PathBuf {
    PathBuf::from("tests/stores")
}

/// What an entry makes of bytes.
pub fn plain(entry: &FileInfo, keys: &KeyDictionary, bytes: &[u8]) -> Vec<u8> {
    let method = pb::method::from_wire(entry.method).unwrap();
    if !method.encrypts() {
        return bytes.to_vec();
    }
    decrypt(method, &keys.keys[&entry.key_id].key, &entry.iv, bytes)
}

pub fn decrypt(method: Method, key: &[u8], iv: &[u8], bytes: &[u8]) -> Vec<u8> {
    let cipher = match method {
        Method::Plaintext => return bytes.to_vec(),
        Method::Aes128Ctr => Cipher::aes_128_ctr(),
        Method::Aes192Ctr => Cipher::aes_192_ctr(),
        Method::Aes256Ctr => Cipher::aes_256_ctr(),
        Method::Sm4Ctr => Cipher::sm4_ctr(),
    };
    let mut crypter = Crypter::new(cipher, Mode::Decrypt, key, Some(iv)).unwrap();
    let mut plain = vec![0; bytes.len() + 16];
    let written = crypter.update(bytes, &mut plain).unwrap();
    plain.truncate(written);
    plain
}

pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Codes of the findings of a document.
pub fn codes(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}
