//! `key.dict` and `file.dict` on disk (facts, encryption at rest §2, §3), written independently of tikv-security.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;

use prost::Message;

use crate::Result;

/// Content of `key.dict`, and of a `file.dict` of version 1.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptedContent {
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub metadata: BTreeMap<String, Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// All data keys.
#[derive(Clone, PartialEq, Message)]
pub struct KeyDictionary {
    #[prost(btree_map = "uint64, message", tag = "1")]
    pub keys: BTreeMap<u64, DataKey>,
    #[prost(uint64, tag = "2")]
    pub current_key_id: u64,
}

/// One data key.
#[derive(Clone, PartialEq, Message)]
pub struct DataKey {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub method: i32,
    #[prost(uint64, tag = "3")]
    pub creation_time: u64,
    #[prost(bool, tag = "4")]
    pub was_exposed: bool,
}

/// All entries.
#[derive(Clone, PartialEq, Message)]
pub struct FileDictionary {
    #[prost(map = "string, message", tag = "1")]
    pub files: HashMap<String, FileInfo>,
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

/// Why a dictionary is refused, and whether TiKV leaves its panic mark for that.
pub struct Damage {
    pub text: String,
    pub mark: bool,
}

impl From<String> for Damage {
    fn from(text: String) -> Self {
        Self { text, mark: false }
    }
}

/// Reads a `file.dict` of either version.
pub fn parse_files(bytes: &[u8]) -> std::result::Result<FileDictionary, Damage> {
    let (version, content, mut rest) = open(bytes, "file.dict")?;
    let plain = if version == 1 {
        EncryptedContent::decode(content)
            .map_err(|e| format!("file.dict: {e}"))?
            .content
    } else {
        content.to_vec()
    };
    let mut dictionary =
        FileDictionary::decode(plain.as_slice()).map_err(|e| format!("file.dict: {e}"))?;
    let fatal = |text: String| Damage {
        text: format!("file.dict: {text}"),
        mark: true,
    };
    while let Some((head, tail)) = rest.split_at_checked(9) {
        let number = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (name_length, info_length) = (number(4), number(6));
        let Some((record, after)) = tail.split_at_checked(name_length + info_length) else {
            break;
        };
        if crc32fast::hash(record).to_be_bytes() != head[..4] {
            if after.is_empty() {
                break;
            }
            return Err(fatal("checksum of a record does not fit".into()));
        }
        let (name, info) = record.split_at(name_length);
        let name = String::from_utf8(name.to_vec()).map_err(|e| fatal(e.to_string()))?;
        match head[8] {
            1 => {
                let info = FileInfo::decode(info).map_err(|e| fatal(e.to_string()))?;
                dictionary.files.insert(name, info);
            }
            2 => {
                let removed = dictionary.files.remove(&name);
                removed.ok_or_else(|| format!("file.dict: remove a null entry, {name}"))?;
            }
            other => return Err(fatal(format!("record of type {other}"))),
        }
        rest = after;
    }
    Ok(dictionary)
}

/// Reads a `key.dict`, still sealed.
pub fn parse_sealed(bytes: &[u8]) -> Result<EncryptedContent> {
    let (_, content, _) = open(bytes, "key.dict")?;
    EncryptedContent::decode(content).map_err(|e| format!("key.dict: {e}"))
}

/// One record of version 2; without `info` it removes.
pub fn record(name: &str, info: Option<&FileInfo>) -> Vec<u8> {
    let info_bytes = info.map(Message::encode_to_vec).unwrap_or_default();
    let content = [name.as_bytes(), &info_bytes].concat();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [
        &crc32fast::hash(&content).to_be_bytes()[..],
        &length(name.as_bytes()),
        &length(&info_bytes),
        &[if info.is_some() { 1 } else { 2 }],
        &content,
    ]
    .concat()
}

/// A whole `file.dict`: version 2 is a log that records are added to, version 1 is written anew each time.
pub fn write_files(path: &Path, files: &FileDictionary, log: bool) -> Result<()> {
    if log {
        return replace(path, &container(2, &files.encode_to_vec()));
    }
    let metadata = BTreeMap::from([("method".to_owned(), b"plaintext".to_vec())]);
    let content = EncryptedContent {
        metadata,
        content: files.encode_to_vec(),
    };
    replace(path, &container(1, &content.encode_to_vec()))
}

/// A whole `key.dict`.
pub fn write_sealed(path: &Path, sealed: &EncryptedContent) -> Result<()> {
    replace(path, &container(1, &sealed.encode_to_vec()))
}

/// A temporary file as TiKV names it, made durable, over the old one; then the directory.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut number = [0; 8];
    openssl::rand::rand_bytes(&mut number).map_err(|e| e.to_string())?;
    let temporary = path.with_extension(format!("{}.tmp", u64::from_be_bytes(number)));
    let work = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    work().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

fn open<'a>(bytes: &'a [u8], what: &str) -> Result<(u8, &'a [u8], &'a [u8])> {
    let (head, body) = bytes
        .split_at_checked(16)
        .ok_or_else(|| format!("{what} is too short"))?;
    let length = u64::from_be_bytes(head[8..].try_into().unwrap_or_default());
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (content, rest) = body
        .split_at_checked(length)
        .ok_or_else(|| format!("{what} is cut off"))?;
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
