//! `tikv-security reencrypt`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::{Output, StoreArgs, exit, human, print_document, with_store};
use crate::agent::error::StoreError;
use crate::agent::observer::Observer;
use crate::agent::plan::Target;
use crate::agent::store::Store;
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
        value_name = "aes128-ctr|aes192-ctr|aes256-ctr|sm4-ctr|plaintext"
    )]
    to: Method,
    /// Say what would be rewritten and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Prove new files by head and tail only, instead of reading everything back
    #[arg(long)]
    verify_structure_only: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    data_dir: String,
    method: Method,
    dry_run: bool,
    resumed: bool,
    files: u64,
    bytes: u64,
}

/// Runs `reencrypt`.
pub fn main(args: &ReencryptArgs) -> ExitCode {
    with_store(&args.store, |store| {
        let target = Target {
            method: args.to,
            not_before: u64::MAX,
            key_id: None,
            // Naming plaintext is the explicit intent.
            decrypt: !args.to.encrypts(),
        };
        let document = if args.dry_run {
            dry_run(store, &target)?
        } else {
            run(args, store, &target)?
        };
        if args.store.output == Output::Table {
            let done = if document.dry_run {
                "would rewrite"
            } else {
                "rewrote"
            };
            println!(
                "{done} {} files, {}, as {}",
                document.files,
                human(document.bytes),
                document.method
            );
        } else {
            print_document(args.store.output, &document)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn dry_run(store: &Store<'_>, target: &Target) -> Result<Document, StoreError> {
    let work = store.plan(target)?;
    Ok(Document {
        data_dir: store.seen_as().to_owned(),
        method: target.method,
        dry_run: true,
        resumed: false,
        files: work
            .groups
            .iter()
            .map(|group| group.names.len() as u64)
            .sum(),
        bytes: work.bytes(),
    })
}

fn run(args: &ReencryptArgs, store: &Store<'_>, target: &Target) -> Result<Document, StoreError> {
    let lock = store.lock()?;
    let verification = if args.verify_structure_only {
        Verification::Structure
    } else {
        Verification::Full
    };
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let bar = Bar::new(args.store.output);
    watch_signals(&bar);
    let outcome = store.reencrypt(target, verification, now, &bar, lock.as_ref());
    bar.0.finish_and_clear();
    let outcome = outcome?;
    Ok(Document {
        data_dir: store.seen_as().to_owned(),
        method: target.method,
        dry_run: false,
        resumed: outcome.resumed,
        files: outcome.files,
        bytes: outcome.bytes,
    })
}

/// A progress bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(output: Output) -> Self {
        let bar = ProgressBar::new(0);
        if output != Output::Table {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Observer for Bar {
    fn begin(&self, _files: u64, bytes: u64) {
        self.0.set_length(bytes);
        self.0.set_position(0);
    }

    fn bytes(&self, count: u64) {
        self.0.inc(count);
    }

    fn file(&self, path: &str) {
        self.0.set_message(path.to_owned());
    }

    fn finishing(&self) {
        self.0.set_message("removing old keys");
    }

    fn stop(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

/// Set by Ctrl-C and SIGTERM: the run stops at the next safe point.
static STOP: AtomicBool = AtomicBool::new(false);

fn watch_signals(bar: &Bar) {
    let bar = bar.0.clone();
    // Without the watcher a signal ends the process at once, which the next run repairs as well.
    let _ = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                if let (Ok(mut int), Ok(mut term)) = (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                ) {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                    STOP.store(true, Ordering::Relaxed);
                    bar.println("stopping after this batch; run the same command again to go on");
                }
            });
        });
}
