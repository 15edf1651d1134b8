//! Command line flags and the TOML file; flags beat the file, as in TiKV and PD.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Value;

use crate::Result;
use crate::net::tls::Files;

/// What the program was started with.
pub struct Options {
    flags: BTreeMap<String, String>,
    file: Value,
    /// The text of the file.
    pub source: String,
}

impl Options {
    /// Of a file's text alone, without flags.
    pub fn parse(source: &str) -> Result<Self> {
        let file =
            toml::from_str(source).map_err(|e| format!("the configuration is not TOML: {e}"))?;
        Ok(Self {
            flags: BTreeMap::new(),
            file,
            source: source.to_owned(),
        })
    }

    /// Reads `--name=value` and `--name value`, and the file of `--config`.
    pub fn read() -> Result<Self> {
        let mut flags = BTreeMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (name.to_owned(), words.next().unwrap_or_default()),
            };
            flags.insert(name, value);
        }
        let source = match flags.get("config") {
            Some(path) => std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?,
            None => String::new(),
        };
        Ok(Self {
            flags,
            ..Self::parse(&source)?
        })
    }

    /// A flag, else the value at a dotted path of the file.
    pub fn get(&self, flag: &str, path: &str) -> Option<String> {
        let flag = self
            .flags
            .get(flag)
            .cloned()
            .filter(|value| !value.is_empty());
        flag.or_else(|| self.text(path))
    }

    /// A text in the file.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = self.at(path)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A truth value in the file.
    pub fn flag(&self, path: &str) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    /// A number in the file.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.at(path)?
            .as_integer()
            .and_then(|number| u64::try_from(number).ok())
    }

    /// An amount such as "4MB" in the file.
    pub fn size(&self, path: &str) -> Option<u64> {
        let text = self.text(path)?;
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match text[digits.len()..].trim_end_matches(['i', 'B']) {
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            _ => 1,
        };
        digits
            .trim()
            .parse::<u64>()
            .ok()
            .map(|number| number * unit)
    }

    /// The file as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(&self.file).unwrap_or_default()
    }

    /// A list of texts in the file.
    pub fn list(&self, path: &str) -> Vec<String> {
        let list = self
            .at(path)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        list.iter()
            .filter_map(|entry| entry.as_str().map(str::to_owned))
            .collect()
    }

    /// The TLS files: all three or none.
    pub fn tls(&self, ca: &str) -> Result<Option<Files>> {
        let names = [ca, "cert-path", "key-path"];
        let found: Vec<_> = names
            .iter()
            .filter_map(|name| self.text(&format!("security.{name}")))
            .collect();
        match found.as_slice() {
            [] => Ok(None),
            [ca, cert, key] => Ok(Some(Files {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            })),
            _ => Err(format!(
                "security.{ca}, cert-path and key-path must all be set or none"
            )),
        }
    }

    fn at(&self, path: &str) -> Option<&Value> {
        path.split('.')
            .try_fold(&self.file, |value, key| value.get(key))
    }
}

/// A time such as "7d" or "1h30m".
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("invalid duration: {text}");
    let (mut total, mut rest) = (0.0, text.trim());
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "d" => 86400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}
