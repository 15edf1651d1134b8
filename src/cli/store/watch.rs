//! `tikv-security watch`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{self, Output, human, span, table};
use super::usage::{Journal, Usage, usage};
use super::{StoreArgs, exit, on_store, signals, tell};
use crate::agent::error::StoreError;
use crate::agent::limits::Limits;
use crate::agent::store::Store;
use crate::api::report::Finding;
use crate::api::v1alpha1::GoDuration;

/// Arguments of `watch`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct WatchArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: GoDuration,
    /// End after so many looks; without it at Ctrl-C
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// One look, a JSON line or a YAML document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Look {
    at: Timestamp,
    data_dir: String,
    files: u64,
    bytes: u64,
    encrypted_bytes: u64,
    plaintext_bytes: u64,
    usage: Vec<Usage>,
    journal: Journal,
    findings: Vec<Finding>,
}

/// Runs `watch`.
pub fn main(args: &WatchArgs) -> ExitCode {
    tell(&args.store, || {
        let config = args.store.config()?;
        // A KMS is asked when key.dict changes, not at every look.
        let keys = args.store.keys(config.as_deref())?.remembering();
        signals::watch(|| {});
        on_store(
            &args.store,
            config.as_deref(),
            &keys,
            Limits::default(),
            |store| args.run(store),
        )
    })
}

impl WatchArgs {
    fn run(&self, store: &Store<'_>) -> Result<u8, StoreError> {
        let mut first: Option<Look> = None;
        let mut last: Option<Look> = None;
        let mut looks = 0;
        loop {
            let look = Look::take(store)?;
            self.show(&look, first.as_ref(), last.as_ref())?;
            looks += 1;
            if self.count == Some(looks) || !self.wait() {
                return Ok(exit::of_findings(&look.findings));
            }
            first.get_or_insert_with(|| look.clone());
            last = Some(look);
        }
    }

    /// False when a signal came meanwhile.
    fn wait(&self) -> bool {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = Duration::try_from(self.every.get()).unwrap_or(STEP);
        while signals::came().is_none() && !left.is_zero() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
        signals::came().is_none()
    }

    fn show(
        &self,
        look: &Look,
        first: Option<&Look>,
        last: Option<&Look>,
    ) -> Result<(), StoreError> {
        let text = match self.store.output {
            Output::Json => {
                serde_json::to_string(look)
                    .map_err(|error| StoreError::Config(error.to_string()))?
                    + "\n"
            }
            Output::Yaml => {
                let text = serde_yaml_ng::to_string(look)
                    .map_err(|error| StoreError::Config(error.to_string()))?;
                format!("---\n{text}")
            }
            Output::Table if std::io::stdout().is_terminal() => {
                format!("\x1b[H\x1b[2J{}", look.table(first, last))
            }
            Output::Table => look.table(first, last) + "\n",
        };
        let mut stdout = std::io::stdout();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        written.map_err(StoreError::io("writing", "/dev/stdout"))
    }
}

impl Look {
    fn take(store: &Store<'_>) -> Result<Self, StoreError> {
        let measured = store.measure()?;
        let at = Timestamp::now();
        let mut findings = measured.findings.clone();
        let journal = Journal::of(store, &measured, &mut findings);
        let coverage = &measured.coverage;
        Ok(Self {
            at,
            data_dir: store.seen_as().to_owned(),
            files: coverage.files,
            bytes: coverage.bytes,
            encrypted_bytes: coverage.encrypted_bytes,
            plaintext_bytes: coverage.plaintext_bytes,
            usage: usage(&measured, at),
            journal,
            findings,
        })
    }

    fn bytes_under(&self, key: Option<&str>) -> u64 {
        let row = self.usage.iter().find(|row| row.key_id.as_deref() == key);
        row.map_or(0, |row| row.bytes)
    }

    fn table(&self, first: Option<&Self>, last: Option<&Self>) -> String {
        let seconds = |then: &Self| (self.at.as_second() - then.at.as_second()).unsigned_abs();
        let since = first.map_or(0, seconds);
        let mut text = format!(
            "{}  {}  {} files, {}: {} encrypted, {} in the clear\n\n",
            self.at.strftime("%H:%M:%S"),
            self.data_dir,
            self.files,
            human(self.bytes),
            human(self.encrypted_bytes),
            human(self.plaintext_bytes)
        );
        let mut keys: Vec<Option<&str>> =
            self.usage.iter().map(|row| row.key_id.as_deref()).collect();
        // A key that went is worth a line: it is what a re-encryption is for.
        let gone = first
            .into_iter()
            .flat_map(|first| &first.usage)
            .map(|row| row.key_id.as_deref());
        for key in gone {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let rows: Vec<Vec<String>> = keys
            .into_iter()
            .map(|key| {
                let row = self.usage.iter().find(|row| row.key_id.as_deref() == key);
                let now = self.bytes_under(key);
                let change = |then: Option<&Self>| {
                    then.map_or_else(String::new, |then| signed(now, then.bytes_under(key)))
                };
                let note = match row {
                    None => "gone",
                    Some(row) if row.current => "current",
                    Some(_) => "",
                };
                vec![
                    row.map_or("-", |row| row.method.name()).to_owned(),
                    key.unwrap_or("in the clear").to_owned(),
                    row.map_or(0, |row| row.files).to_string(),
                    human(now),
                    change(last),
                    change(first),
                    note.to_owned(),
                ]
            })
            .collect();
        let whole = format!("IN {}", span(since).to_uppercase());
        let head = ["METHOD", "DATA KEY", "FILES", "BYTES", "CHANGE", &whole, ""];
        text.push_str(&table(&head, &rows, &[2, 3, 4, 5]));
        if !self.findings.is_empty() {
            text.push('\n');
            text.push_str(&output::findings(&self.findings));
        }
        text
    }
}

fn signed(now: u64, then: u64) -> String {
    match now.cmp(&then) {
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", human(now - then)),
        std::cmp::Ordering::Less => format!("-{}", human(then - now)),
    }
}
