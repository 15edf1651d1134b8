//! Versions of TiKV, as PD and image tags write them: `8.5.4`, `v9.0.0-beta.2`, `v8.5.4-alpha-12-gabcdef`.

use std::cmp::Ordering;
use std::fmt;

/// A version. One with a suffix comes before the same without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    number: [u32; 3],
    suffix: String,
}

impl Version {
    /// `None` for what is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let (number, suffix) = text.split_once('-').unwrap_or((text, ""));
        let number: Result<Vec<u32>, _> = number.split('.').map(str::parse).collect();
        Some(Self {
            number: number.ok()?.try_into().ok()?,
            suffix: suffix.to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.number;
        let dash = if self.suffix.is_empty() { "" } else { "-" };
        write!(f, "{major}.{minor}.{patch}{dash}{}", self.suffix)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let released = |version: &Self| version.suffix.is_empty();
        let parts = |version: &Self| -> Vec<(bool, u32, String)> {
            let parts = version.suffix.split(['.', '-']);
            parts
                .map(|part| match part.parse() {
                    Ok(number) => (false, number, String::new()),
                    Err(_) => (true, 0, part.to_owned()),
                })
                .collect()
        };
        self.number
            .cmp(&other.number)
            .then_with(|| released(self).cmp(&released(other)))
            .then_with(|| parts(self).cmp(&parts(other)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_in_the_order_of_their_releases() {
        let order = [
            "v6.5.12",
            "8.0.0",
            "8.5.4-alpha-12-gabcdef",
            "v8.5.4",
            "8.5.10",
            "9.0.0-alpha",
            "9.0.0-beta.1",
            "9.0.0-beta.2",
            "9.0.0",
        ];
        let parsed: Vec<_> = order.map(|text| Version::parse(text).unwrap()).into();
        assert!(parsed.is_sorted(), "{parsed:?}");
        assert_eq!(parsed[0].to_string(), "6.5.12");
        assert_eq!(parsed[2].to_string(), "8.5.4-alpha-12-gabcdef");
    }

    #[test]
    fn a_tag_that_is_no_version_is_none() {
        for text in ["latest", "", "8.5", "v8.x.1", "8.5.1.2"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
