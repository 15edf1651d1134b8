//! `tikv-security reencrypt`.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::estimate::{self, Estimate};
use super::limits::LimitArgs;
use super::output::{self, Output, human, span};
use super::progress::Progress;
use super::{StoreArgs, exit, on_store, signals, tell};
use crate::agent::coverage::created_at;
use crate::agent::dictionaries::State;
use crate::agent::engine::Ended;
use crate::agent::error::StoreError;
use crate::agent::plan::Target;
use crate::agent::store::{Outcome, Store};
use crate::api::desired::Verification;
use crate::api::method::Method;

/// Arguments of `reencrypt`.
#[derive(Args, Debug)]
#[command(after_help = exit::HELP)]
pub struct ReencryptArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Method that all data gets, under a new data key; plaintext decrypts the store and removes its dictionaries
    #[arg(
        long,
        value_name = "aes128-ctr|aes192-ctr|aes256-ctr|sm4-ctr|plaintext",
        required_unless_present = "resume"
    )]
    to: Option<Method>,
    /// Only finish a run that is open; without an open run do nothing. Every other call does that first by itself
    #[arg(long, conflicts_with_all = ["to", "dry_run"])]
    resume: bool,
    /// Say what would be rewritten, where room is needed and about how long it takes; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before a store is decrypted; it is asked on a terminal only
    #[arg(long, short)]
    yes: bool,
    /// Prove new files by head and tail only, instead of reading everything back
    #[arg(long)]
    verify_structure_only: bool,
    /// Keep files under data keys made at this moment or later, as in 2026-11-23T08:00:00Z, instead of rewriting everything
    #[arg(long, value_name = "TIME")]
    not_before: Option<Timestamp>,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    data_dir: String,
    method: Option<Method>,
    dry_run: bool,
    /// A run that was open is finished.
    resumed: bool,
    /// False when the run was stopped; the same command goes on.
    finished: bool,
    files: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

/// Runs `reencrypt`.
pub fn main(args: &ReencryptArgs) -> ExitCode {
    tell(&args.store, || {
        let config = args.store.config()?;
        let keys = args.store.keys(config.as_deref())?;
        let limits = args.limits.limits();
        on_store(&args.store, config.as_deref(), &keys, limits, |store| {
            let (document, code) = match args.target() {
                Some(target) if args.dry_run => (args.planned(store, &target)?, 0),
                target => args.run(store, target.as_ref())?,
            };
            match args.store.output {
                Output::Table => print!("{}", document.table()),
                form => output::document(form, &document)?,
            }
            Ok(code)
        })
    })
}

impl ReencryptArgs {
    fn target(&self) -> Option<Target> {
        let method = self.to?;
        Some(Target {
            method,
            not_before: self.not_before.map_or(u64::MAX, |time| {
                u64::try_from(time.as_second()).unwrap_or(0)
            }),
            key_id: None,
            // Naming plaintext is the explicit intent.
            decrypt: !method.encrypts(),
        })
    }

    fn verification(&self) -> Verification {
        if self.verify_structure_only {
            Verification::Structure
        } else {
            Verification::Full
        }
    }

    fn planned(&self, store: &Store<'_>, target: &Target) -> Result<Document, StoreError> {
        let measured = store.measure()?;
        let work = store.plan(target)?;
        let estimate = estimate::of(
            store,
            &measured.state,
            &work,
            target.method,
            self.verification(),
        )?;
        Ok(Document {
            data_dir: store.seen_as().to_owned(),
            method: self.to,
            dry_run: true,
            resumed: false,
            finished: false,
            files: work.files(),
            bytes: work.bytes(),
            seconds: None,
            estimate: Some(estimate),
        })
    }

