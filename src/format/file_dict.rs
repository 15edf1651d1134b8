//! `file.dict`: which key and IV protect which file (facts, encryption at rest §3). Always in the clear.

use std::collections::BTreeMap;

use prost::Message;

use super::envelope::{self, Envelope, EnvelopeError, HEADER_LEN, Version};
use super::pb::{EncryptedContent, FileDictionary, FileInfo};

/// Checksum, name length, info length, type.
const RECORD_HEADER: usize = 9;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;
/// Bytes of a path, at most, on Linux.
const LONGEST_PATH: usize = 4096;

/// A dictionary as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDict {
    /// Format that it was written in.
    pub version: Version,
    /// Entries by path, as TiKV spells it.
    pub entries: BTreeMap<String, FileInfo>,
    /// Bytes at the end that belong to a record which was never finished; TiKV drops them too.
    pub torn_bytes: usize,
}

/// Why a dictionary can not be read. TiKV refuses these too.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileDictError {
    /// The container.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The snapshot's message.
    #[error("the snapshot is no valid message: {0}")]
    Snapshot(String),
    /// Version 1 content that is encrypted: no TiKV writes that.
    #[error("the content is marked as encrypted by {0:?}; TiKV writes file.dict in the clear")]
    NotPlaintext(String),
    /// A damaged record that is not the last one.
    #[error("record {index} at byte {offset} is damaged: {what}")]
    Record {
        /// Number of the record, from 0.
        index: usize,
        /// Where it begins.
        offset: usize,
        /// What is wrong.
        what: String,
    },
}

impl FileDict {
    /// An empty dictionary.
    pub fn empty(version: Version) -> Self {
        Self {
            version,
            entries: BTreeMap::new(),
            torn_bytes: 0,
        }
    }

    /// Reads a dictionary of either version.
    pub fn parse(bytes: &[u8]) -> Result<Self, FileDictError> {
        let envelope = Envelope::parse(bytes)?;
        match envelope.version {
            Version::V1 => {
                let content = EncryptedContent::decode(envelope.content)
                    .map_err(|error| FileDictError::Snapshot(error.to_string()))?;
                let method = content
                    .metadata
                    .get("method")
                    .map_or(&b""[..], Vec::as_slice);
                if method != b"plaintext" {
                    return Err(FileDictError::NotPlaintext(
                        String::from_utf8_lossy(method).into_owned(),
                    ));
                }
                Ok(Self {
                    version: Version::V1,
                    entries: snapshot(&content.content)?,
                    torn_bytes: 0,
                })
            }
            Version::V2 => {
                let mut dict = Self {
                    version: Version::V2,
                    entries: snapshot(envelope.content)?,
                    torn_bytes: 0,
                };
                let start = HEADER_LEN + envelope.content.len();
                dict.replay(envelope.rest, start)?;
                Ok(dict)
            }
        }
    }

    /// The compacted form, a snapshot without records, in format `version`: what TiKV writes at boot.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let snapshot = self.snapshot();
        match version {
            Version::V2 => envelope::seal(Version::V2, snapshot),
            Version::V1 => envelope::seal_encrypted(&EncryptedContent {
                metadata: BTreeMap::from([("method".to_owned(), b"plaintext".to_vec())]),
                content: snapshot,
            }),
        }
    }

    /// A message is the same when its entries are encoded one after the other; so no second dictionary is in memory.
    fn snapshot(&self) -> Vec<u8> {
        /// Tags, lengths, id of the key, IV and method, at most.
        const BESIDE_NAME: usize = 40;
        let room = |name: &String| name.len() + BESIDE_NAME;
        let mut bytes =
            Vec::with_capacity(HEADER_LEN + self.entries.keys().map(room).sum::<usize>());
        for (name, info) in &self.entries {
            let one = FileDictionary {
                files: BTreeMap::from([(name.clone(), info.clone())]),
            };
            bytes.extend_from_slice(&one.encode_to_vec());
        }
        bytes
    }

    fn replay(&mut self, mut rest: &[u8], mut offset: usize) -> Result<(), FileDictError> {
        let mut index = 0;
        while !rest.is_empty() {
            let damaged = |what: String| FileDictError::Record {
                index,
                offset,
                what,
            };
            let record = Record::split(rest);
            let Some(record) =
                record.filter(|record| record.checksum_ok() || !record.rest.is_empty())
            else {
                if hides_records(rest) {
                    return Err(damaged(
                        "its length is wrong: whole records are within it".to_owned(),
                    ));
                }
                self.torn_bytes = rest.len();
                return Ok(());
            };
            if !record.checksum_ok() {
                return Err(damaged("its checksum is wrong".to_owned()));
            }
            let name = std::str::from_utf8(record.name)
                .map_err(|_| damaged("its path is not UTF-8".to_owned()))?;
            match record.kind {
                INSERT => {
                    let info = FileInfo::decode(record.info).map_err(|error| {
                        damaged(format!("its entry is no valid message: {error}"))
                    })?;
                    self.entries.insert(name.to_owned(), info);
                }
                REMOVE => {
                    if self.entries.remove(name).is_none() {
                        return Err(damaged(format!("it removes {name:?}, which has no entry")));
                    }
                }
                other => return Err(damaged(format!("its type {other} is unknown"))),
            }
            offset += rest.len() - record.rest.len();
            rest = record.rest;
            index += 1;
        }
        Ok(())
    }
}

struct Record<'a> {
    checksum: u32,
    kind: u8,
    name: &'a [u8],
    info: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` when fewer bytes are left than the record claims: a torn tail.
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let name_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let info_len = usize::from(u16::from_be_bytes([header[6], header[7]]));
        let (name, body) = body.split_at_checked(name_len)?;
        let (info, rest) = body.split_at_checked(info_len)?;
        Some(Self {
            checksum: u32::from_be_bytes([header[0], header[1], header[2], header[3]]),
            kind: header[8],
            name,
            info,
            rest,
        })
    }

    fn checksum_ok(&self) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.name);
        hasher.update(self.info);
        hasher.finalize() == self.checksum
    }
}

/// Whether a tail that looks torn has whole records behind its beginning. No checksum covers the length of a record: when
/// it is damaged, TiKV takes all that follows for one torn record, and silently forgets the keys of those files.
fn hides_records(tail: &[u8]) -> bool {
    (1..tail.len()).any(|at| {
        Record::split(&tail[at..]).is_some_and(|record| {
            matches!(record.kind, INSERT | REMOVE)
                && (1..=LONGEST_PATH).contains(&record.name.len())
                && record.checksum_ok()
        })
    })
}

fn snapshot(bytes: &[u8]) -> Result<BTreeMap<String, FileInfo>, FileDictError> {
    Ok(FileDictionary::decode(bytes)
        .map_err(|error| FileDictError::Snapshot(error.to_string()))?
        .files)
}
