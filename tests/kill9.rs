//! `kill -9` of the real binary on a real file system: at system calls that change files, and at random times. After each
//! kill the next run finishes, and what TiKV would read is what it was.
//!
//! A sample in CI, with its seed on the screen; `TIKV_SECURITY_KILL=all cargo test --test kill9 -- --nocapture` takes every
//! call, `TIKV_SECURITY_KILLS=500` that many random kills, `TIKV_SECURITY_TEST_SEED` the sample of an earlier run.
#![allow(clippy::unwrap_used)]

mod data_dir;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_dir::DataDir;

/// System calls that change what is on the disk, or make it durable.
const CALLS: [&str; 22] = [
    "openat",
    "creat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "fchmod",
    "fchown",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "io_uring_enter",
];
/// Calls that are tried in CI, for each journey.
const SAMPLE: usize = 16;
/// Random kills in CI.
const KILLS: u64 = 45;
/// Where each journey begins and what it wants.
const JOURNEYS: [(&str, &str); 4] = [
    ("method-changed", "aes256-ctr"),
    ("plaintext", "sm4-ctr"),
    ("aes256", "plaintext"),
    ("dict-v1", "aes128-ctr"),
];

/// xorshift64*.
struct Draw(u64);

impl Draw {
    fn from_environment(name: &str) -> Self {
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        let seed = std::env::var("TIKV_SECURITY_TEST_SEED")
            .map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("{name}: TIKV_SECURITY_TEST_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % most.max(1)
    }
}

/// A store before any run, and what must always be read from it.
struct Start {
    store: DataDir,
    contents: BTreeMap<String, String>,
    old_keys: BTreeSet<u64>,
    to: &'static str,
}

impl Start {
    fn new(name: &str, to: &'static str) -> Self {
        let store = DataDir::small(name);
        Self {
            contents: store.contents(),
            old_keys: store.dictionaries().1.keys.into_keys().collect(),
            store,
            to,
        }
    }

    /// The next run must finish what the kill left.
    fn assert_repaired(&self, store: &DataDir, context: &str) {
        if !store.at("panic_mark_file").exists() {
            // TiKV may start now: everything must be readable, whatever the run has done so far.
            self.assert_contents(store, context);
        }
        let next = store.run(&["reencrypt", "--to", self.to]);
        let said = String::from_utf8_lossy(&next.stderr);
        assert!(
            next.status.success(),
            "{context}: the next run fails: {said}"
        );
        self.assert_contents(store, context);
        let (entries, keys) = store.dictionaries();
        let kept: Vec<_> = keys
            .keys
            .keys()
            .filter(|id| self.old_keys.contains(id))
            .collect();
        assert!(
            kept.is_empty(),
            "{context}: old data keys are kept: {kept:?}"
        );
        if self.to == "plaintext" {
            assert!(
                entries.is_empty() && !store.at("key.dict").exists(),
                "{context}: dictionaries are kept"
            );
        }
        let ours = |path: &&String| {
            path.contains(".tsec-")
                || ["panic_mark_file", "tikv-security.journal"].contains(&path.as_str())
        };
        let left = store.files();
        let left: Vec<_> = left.iter().filter(ours).collect();
        assert!(left.is_empty(), "{context}: left over: {left:?}");
    }

    fn assert_contents(&self, store: &DataDir, context: &str) {
        let mut found = store.contents();
        // Temporary files of a run are no content, and leftovers go with the first run.
        found.retain(|path, _| !path.contains(".tsec-"));
        for (path, digest) in &self.contents {
            assert_eq!(
                found.get(path),
                Some(digest),
                "{context}: {path} reads differently"
            );
        }
    }
}

fn strace(store: &DataDir, options: &[String], to: &str) -> std::process::Output {
    Command::new("strace")
        .args(["-f", "-qq"])
        .args(options)
        .arg(env!("CARGO_BIN_EXE_tikv-security"))
        .args(store.arguments(&["reencrypt", "--to", to]))
        .output()
        .unwrap()
}

/// Every call with its number, as strace counts them: for each call and each thread from 1.
fn calls(start: &Start) -> Vec<(String, u64)> {
    let store = start.store.copy();
    let log = tempfile::NamedTempFile::new().unwrap();
    let options = [
        "-o",
        &log.path().to_string_lossy(),
        "-e",
        &format!("trace={}", CALLS.join(",")),
    ];
    let output = strace(&store, &options.map(str::to_owned), start.to);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for line in std::fs::read_to_string(log.path()).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (thread, call) = (words.next().unwrap(), words.next().unwrap_or_default());
        let Some((call, _)) = call.split_once('(') else {
            continue;
        };
        let count = counts
            .entry((thread.to_owned(), call.to_owned()))
            .or_default();
        *count += 1;
        // To open a file for reading changes nothing; such calls count, because strace counts them, and are not tried.
        if call != "openat" || line.contains("O_CREAT") {
            places.insert((call.to_owned(), *count));
        }
    }
    places.into_iter().collect()
}

#[test]
fn killed_at_a_system_call() {
    let has = |program: &str| Command::new(program).arg("-V").output().is_ok();
    if !has("strace") {
        let wanted = std::env::var_os("TIKV_SECURITY_REQUIRE_STRACE").is_some();
        assert!(!wanted, "strace is not installed");
        println!("not run: strace is not installed");
        return;
    }
    let mut draw = Draw::from_environment("killed at a system call");
    let all = std::env::var("TIKV_SECURITY_KILL").is_ok_and(|word| word == "all");
    for (name, to) in JOURNEYS {
        let start = Start::new(name, to);
        let mut places = calls(&start);
        let known = places.len();
        if !all {
            places = (0..SAMPLE)
                .map(|_| places[usize::try_from(draw.below(known as u64)).unwrap()].clone())
                .collect();
        }
        let mut killed = 0;
        for (call, number) in &places {
            let store = start.store.copy();
            let options = [
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:signal=SIGKILL:when={number}"),
            ];
            let output = strace(&store, &options.map(str::to_owned), to);
            killed += usize::from(!output.status.success());
            start.assert_repaired(
                &store,
                &format!("{name} to {to}, killed at {call} {number}"),
            );
        }
        println!(
            "{name} to {to}: {killed} kills at {} of {known} calls, all repaired",
            places.len()
        );
        assert!(killed > 0, "{name}: nothing was killed");
    }
}

#[test]
fn killed_at_a_random_time() {
    let mut draw = Draw::from_environment("killed at a random time");
    let wanted = std::env::var("TIKV_SECURITY_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let starts: Vec<(Start, Duration)> = JOURNEYS
        .iter()
        .map(|(name, to)| {
            let start = Start::new(name, to);
            let begun = Instant::now();
            start.assert_repaired(&start.store.copy(), &format!("{name} to {to}, not killed"));
            (start, begun.elapsed())
        })
        .collect();
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        let (start, length) = &starts[usize::try_from(draw.below(starts.len() as u64)).unwrap()];
        let store = start.store.copy();
        let mut context = format!("to {}, killed after", start.to);
        // A run, and up to two tries to repair what it left, are killed.
        for _ in 0..=draw.below(3) {
            let micros = draw.below(u64::try_from(length.as_micros()).unwrap());
            context += &format!(" {micros} µs");
            let mut child = store
                .command(&["reencrypt", "--to", start.to])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(micros));
            child.kill().unwrap();
            kills += u64::from(!child.wait().unwrap().success());
        }
        start.assert_repaired(&store, &context);
        runs += 1;
    }
    println!("{kills} kills in {runs} stores, all repaired: every content is what it was");
}
