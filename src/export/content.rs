//! What a copy holds.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::kms::rest::secret;

/// The keys, as in the Secret of the set.
const KEYS: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// Certificates of the CA, certificate and key, in PEM.
pub struct Content([Zeroizing<String>; 3]);

/// A text that is wiped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text(#[serde(deserialize_with = "secret")] Zeroizing<String>);

impl Content {
    /// `None` for what is no text.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Option<Self> {
        let [Some(ca), Some(certificate), Some(key)] = [ca, certificate, key].map(|bytes| {
            let text = std::str::from_utf8(bytes).ok();
            text.map(|text| Zeroizing::new(text.to_owned()))
        }) else {
            return None;
        };
        Some(Self([ca, certificate, key]))
    }

    /// As an object in JSON, with `around` before and after it.
    pub(super) fn json(&self, around: (&str, &str)) -> Zeroizing<Vec<u8>> {
        let pairs: BTreeMap<&str, &str> = KEYS
            .into_iter()
            .zip(self.0.iter().map(|text| text.as_str()))
            .collect();
        let long: usize = self.0.iter().map(|text| text.len()).sum();
        // Room for every line's end to be escaped: what grows leaves copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(2 * long + 1024));
        json.extend(around.0.as_bytes());
        // Texts can not fail to be written into memory.
        let _ = serde_json::to_writer(&mut *json, &pairs);
        json.extend(around.1.as_bytes());
        json
    }

    /// Whether an object in JSON is this and nothing else.
    pub(super) fn is(&self, json: &[u8]) -> bool {
        let Ok(found) = serde_json::from_slice::<BTreeMap<String, Text>>(json) else {
            return false;
        };
        let has = |(key, text): (&str, &Zeroizing<String>)| {
            found.get(key).is_some_and(|Text(other)| **other == **text)
        };
        found.len() == KEYS.len() && KEYS.into_iter().zip(&self.0).all(has)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    #[test]
    fn a_copy_is_known_by_every_byte_and_never_shown() {
        let content = Content::new(b"ca\n", b"certificate\n", b"k\"ey\n").unwrap();
        let json = content.json(("", ""));
        assert!(content.is(&json), "{}", String::from_utf8_lossy(&json));
        let other = Content::new(b"ca\n", b"certificate\n", b"other\n").unwrap();
        assert!(!other.is(&json));
        let more = br#"{"ca.crt":"ca\n","tls.crt":"certificate\n","tls.key":"k\"ey\n","more":""}"#;
        assert!(!content.is(more));
        assert!(!content.is(b"[]"));
        assert!(!content.is(br#"{"ca.crt":1}"#));
        assert_eq!(format!("{content:?}"), "Content(..)");
        let wrapped = content.json((r#"{"data":"#, "}"));
        assert!(wrapped.starts_with(br#"{"data":{"ca.crt":"ca\n""#));
        assert!(wrapped.ends_with(b"}}"));
        assert!(Content::new(b"\xff", b"", b"").is_none());
    }
}
