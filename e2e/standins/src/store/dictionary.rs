//! `key.dict` and `file.dict` as TiKV keeps them (facts, encryption at rest §2, §3), written independently of tikv-security.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;

use super::cipher::{self, PLAINTEXT};
use super::master::Master;
use crate::{Result, now};

/// Content of `key.dict`.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptedContent {
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub metadata: BTreeMap<String, Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyDictionary {
    #[prost(btree_map = "uint64, message", tag = "1")]
    keys: BTreeMap<u64, DataKey>,
    #[prost(uint64, tag = "2")]
    current_key_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DataKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(int32, tag = "2")]
    method: i32,
    #[prost(uint64, tag = "3")]
    creation_time: u64,
    #[prost(bool, tag = "4")]
    was_exposed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct FileDictionary {
    #[prost(map = "string, message", tag = "1")]
    files: HashMap<String, FileInfo>,
}

/// How one file is encrypted.
#[derive(Clone, PartialEq, Message)]
pub struct FileInfo {
    #[prost(uint64, tag = "1")]
    pub key_id: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub iv: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub method: i32,
}

/// Both dictionaries, or none when encryption was never on.
pub struct Dictionaries {
    directory: PathBuf,
    enabled: bool,
    keys: KeyDictionary,
    files: FileDictionary,
}

impl Dictionaries {
    /// TiKV's boot, step by step (facts, §2.5), without the fallback to a previous master key.
    pub fn open(directory: &Path, method: i32, master: &Master) -> Result<Self> {
        if method != PLAINTEXT && !master.secure() {
            return Err("data-encryption-method needs a master key that is not plaintext".into());
        }
        let files = read(&directory.join("file.dict"))?.map(|bytes| parse_files(&bytes)).transpose()?;
        let sealed = read(&directory.join("key.dict"))?.map(|bytes| parse_sealed(&bytes)).transpose()?;
        let mut opened = Self {
            directory: directory.to_owned(),
            enabled: true,
            keys: KeyDictionary::default(),
            files: FileDictionary::default(),
        };
        match (files, &sealed) {
            (Some(files), Some(sealed)) => {
                opened.files = files;
                opened.save_files()?;
                let plain = master.open(sealed)?;
                opened.keys = KeyDictionary::decode(plain.as_slice()).map_err(|e| format!("key.dict: {e}"))?;
            }
            (None, None) if method == PLAINTEXT => {
                opened.enabled = false;
                return Ok(opened);
            }
            (None, None) => opened.save_files()?,
            (Some(files), None) if files.files.is_empty() && method == PLAINTEXT => {
                fs::remove_file(directory.join("file.dict")).map_err(|e| e.to_string())?;
                opened.enabled = false;
                return Ok(opened);
            }
            (Some(_), None) => return Err("file.dict without key.dict".into()),
            (None, Some(_)) => return Err("key.dict without file.dict".into()),
        }
        opened.rotate(method, master, sealed.as_ref())?;
        Ok(opened)
    }

    /// Whether there are dictionaries.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The entry of a file, and its key. No entry is plaintext; an entry without its key is an error.
    pub fn lookup(&self, path: &Path) -> Result<(FileInfo, Vec<u8>)> {
        let plain = FileInfo { key_id: 0, iv: Vec::new(), method: PLAINTEXT };
        let Some(info) = self.files.files.get(&name(path)) else { return Ok((plain, Vec::new())) };
        if info.method == PLAINTEXT {
            return Ok((plain, Vec::new()));
        }
        let key = self.keys.keys.get(&info.key_id);
        let key = key.ok_or_else(|| format!("key not found for id {} of {}", info.key_id, path.display()))?;
        if key.key.len() != cipher::key_length(info.method) {
            return Err(format!("the data key of {} has the wrong length", path.display()));
        }
        Ok((info.clone(), key.key.clone()))
    }

    /// Makes a new entry under the current key; it is durable when this returns.
    pub fn insert(&mut self, path: &Path) -> Result<(FileInfo, Vec<u8>)> {
        if self.enabled {
            let current = self.keys.current_key_id;
            let method = self.keys.keys.get(&current).map_or(PLAINTEXT, |key| key.method);
            let mut iv = vec![0; if method == PLAINTEXT { 0 } else { 16 }];
            openssl::rand::rand_bytes(&mut iv).map_err(|e| e.to_string())?;
            let info = FileInfo { key_id: current, iv, method };
            self.append(&name(path), Some(&info))?;
            self.files.files.insert(name(path), info);
        }
        self.lookup(path)
    }

