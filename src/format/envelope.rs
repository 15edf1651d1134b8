//! The container of both dictionaries: 16 bytes of header and a content under a CRC (facts, encryption at rest §2.1).

use prost::Message;

use super::pb::EncryptedContent;

/// Bytes of the header.
pub const HEADER_LEN: usize = 16;

/// Format version in the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One content, nothing behind it.
    V1,
    /// A content, then log records (`file.dict` only).
    V2,
}

/// Why a container can not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Fewer bytes than the header says.
    #[error("the file has {actual} bytes, its header asks for {expected}: it was cut")]
    Truncated {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes there.
        actual: u64,
    },
    /// More bytes than version 1 allows.
    #[error("{0} bytes follow the content of a version 1 file")]
    Trailing(u64),
    /// Not 1 or 2.
    #[error("format version {0} is unknown; known are 1 and 2")]
    Version(u8),
    /// The checksum is wrong.
    #[error(
        "the checksum of the content is {actual:08x}, the header says {expected:08x}: it is damaged"
    )]
    Checksum {
        /// In the header.
        expected: u32,
        /// Of the content.
        actual: u32,
    },
    /// The protobuf inside is damaged.
    #[error("the content is no valid message: {0}")]
    Message(String),
}

/// A container taken apart: its version, its content and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Version.
    pub version: Version,
    /// Content whose checksum was right.
    pub content: &'a [u8],
    /// Bytes behind the content; empty in version 1.
    pub rest: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart and checks them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(EnvelopeError::Truncated {
                expected: HEADER_LEN as u64,
                actual: bytes.len() as u64,
            });
        };
        let version = match header[0] {
            1 => Version::V1,
            2 => Version::V2,
            other => return Err(EnvelopeError::Version(other)),
        };
        let expected = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut length = [0; 8];
        length.copy_from_slice(&header[8..]);
        let length = u64::from_be_bytes(length);
        let Some((content, rest)) = usize::try_from(length)
            .ok()
            .and_then(|length| body.split_at_checked(length))
        else {
            return Err(EnvelopeError::Truncated {
                expected: length.saturating_add(HEADER_LEN as u64),
                actual: bytes.len() as u64,
            });
        };
        if version == Version::V1 && !rest.is_empty() {
            return Err(EnvelopeError::Trailing(rest.len() as u64));
        }
        let actual = crc32fast::hash(content);
        if actual != expected {
            return Err(EnvelopeError::Checksum { expected, actual });
        }
        Ok(Self {
            version,
            content,
            rest,
        })
    }
}

/// Puts `content` into a container.
pub fn seal(version: Version, mut content: Vec<u8>) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    header[0] = match version {
        Version::V1 => 1,
        Version::V2 => 2,
    };
    header[4..8].copy_from_slice(&crc32fast::hash(&content).to_be_bytes());
    header[8..].copy_from_slice(&(content.len() as u64).to_be_bytes());
    // In place: `file.dict` of a large store is large.
    content.splice(..0, header);
    content
}

/// Reads the message of a version 1 container.
pub fn parse_encrypted(bytes: &[u8]) -> Result<EncryptedContent, EnvelopeError> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.version != Version::V1 {
        return Err(EnvelopeError::Version(2));
    }
    EncryptedContent::decode(envelope.content)
        .map_err(|error| EnvelopeError::Message(error.to_string()))
}

/// Writes a message into a version 1 container.
pub fn seal_encrypted(message: &EncryptedContent) -> Vec<u8> {
    seal(Version::V1, message.encode_to_vec())
}