    fn run(
        &self,
        store: &Store<'_>,
        target: Option<&Target>,
    ) -> Result<(Document, u8), StoreError> {
        let lock = store.lock()?;
        if let Some(target) = target.filter(|_| std::io::stderr().is_terminal())
            && !store.journal_open()?
        {
            eprint!("{}", self.planned(store, target)?.table());
            if target.decrypt && !self.yes && !confirmed(store)? {
                return Err(StoreError::Config(
                    "not confirmed; nothing was changed".to_owned(),
                ));
            }
        }
        let progress = Progress::start();
        let bar = progress.bar();
        signals::watch(move || {
            let words = "stopping at the next safe place; once more to stop at once";
            match bar {
                Some(bar) => bar.println(words),
                None => eprintln!("{words}"),
            }
        });
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let verification = self.verification();
        let result = match target {
            Some(target) => store.reencrypt(target, verification, now, &progress, lock.as_ref()),
            None => store
                .go_on(verification, now, &progress)
                .map(|ended| Outcome {
                    resumed: ended.is_some(),
                    time_is_over: ended == Some(Ended::TimeIsOver),
                    ..Outcome::default()
                }),
        };
        progress.end();
        let (outcome, code) = match result {
            Ok(outcome) if outcome.time_is_over => {
                self.put_down(store, &progress)?;
                (outcome, exit::UNFINISHED)
            }
            Ok(outcome) => (outcome, 0),
            Err(StoreError::Interrupted) => {
                stopped(&progress);
                let code = signals::came().unwrap_or(exit::UNFINISHED);
                (Outcome::default(), code)
            }
            Err(error) => return Err(error),
        };
        let finished = code == 0;
        Ok((
            Document {
                data_dir: store.seen_as().to_owned(),
                method: self.to,
                dry_run: false,
                resumed: outcome.resumed,
                finished,
                files: if finished {
                    outcome.files
                } else {
                    progress.files().0
                },
                bytes: if finished {
                    outcome.bytes
                } else {
                    progress.bytes_done().0
                },
                seconds: Some(progress.elapsed().as_secs_f64()),
                estimate: None,
            },
            code,
        ))
    }
}

impl ReencryptArgs {
    /// The time is over: the store is sound, some of it is under the new key.
    fn put_down(&self, store: &Store<'_>, progress: &Progress) -> Result<(), StoreError> {
        done_so_far("the time is over", progress);
        let since = match store.dictionaries()? {
            State::Has(found) => found.keys.keys.get(&found.keys.current_key_id).cloned(),
            State::Never => None,
        };
        let since = since.and_then(|key| created_at(key.creation_time));
        let since = match since {
            Some(since) if self.not_before.is_none() && self.to.is_some() => {
                format!(" --not-before {since}")
            }
            _ => String::new(),
        };
        eprintln!("TiKV can start. To do the rest: {}{since}", same_command());
        Ok(())
    }
}

/// Decryption takes a protection away: a person at a terminal is asked.
fn confirmed(store: &Store<'_>) -> Result<bool, StoreError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(true);
    }
    eprint!("decrypt {} for good? Type yes: ", store.path().display());
    let mut answer = String::new();
    let read = std::io::stderr()
        .flush()
        .and_then(|()| stdin.lock().read_line(&mut answer));
    read.map_err(StoreError::io("reading the answer from", "/dev/stdin"))?;
    Ok(answer.trim() == "yes")
}

fn stopped(progress: &Progress) {
    done_so_far("stopped at a safe place", progress);
    eprintln!(
        "TiKV is held back until the rest is done. To go on: {}",
        same_command()
    );
}

fn done_so_far(why: &str, progress: &Progress) {
    let (files, total) = progress.files();
    eprintln!("{why}: {files} of {total} files are done");
}

/// The command line as a shell takes it.
fn same_command() -> String {
    let plain = |word: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        if !word.is_empty() && word.chars().all(fits) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    std::env::args()
        .map(|word| plain(&word))
        .collect::<Vec<_>>()
        .join(" ")
}

impl Document {
    fn table(&self) -> String {
        let size = human(self.bytes);
        let to = self
            .method
            .map(|method| format!(" as {method}"))
            .unwrap_or_default();
        let mut text = String::new();
        if self.resumed {
            text.push_str("finished the run that was open\n");
        }
        if let Some(estimate) = &self.estimate {
            text.push_str(&format!("to rewrite: {} files, {size},{to}\n", self.files));
            text.push_str(&estimate.table());
        } else if self.finished && self.files > 0 {
            let took = Duration::from_secs_f64(self.seconds.unwrap_or(0.0));
            let per_second = u128::from(self.bytes) * 1000 / took.as_millis().max(1);
            let took = match took.as_secs() {
                0 => format!("{} ms", took.as_millis()),
                seconds => span(seconds),
            };
            text.push_str(&format!(
                "rewrote {} files, {size},{to} in {took}, {}/s; the old data keys are gone from key.dict\n",
                self.files,
                human(u64::try_from(per_second).unwrap_or(u64::MAX))
            ));
        } else if self.finished && !self.resumed {
            text.push_str("nothing to do\n");
        }
        text
    }
}
