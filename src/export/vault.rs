//! The KV engine, version 2, of HashiCorp Vault or OpenBao. Content is written by its version (`cas`), so nothing that somebody wrote meanwhile is
//! lost; the mark is in the custom metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Content, ExportClass, ExportError, Found, MARK, Seen, Target};
use crate::kms::rest::{Answer, Failure, excerpt};
use crate::kms::vault::VaultClient;

const WAY: &str = "Check that Vault is unsealed and not throttling, and the way from the operator to it: network policy, DNS, proxy. It is tried again by itself.";
const ALLOW: &str = "Let the policy have read, create and update on MOUNT/data/PATH and on MOUNT/metadata/PATH, and delete on the latter for deletionPolicy Delete; check the role, its bound service accounts or secret ID, and the audience.";
const CORRECT: &str = "Correct address, CA, namespace, mount and path of the export; the engine must be of the kind kv, version 2.";

/// A path in an engine.
pub struct KvEngine {
    name: String,
    client: Arc<VaultClient>,
    mount: String,
    path: String,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// What an engine tells of a path.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "custom_metadata")]
    custom: Option<BTreeMap<String, String>>,
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<u64, Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

/// What is in a path. Kept as the text that it came as: it holds a key.
#[derive(Deserialize)]
struct Held<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What is mounted.
#[derive(Deserialize)]
struct Mount {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<String>,
}

impl KvEngine {
    /// Nothing is asked yet. `name` is for people.
    pub fn new(name: impl Into<String>, client: Arc<VaultClient>, mount: &str, path: &str) -> Self {
        Self {
            name: name.into(),
            client,
            mount: mount.trim_matches('/').to_owned(),
            path: path.trim_matches('/').to_owned(),
        }
    }

    /// One question about the path.
    async fn ask(
        &self,
        method: Method,
        what: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, ExportError> {
        let path = format!("{}/{what}/{}", self.mount, self.path);
        self.check(&path)?;
        let answer = self.client.ask(method, &path, body).await;
        answer.map_err(|failure| self.broken(&failure))
    }

    /// The path becomes part of a URL: nothing else must get into it.
    fn check(&self, path: &str) -> Result<(), ExportError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let dots = |part: &str| matches!(part, "" | "." | "..");
        if path.bytes().all(plain) && !path.split('/').any(dots) {
            return Ok(());
        }
        let message = "mount and path have letters, digits, '-', '_', '.' and '/' only";
        Err(self.error(ExportClass::Malformed, message, CORRECT))
    }

    async fn found(&self, wanted: Option<&Content>, mark: &str) -> Result<Found, ExportError> {
        self.client.keep_token().await;
        let answer = self.ask(Method::GET, "metadata", None).await?;
        if answer.status == 404 {
            self.versioned().await?;
            return Ok(Found::Absent);
        }
        let Data { data } = self.read::<Data<Metadata>>(&answer)?;
        let beside = data.custom.unwrap_or_default();
        let whose = beside.get(MARK).cloned();
        if let Some(whose) = whose.as_ref().filter(|whose| *whose != mark) {
            return Ok(Found::Foreign(whose.clone()));
        }
        let version = data.versions.get(&data.current_version);
        // Where a version has an end of its own, that is in the future until then.
        let over = |version: &Version| {
            let end: Option<jiff::Timestamp> = version.deletion_time.parse().ok();
            version.destroyed || end.is_some_and(|end| end <= jiff::Timestamp::now())
        };
        let mut seen = Seen {
            same: false,
            deleted: version.is_some_and(over),
            version: Some(data.current_version),
            beside: beside.into_iter().filter(|(key, _)| key != MARK).collect(),
        };
        if let Some(wanted) = wanted.filter(|_| !seen.deleted && data.current_version > 0) {
            seen.same = self.holds(wanted).await?;
        }
        Ok(match whose {
            Some(_) => Found::Ours(seen),
            None => Found::Unmarked(seen),
        })
    }

    async fn holds(&self, wanted: &Content) -> Result<bool, ExportError> {
        let answer = self.ask(Method::GET, "data", None).await?;
        // Deleted meanwhile.
        if answer.status == 404 {
            return Ok(false);
        }
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        let held = serde_json::from_slice::<Data<Held<'_>>>(&answer.body);
        let held = held.map_err(|error| self.unreadable(&error))?;
        let raw = held.data.data.map(|raw| raw.get().as_bytes());
        Ok(raw.is_some_and(|raw| wanted.is(raw)))
    }

