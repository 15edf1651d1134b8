//! What a certificate says of its owner beside the common name.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// More of a certificate's subject (RFC 5280, 4.1.2.6). TiKV and PD look at the common name alone, so nobody is admitted or refused for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// Two capital letters (ISO 3166-1): `DE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 2), regex(pattern = "^[A-Z]{2}$"))]
    pub country: Option<String>,
    /// State or province.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[^\\s\\pC]([^\\pC]*[^\\s\\pC])?$")
    )]
    pub province: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[^\\s\\pC]([^\\pC]*[^\\s\\pC])?$")
    )]
    pub locality: Option<String>,
    /// Organization: `Example Ltd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[^\\s\\pC]([^\\pC]*[^\\s\\pC])?$")
    )]
    pub organization: Option<String>,
    /// Part of the organization: `Storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = "^[^\\s\\pC]([^\\pC]*[^\\s\\pC])?$")
    )]
    pub organizational_unit: Option<String>,
}

impl Subject {
    /// Attributes that are asked for, by their short names (RFC 4514, 3), the widest first.
    pub fn attributes(&self) -> Vec<(&'static str, &str)> {
        [
            ("C", &self.country),
            ("ST", &self.province),
            ("L", &self.locality),
            ("O", &self.organization),
            ("OU", &self.organizational_unit),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect()
    }

    /// What is wrong with it; repeats what admission checks, because rules can be missing there.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in self.attributes() {
            let country = value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase());
            let text = (1..=64).contains(&value.chars().count())
                && value.trim() == value
                && !value.contains(char::is_control);
            if !(if name == "C" { country } else { text }) {
                return Err(format!("subject has {name} {value:?}"));
            }
        }
        Ok(())
    }
}

/// Says the same for the same subject alone.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.attributes().into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn what_is_no_subject_is_told_and_what_differs_reads_differently() {
        let of = |country: &str, organization: &str| Subject {
            country: Some(country.to_owned()),
            organization: Some(organization.to_owned()),
            ..Subject::default()
        };
        assert_eq!(Subject::default().to_string(), "");
        assert_eq!(of("DE", "Example").to_string(), r#"C="DE", O="Example""#);
        assert_ne!(
            of("DE", r#"a", OU="b"#).to_string(),
            Subject {
                organizational_unit: Some("b".to_owned()),
                ..of("DE", "a")
            }
            .to_string()
        );
        for good in [
            of("DE", "Example Ltd"),
            of("FR", "Société"),
            Subject::default(),
        ] {
            assert_eq!(good.check(), Ok(()));
        }
        let long = "x".repeat(65);
        for wrong in [
            of("de", "x"),
            of("DEU", "x"),
            of("DE", ""),
            of("DE", " x"),
            of("DE", "a\nb"),
            of("DE", &long),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