    /// Forgets a file that is gone.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        if self.files.files.remove(&name(path)).is_some() {
            self.append(&name(path), None)?;
        }
        Ok(())
    }

    fn rotate(&mut self, method: i32, master: &Master, sealed: Option<&EncryptedContent>) -> Result<()> {
        let current = self.keys.current_key_id;
        if current != 0 {
            let key = self.keys.keys.get(&current).ok_or("current data key not found!")?;
            if key.method == method {
                return Ok(());
            }
        }
        let mut id = [0; 8];
        let mut key = vec![0; cipher::key_length(method)];
        openssl::rand::rand_bytes(&mut id).and_then(|()| openssl::rand::rand_bytes(&mut key)).map_err(|e| e.to_string())?;
        let id = u64::from_be_bytes(id).max(1);
        self.keys.keys.insert(id, DataKey { key, method, creation_time: now(), was_exposed: false });
        self.keys.current_key_id = id;
        let sealed = master.seal(&self.keys.encode_to_vec(), sealed)?;
        replace(&self.directory.join("key.dict"), &container(1, &sealed.encode_to_vec()))
    }

    fn save_files(&self) -> Result<()> {
        replace(&self.directory.join("file.dict"), &container(2, &self.files.encode_to_vec()))
    }

    fn append(&self, name: &str, info: Option<&FileInfo>) -> Result<()> {
        let info_bytes = info.map(Message::encode_to_vec).unwrap_or_default();
        let content = [name.as_bytes(), &info_bytes].concat();
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let record = [
            &crc32fast::hash(&content).to_be_bytes()[..],
            &length(name.as_bytes()),
            &length(&info_bytes),
            &[if info.is_some() { 1 } else { 2 }],
            &content,
        ]
        .concat();
        let path = self.directory.join("file.dict");
        let mut file = fs::File::options().append(true).open(&path).map_err(|e| e.to_string())?;
        file.write_all(&record).and_then(|()| file.sync_data()).map_err(|e| e.to_string())
    }
}

fn parse_files(bytes: &[u8]) -> Result<FileDictionary> {
    let (version, content, mut rest) = open(bytes, "file.dict")?;
    if version == 1 {
        let message = EncryptedContent::decode(content).map_err(|e| format!("file.dict: {e}"))?;
        return FileDictionary::decode(message.content.as_slice()).map_err(|e| format!("file.dict: {e}"));
    }
    let mut dictionary = FileDictionary::decode(content).map_err(|e| format!("file.dict: {e}"))?;
    while let Some((head, tail)) = rest.split_at_checked(9) {
        let number = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (name_length, info_length) = (number(4), number(6));
        let Some((record, after)) = tail.split_at_checked(name_length + info_length) else { break };
        if crc32fast::hash(record).to_be_bytes() != head[..4] {
            if after.is_empty() {
                break;
            }
            return Err("file.dict: checksum of a record does not fit".into());
        }
        let (name, info) = record.split_at(name_length);
        let name = String::from_utf8(name.to_vec()).map_err(|e| format!("file.dict: {e}"))?;
        match head[8] {
            1 => {
                let info = FileInfo::decode(info).map_err(|e| format!("file.dict: {e}"))?;
                dictionary.files.insert(name, info);
            }
            2 => {
                dictionary.files.remove(&name).ok_or("file.dict: remove a null entry")?;
            }
            other => return Err(format!("file.dict: record of type {other}")),
        }
        rest = after;
    }
    Ok(dictionary)
}

fn parse_sealed(bytes: &[u8]) -> Result<EncryptedContent> {
    let (_, content, _) = open(bytes, "key.dict")?;
    EncryptedContent::decode(content).map_err(|e| format!("key.dict: {e}"))
}

fn open<'a>(bytes: &'a [u8], what: &str) -> Result<(u8, &'a [u8], &'a [u8])> {
    let (head, body) = bytes.split_at_checked(16).ok_or_else(|| format!("{what} is too short"))?;
    let length = u64::from_be_bytes(head[8..].try_into().unwrap_or_default());
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (content, rest) = body.split_at_checked(length).ok_or_else(|| format!("{what} is cut off"))?;
    if crc32fast::hash(content).to_be_bytes() != head[4..8] {
        return Err(format!("{what}: checksum does not fit"));
    }
    match head[0] {
        1 if rest.is_empty() => Ok((1, content, rest)),
        2 => Ok((2, content, rest)),
        version => Err(format!("{what}: version {version} or its length is wrong")),
    }
}

fn container(version: u8, content: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(content).to_be_bytes();
    let length = (content.len() as u64).to_be_bytes();
    [&[version, 0, 0, 0], &checksum[..], &length[..], content].concat()
}

/// A temporary file, made durable, over the old one; then the directory.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let work = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    work().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