    /// An engine of version 1 takes every path, and would keep what is sent in another form.
    async fn versioned(&self) -> Result<(), ExportError> {
        let path = format!("sys/internal/ui/mounts/{}", self.mount);
        let answer = self.client.ask(Method::GET, &path, None).await;
        let answer = answer.map_err(|failure| self.broken(&failure))?;
        let Data { data } = self.read::<Data<Mount>>(&answer)?;
        let version = data.options.as_ref().and_then(|all| all.get("version"));
        if data.kind == "kv" && version.is_some_and(|version| version == "2") {
            return Ok(());
        }
        let version = version.map(|version| format!(", version {version}"));
        let message = format!(
            "the engine at {} is of the kind {}{}",
            self.mount,
            data.kind,
            version.unwrap_or_default()
        );
        Err(self.error(ExportClass::Malformed, message, CORRECT))
    }

    async fn put(&self, content: &Content, mark: &str, found: &Found) -> Result<(), ExportError> {
        let version = match found {
            Found::Ours(seen) | Found::Unmarked(seen) => seen.version.unwrap_or_default(),
            Found::Absent | Found::Foreign(_) => 0,
        };
        let before = format!(r#"{{"options":{{"cas":{version}}},"data":"#);
        let body = content.json((&before, "}"));
        let answer = self.ask(Method::POST, "data", Some(&body)).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        if matches!(found, Found::Ours(_)) {
            return Ok(());
        }
        self.put_mark(mark, found).await
    }

    async fn put_mark(&self, mark: &str, found: &Found) -> Result<(), ExportError> {
        let mut all: BTreeMap<&str, &str> = [(MARK, mark)].into();
        if let Found::Ours(seen) | Found::Unmarked(seen) = found {
            let beside = seen.beside.iter();
            all.extend(beside.map(|(key, value)| (key.as_str(), value.as_str())));
        }
        let body = json!({"custom_metadata": all}).to_string();
        let answer = self.ask(Method::POST, "metadata", Some(body.as_bytes()));
        self.done(&answer.await?)
    }

    async fn remove(&self) -> Result<(), ExportError> {
        let answer = self.ask(Method::DELETE, "metadata", None).await?;
        self.done(&answer)
    }

    fn done(&self, answer: &Answer) -> Result<(), ExportError> {
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err(self.refused(answer)),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, ExportError> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> ExportError {
        let place = format!("line {} column {}", error.line(), error.column());
        let message = format!("its answer is not what a KV engine says ({place})");
        self.error(ExportClass::Malformed, message, CORRECT)
    }

    /// Its statuses are few, so its words count.
    fn refused(&self, answer: &Answer) -> ExportError {
        let words = serde_json::from_slice::<Refusal>(&answer.body)
            .map(|refusal| excerpt(&refusal.errors.join("; ")))
            .ok()
            .filter(|words| !words.is_empty());
        let raced = words
            .as_ref()
            .is_some_and(|words| words.contains("check-and-set"));
        let (class, remedy) = match answer.status {
            400 if raced => (
                ExportClass::Unavailable,
                "Somebody wrote there at the same moment. It is looked at again by itself.",
            ),
            408 | 412 | 429 | 472 | 473 | 500.. => (ExportClass::Unavailable, WAY),
            401 | 403 => (ExportClass::Denied, ALLOW),
            404 => (ExportClass::NotFound, CORRECT),
            _ => (ExportClass::Malformed, CORRECT),
        };
        let words = words
            .unwrap_or_else(|| format!("HTTP status {} without an error of Vault", answer.status));
        self.error(class, words, remedy)
    }

    fn broken(&self, failure: &Failure) -> ExportError {
        let class = ExportClass::from(failure.class);
        let remedy = match class {
            ExportClass::Unavailable => WAY,
            ExportClass::Denied => ALLOW,
            _ => CORRECT,
        };
        self.error(class, failure.message.clone(), remedy)
    }

    fn error(&self, class: ExportClass, message: impl Into<String>, remedy: &str) -> ExportError {
        ExportError {
            target: self.name.clone(),
            class,
            message: message.into(),
            remedy: remedy.to_owned(),
        }
    }
}

impl Target for KvEngine {
    fn look<'a>(
        &'a self,
        wanted: Option<&'a Content>,
        mark: &'a str,
    ) -> BoxFuture<'a, Result<Found, ExportError>> {
        self.found(wanted, mark).boxed()
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        mark: &'a str,
        found: &'a Found,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        self.put(content, mark, found).boxed()
    }

    fn mark<'a>(
        &'a self,
        mark: &'a str,
        found: &'a Found,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        self.put_mark(mark, found).boxed()
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), ExportError>> {
        self.remove().boxed()
    }

    fn name(&self) -> &str {
        &self.name
    }
}
