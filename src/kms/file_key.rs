//! A master key in a file: 64 hexadecimal digits and one newline (facts, encryption at rest §1.2).

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::Class;
use crate::crypto::secret::SecretBytes;

/// Size of the file, to the byte.
const SIZE: usize = 65;

/// Why a key file can not be used. TiKV does not start with it either.
#[derive(Debug, thiserror::Error)]
pub enum FileKeyError {
    /// Not there, or not readable.
    #[error("the master key file {} can not be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: std::io::Error,
    },
    /// Not 65 bytes.
    #[error("the master key file {} has {} bytes; it must have exactly {SIZE}: 64 hexadecimal digits and one newline", path.display(), length(*found))]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes found; reading stops after 66.
        found: usize,
    },
    /// The last byte is something else.
    #[error("the master key file {} does not end with a newline; it must be 64 hexadecimal digits and one newline", path.display())]
    Newline {
        /// The file.
        path: PathBuf,
    },
    /// A byte that is no digit.
    #[error("the master key file {} has something that is no hexadecimal digit at byte {at}", path.display())]
    Digit {
        /// The file.
        path: PathBuf,
        /// Position, from 0.
        at: usize,
    },
}

impl FileKeyError {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Unreadable { error, .. } => match error.kind() {
                std::io::ErrorKind::NotFound => Class::NotFound,
                std::io::ErrorKind::PermissionDenied => Class::Denied,
                _ => Class::Unavailable,
            },
            Self::Size { .. } | Self::Newline { .. } | Self::Digit { .. } => Class::Malformed,
        }
    }
}

/// Reads the key.
pub(super) fn read(path: &Path) -> Result<SecretBytes, FileKeyError> {
    let unreadable = |error| FileKeyError::Unreadable {
        path: path.to_owned(),
        error,
    };
    // One byte more than allowed is enough to see that there are too many; allocated once, so wiped as a whole.
    let mut text = Zeroizing::new(Vec::with_capacity(SIZE + 1));
    std::fs::File::open(path)
        .and_then(|file| file.take(SIZE as u64 + 1).read_to_end(&mut text))
        .map_err(unreadable)?;
    parse(path, &text)
}

/// Whether these bytes, in a file at `path`, are a master key.
pub fn check_file_key(path: &Path, text: &[u8]) -> Result<(), FileKeyError> {
    parse(path, text).map(drop)
}

fn parse(path: &Path, text: &[u8]) -> Result<SecretBytes, FileKeyError> {
    let path = || path.to_owned();
    let text: &[u8; SIZE] = text.try_into().map_err(|_| FileKeyError::Size {
        path: path(),
        found: text.len(),
    })?;
    let [digits @ .., last] = text;
    if *last != b'\n' {
        return Err(FileKeyError::Newline { path: path() });
    }
    let mut key = Zeroizing::new(Vec::with_capacity(SIZE / 2));
    for (pair, two) in digits.as_chunks::<2>().0.iter().enumerate() {
        let mut byte = 0;
        for (place, digit) in two.iter().enumerate() {
            let value = char::from(*digit).to_digit(16).ok_or(FileKeyError::Digit {
                path: path(),
                at: 2 * pair + place,
            })?;
            byte = byte << 4 | u8::try_from(value).unwrap_or_default();
        }
        key.push(byte);
    }
    Ok(SecretBytes::new(std::mem::take(&mut key)))
}

fn length(found: usize) -> String {
    if found > SIZE {
        format!("more than {SIZE}")
    } else {
        found.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{FileKeyError, parse};

    const DIGITS: &str = "3b5896b5be691006e0f71c3040a29495ddcad20b14aff61806940ebd780d3C62";

    fn parsed(text: &str) -> Result<Vec<u8>, FileKeyError> {
        parse(Path::new("/k"), text.as_bytes()).map(|key| key.expose().to_vec())
    }

    #[test]
    fn takes_sixty_four_digits_of_either_case_and_a_newline() {
        let key = parsed(&format!("{DIGITS}\n")).unwrap();
        assert_eq!((key.len(), key[0], key[31]), (32, 0x3b, 0x62));
    }

    #[test]
    fn refuses_what_tikv_refuses_and_says_why() {
        let refused = |text: &str| parsed(text).unwrap_err().to_string();
        assert_eq!(
            refused(DIGITS),
            "the master key file /k has 64 bytes; it must have exactly 65: 64 hexadecimal digits and one newline"
        );
        assert!(refused(&format!("{DIGITS}\r\n")).contains("more than 65 bytes"));
        assert!(refused(&format!("{DIGITS} ")).contains("does not end with a newline"));
        assert!(refused(&format!("{}g\n", &DIGITS[..63])).ends_with("at byte 63"));
    }
}
