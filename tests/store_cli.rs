//! What a person at a keyboard, or a script, gets from the commands for a data directory.
#![allow(clippy::unwrap_used)]

mod data_dir;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use data_dir::{DataDir, SEEN_AS, codes, hex, stores};
use jiff::Timestamp;
use prost::Message as _;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tikv_security::agent::service::data_dir::DataDir as AgentStore;
use tikv_security::agent::service::store::{Locked, Need, Outcome, Store as _, Watch};
use tikv_security::api::compaction::CompactionOrder;
use tikv_security::api::desired::{DesiredState, RunLimits, Verification};
use tikv_security::api::method::Method;
use tikv_security::api::report::{AgentPhase, Progress};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::format::envelope;
use tikv_security::kms::MasterKey;

fn exit_of(store: &DataDir, arguments: &[&str]) -> i32 {
    store.run(arguments).status.code().unwrap()
}

fn lock(store: &DataDir) -> fs::File {
    let lock = fs::File::create(store.at("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

/// A store whose re-encryption takes many batches.
fn wide() -> DataDir {
    let store = DataDir::small("aes256");
    let table = fs::read(store.at("db/000018.sst")).unwrap();
    store.change_entries(|entries| {
        let entry = entries[&format!("{SEEN_AS}/db/000018.sst")].clone();
        for number in 500_000..504_000 {
            let name = format!("db/{number}.sst");
            fs::write(store.at(&name), &table).unwrap();
            entries.insert(format!("{SEEN_AS}/{name}"), entry.clone());
        }
    });
    store
}

fn spawn(store: &DataDir, arguments: &[&str]) -> Child {
    let mut command = store.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn verify_tells_by_its_exit_code_what_is_the_matter() {
    let store = DataDir::small("aes256");
    assert_eq!(exit_of(&store, &["verify", "--require", "aes256-ctr"]), 0);
    assert_eq!(exit_of(&store, &["verify", "--require", "sm4-ctr"]), 8);
    assert_eq!(exit_of(&store, &["verify", "--max-key-age", "876000h"]), 0);
    assert_eq!(exit_of(&store, &["verify", "--max-key-age", "1s"]), 8);

    let table = store.at("db/000021.sst");
    let mut bytes = fs::read(&table).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&table, bytes).unwrap();
    let (status, document, _) = store.fails(&["verify"]);
    assert_eq!(
        (status, codes(&document)),
        (6, vec!["ContentMismatch".to_owned()])
    );
    assert_eq!(document["findings"][0]["path"], "db/000021.sst");

    store.change_entries(|entries| {
        entries
            .get_mut(&format!("{SEEN_AS}/db/000021.sst"))
            .unwrap()
            .key_id = 7;
    });
    assert_eq!(exit_of(&store, &["verify"]), 7);
}

#[test]
fn a_dry_run_says_what_is_needed_and_changes_nothing() {
    let store = DataDir::small("aes256");
    let before = store.image();
    let planned = store.document(&["reencrypt", "--to", "sm4-ctr", "--dry-run"]);
    assert!(store.image() == before);
    let room = &planned["estimate"]["space"][0];
    assert!(room["free"].as_u64() > room["needed"].as_u64(), "{planned}");
    assert!(planned["files"].as_u64().unwrap() > 10);
}

#[test]
fn a_run_whose_time_is_over_leaves_a_store_with_which_tikv_can_start_and_tells_how_to_do_the_rest()
{
    let store = wide();
    let before = store.contents();
    let limited = ["reencrypt", "--to", "sm4-ctr", "--time-limit", "0s"];
    let (status, document, said) = store.fails(&limited);
    assert_eq!(
        (status, &document["finished"]),
        (5, &Value::Bool(false)),
        "{said}"
    );
    assert!(!store.at("panic_mark_file").exists(), "TiKV is held back");
    assert_eq!(store.contents(), before);
    let (_, rest) = said.split_once("To do the rest: ").unwrap();
    let words: Vec<&str> = rest.split_whitespace().skip(1).collect();
    let words: Vec<&str> = words
        .into_iter()
        .filter(|word| !["--time-limit", "0s"].contains(word))
        .collect();
    assert!(words.contains(&"--not-before"), "{said}");
    let output = Command::new(env!("CARGO_BIN_EXE_tikv-security"))
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(exit_of(&store, &["verify", "--require", "sm4-ctr"]), 0);
    assert_eq!(store.contents(), before);
}

#[test]
fn limits_slow_a_run_down() {
    let store = DataDir::small("aes256");
    let done = store.document(&[
        "reencrypt",
        "--to",
        "sm4-ctr",
        "--threads",
        "1",
        "--rate",
        "200KiB",
    ]);
    let rate = done["bytes"].as_f64().unwrap() / done["seconds"].as_f64().unwrap();
    assert!(rate < 600_000.0, "{rate} bytes/s");
    let done = store.document(&["reencrypt", "--to", "aes256-ctr", "--iops", "40"]);
    // Each file is read and written at least once.
    let rate = 2.0 * done["files"].as_f64().unwrap() / done["seconds"].as_f64().unwrap();
    assert!(rate < 50.0, "{rate} requests/s");
    assert_eq!(
        exit_of(&store, &["reencrypt", "--to", "sm4-ctr", "--rate", "fast"]),
        2
    );
}

#[test]
fn a_signal_stops_at_a_safe_place() {
    let store = wide();
    let before = store.contents();
    for (signal_, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = spawn(&store, &["reencrypt", "--to", "aes128-ctr"]);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let begin: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(begin["event"], "begin");
        assert!(begin["filesTotal"].as_u64() > Some(1000));
        signal(&child, signal_);
        let said: Vec<String> = lines.map(Result::unwrap).collect();
        let said = said.join("\n");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("are done") && said.contains("To go on: "),
            "{said}"
        );
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["finished"], false);
        let (status, document, _) = store.fails(&["inspect"]);
        let mut found = codes(&document);
        // What was being written when the signal came may lie about; the next run takes care of it.
        found.retain(|code| code != "TemporaryFile");
        assert_eq!((status, found), (5, vec!["RunOpen".to_owned()]));
        assert_eq!(document["journal"]["method"], "aes128-ctr");
        assert!(document["journal"]["filesTotal"].as_u64() > Some(4000));
        assert_eq!(exit_of(&store, &["verify"]), 5);
    }
    assert_eq!(store.document(&["reencrypt", "--resume"])["resumed"], true);
    assert_eq!(store.document(&["reencrypt", "--resume"])["resumed"], false);
    assert_eq!(store.contents(), before);
    assert_eq!(exit_of(&store, &["verify", "--require", "aes128-ctr"]), 0);
}

#[test]
fn a_suspended_run_stands_still_and_goes_on() {
    let store = wide();
    let before = store.contents();
    let mut child = spawn(&store, &["reencrypt", "--to", "aes128-ctr"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    signal(&child, Signal::STOP);
    let stopped = waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED).unwrap();
    assert!(stopped.unwrap().1.stopped());
    let image = store.image();
    // TiKV is held back meanwhile, and everybody can see why.
    assert_eq!(exit_of(&store, &["verify"]), 5);
    assert!(store.image() == image);
    signal(&child, Signal::CONT);
    lines.for_each(|line| drop(line.unwrap()));
    assert!(child.wait().unwrap().success());
    assert_eq!(store.contents(), before);
    assert_eq!(exit_of(&store, &["verify", "--require", "aes128-ctr"]), 0);
}

#[test]
fn a_running_store_is_watched_without_its_lock() {
    let store = DataDir::small("aes256");
    let _running = lock(&store);
    let mut child = spawn(&store, &["watch", "--every", "1s"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let look: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(look["plaintextBytes"], 0);
        assert_eq!(look["usage"][0]["method"], "aes256-ctr");
    }
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_new_master_key_seals_key_dict_anew_and_nothing_else() {
    let mut store = DataDir::small("aes256");
    let new = stores()
        .join("keys/master2.key")
        .to_string_lossy()
        .into_owned();
    let mut before = store.image();
    let keys = store.dictionaries().1;
    let dry = store.document(&["rewrap", "--new-master-key-file", &new, "--dry-run"]);
    assert_eq!(dry["changed"], true);
    assert!(store.image() == before);
    let done = store.document(&["rewrap", "--new-master-key-file", &new]);
    assert_eq!(
        (&done["changed"], &done["dataKeys"]),
        (&Value::Bool(true), &Value::from(1))
    );
    // Again, as after a crash just before the answer.
    let again = store.document(&["rewrap", "--new-master-key-file", &new]);
    assert_eq!(again["changed"], false);
    let mut after = store.image();
    assert_ne!(before.remove("key.dict"), after.remove("key.dict"));
    assert!(before == after);
    assert_eq!(
        exit_of(&store, &["verify"]),
        3,
        "the old master key must not open it any more"
    );
    store.master_key = new.into();
    assert_eq!(store.dictionaries().1, keys);
    assert_eq!(exit_of(&store, &["verify"]), 0);
}

fn config(store: &DataDir, current: &str, previous: &str) -> String {
    let key = |name: &str| {
        format!(
            "type = \"file\"\npath = \"{}\"",
            stores().join("keys").join(name).display()
        )
    };
    let text = format!(
        "[storage]\ndata-dir = \"{SEEN_AS}\"\n[security.encryption]\ndata-encryption-method = \"aes256-ctr\"\n\
         [security.encryption.master-key]\n{}\n[security.encryption.previous-master-key]\n{}\n",
        key(current),
        key(previous)
    );
    let path = store.path().with_extension("toml");
    fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn the_previous_master_key_of_the_configuration_opens_and_is_replaced() {
    for command in ["rewrap", "reencrypt --to sm4-ctr"] {
        let mut store = DataDir::small("aes256");
        let before = store.contents();
        let config = config(&store, "master2.key", "master.key");
        assert_eq!(exit_of(&store, &["verify", "--config", &config]), 0);
        let mut arguments: Vec<_> = command.split(' ').collect();
        arguments.extend(["--config", &config]);
        store.document(&arguments);
        store.master_key = stores().join("keys/master2.key");
        assert_eq!(store.contents(), before, "{command}");
        fs::remove_file(config).unwrap();
    }
}

/// Sees nothing, stops nothing.
struct Blind;

impl Watch for Blind {
    fn phase(&self, _: AgentPhase) {}
    fn progress(&self, _: &Progress) {}
    fn stop(&self) -> bool {
        false
    }
}

#[test]
fn the_agent_seals_key_dict_under_the_present_master_key_before_tikv_starts() {
    let mut store = DataDir::small("aes256");
    let here = store.path().to_string_lossy().into_owned();
    store.change_entries(|entries| {
        let moved = entries
            .iter()
            .map(|(name, entry)| (name.replace(SEEN_AS, &here), entry.clone()));
        *entries = moved.collect();
    });
    let path = config(&store, "master2.key", "master.key");
    let text = fs::read_to_string(&path).unwrap().replace(SEEN_AS, &here);
    let desired = DesiredState {
        generation: 1,
        method: Method::Aes256Ctr,
        data_key_not_before: None,
        reencrypt: true,
        verification: Verification::Full,
        envelope: None,
        decrypt: false,
        allowed_names: Vec::new(),
        limits: RunLimits::default(),
        compaction: None,
        proof: None,
    };
    let keys = store.dictionaries().1;
    let mut agent = AgentStore::new(text, None).unwrap();
    let before = agent.measure(Some(&desired)).unwrap().key_dict;
    assert!(before.previous && before.under.unwrap().key.ends_with("/master.key"));
    assert_eq!(agent.lock().unwrap(), Locked::Ours);
    let after = agent.rewrap(&[]).unwrap();
    assert!(!after.previous && after.under.as_ref().unwrap().key.ends_with("/master2.key"));
    assert_eq!(agent.measure(Some(&desired)).unwrap().key_dict, after);
    assert_eq!(agent.preflight(&desired).unwrap(), Need::Nothing);
    assert_eq!(agent.reencrypt(&desired, &Blind).unwrap(), Outcome::Done);
    store.master_key = stores().join("keys/master2.key");
    assert_eq!(store.dictionaries().1, keys, "the data keys are others");
    fs::remove_file(path).unwrap();
}

#[test]
fn in_mode_compaction_tables_must_go_and_what_stays_until_a_restart_is_named() {
    let store = DataDir::small("aes256");
    let here = store.path().to_string_lossy().into_owned();
    // A second data key with the bytes of the first, so that content fits whichever an entry names.
    let (_, mut keys) = store.dictionaries();
    let mut young = keys.keys[&keys.current_key_id].clone();
    young.creation_time += 100;
    let limit = i64::try_from(young.creation_time).unwrap();
    keys.current_key_id = 77;
    keys.keys.insert(77, young);
    let master = MasterKey::from_file(&store.master_key).unwrap();
    let sealed = master.seal(&SecretBytes::new(keys.encode_to_vec()), None);
    fs::write(
        store.at("key.dict"),
        envelope::seal_encrypted(&sealed.unwrap()),
    )
    .unwrap();
    store.change_entries(|entries| {
        let moved = entries.iter();
        *entries = moved
            .map(|(name, entry)| (name.replace(SEEN_AS, &here), entry.clone()))
            .collect();
    });
    let path = config(&store, "master.key", "master2.key");
    let text = fs::read_to_string(&path).unwrap().replace(SEEN_AS, &here);
    fs::remove_file(path).unwrap();
    let mut agent = AgentStore::new(text, None).unwrap();
    let desired = |threads: Option<u8>| DesiredState {
        generation: 1,
        method: Method::Aes256Ctr,
        data_key_not_before: Some(Timestamp::from_second(limit).unwrap()),
        reencrypt: true,
        verification: Verification::Full,
        decrypt: false,
        allowed_names: Vec::new(),
        limits: RunLimits::default(),
        envelope: None,
        proof: None,
        compaction: threads.map(|threads| CompactionOrder {
            threads: threads.try_into().unwrap(),
            turn: None,
        }),
    };
    let before = agent.measure(Some(&desired(Some(1)))).unwrap();
    let old = before.coverage.old_keys.unwrap();
    let tables = store
        .files()
        .into_iter()
        .filter(|path| path.starts_with("db/") && path.ends_with(".sst"));
    assert_eq!(old.tables.files, tables.count() as u64);
    assert!(old.tables.bytes > 0 && !before.satisfied);
    assert_eq!(
        before.coverage.current_data_key_made_at,
        desired(None).data_key_not_before
    );

    // What a compaction does to the entries.
    store.change_entries(|entries| {
        for (name, entry) in entries {
            if name.ends_with(".sst") {
                entry.key_id = 77;
            }
        }
    });
    let after = agent.measure(Some(&desired(Some(1)))).unwrap();
    assert!(after.satisfied);
    let old = after.coverage.old_keys.unwrap();
    assert_eq!(old.tables.files, 0);
    let kinds: Vec<&str> = old
        .until_restart
        .iter()
        .map(|one| one.kind.as_str())
        .collect();
    for kind in ["identity", "manifest", "options", "raft-log"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    // Mode Restart is not content with that, and plaintext is never acceptable.
    assert!(!agent.measure(Some(&desired(None))).unwrap().satisfied);
    store.change_entries(|entries| entries.retain(|name, _| !name.ends_with("IDENTITY")));
    let ciphertext = fs::metadata(store.at("db/IDENTITY")).unwrap().len();
    fs::write(
        store.at("db/IDENTITY"),
        "a".repeat(usize::try_from(ciphertext).unwrap()),
    )
    .unwrap();
    assert!(!agent.measure(Some(&desired(Some(1)))).unwrap().satisfied);
}

#[test]
fn a_store_that_can_not_be_sealed_anew_is_held_only_where_a_previous_key_is_configured() {
    let store = DataDir::small("aes256");
    let agent = |new: &str, previous: &str| {
        let path = config(&store, new, previous);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        let here = store.path().to_string_lossy().into_owned();
        let mut agent = AgentStore::new(text, Some(here.into())).unwrap();
        assert_eq!(agent.lock().unwrap(), Locked::Ours);
        agent
    };
    let image = store.image();
    // The new key is not there: the old one opens it, and TiKV would not start.
    let mut held = agent("absent.key", "master.key");
    let problem = held.rewrap(&[]).unwrap_err();
    assert!(
        problem.message.contains("absent.key"),
        "{}",
        problem.message
    );
    assert!(
        problem.remedy.contains("spec.encryption.masterKey"),
        "{}",
        problem.remedy
    );
    let sealed = held.sealed();
    assert!(sealed.awaits_rewrap);
    drop(held);
    // Neither opens it.
    let mut held = agent("master2.key", "absent.key");
    assert_eq!(held.rewrap(&[]).unwrap_err().code, "MasterKeyWrong");
    assert!(held.sealed().awaits_rewrap && held.sealed().key_dict.is_none());
    drop(held);
    assert_eq!(store.image(), image, "something was changed");
    // It is under the present key: the previous one does not matter.
    let mut free = agent("master.key", "absent.key");
    free.rewrap(&[]).unwrap();
    assert!(!free.sealed().awaits_rewrap);
}

#[test]
fn a_rewrap_is_refused_where_it_can_not_be_right() {
    let store = DataDir::small("aes256");
    let (wrong, right) = (
        stores().join("keys/master2.key"),
        stores().join("keys/master.key"),
    );
    let (wrong, right) = (wrong.to_string_lossy(), right.to_string_lossy());
    let before = store.image();
    // An old key that does not open key.dict; no new key; a store in use.
    let absent = store.path().with_extension("key");
    let absent = absent.to_string_lossy();
    fs::write(&*absent, format!("{}\n", "ab".repeat(32))).unwrap();
    let cases: [(&[&str], i32); 2] = [
        (
            &[
                "rewrap",
                "--master-key-file",
                &wrong,
                "--new-master-key-file",
                &absent,
            ],
            3,
        ),
        (&["rewrap", "--master-key-file", &right], 2),
    ];
    for (arguments, exit) in cases {
        assert_eq!(exit_of(&store, arguments), exit, "{arguments:?}");
    }
    let running = lock(&store);
    assert_eq!(
        exit_of(&store, &["rewrap", "--new-master-key-file", &wrong]),
        4
    );
    drop(running);
    assert!(store.image() == before);
    let never = DataDir::small("plaintext");
    assert_eq!(
        exit_of(&never, &["rewrap", "--new-master-key-file", &wrong]),
        3
    );
    fs::remove_file(&*absent).unwrap();
}

#[test]
fn keys_are_never_printed() {
    use std::fmt::Write;
    let store = DataDir::small("method-changed");
    let mut secrets: Vec<Vec<u8>> = store
        .dictionaries()
        .1
        .keys
        .values()
        .map(|key| key.key.clone())
        .collect();
    let master = fs::read_to_string(&store.master_key).unwrap();
    let pairs = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&master[at..at + 2], 16).unwrap());
    secrets.push(pairs.collect());
    let mut said = Vec::new();
    for output in ["table", "json", "yaml"] {
        for command in [
            "inspect",
            "verify",
            "watch --count 1",
            "reencrypt --to aes256-ctr --dry-run",
            "reencrypt --to sm4-ctr --time-limit 1h",
            "inspect --files",
            "reencrypt --resume",
        ] {
            let mut arguments: Vec<_> = command.split(' ').collect();
            arguments.extend(["--output", output]);
            let done = store.run(&arguments);
            said.extend([done.stdout, done.stderr].concat());
            secrets.extend(
                store
                    .dictionaries()
                    .1
                    .keys
                    .into_values()
                    .map(|key| key.key.clone()),
            );
        }
    }
    let text = String::from_utf8_lossy(&said).to_lowercase();
    assert!(text.contains("sm4-ctr"));
    for secret in secrets {
        let debug = secret.iter().take(6).fold(String::new(), |mut text, byte| {
            write!(text, "{byte}, ").unwrap();
            text
        });
        let base64 = openssl::base64::encode_block(&secret).to_lowercase();
        for form in [hex(&secret), debug, base64[..20].to_owned()] {
            assert!(!text.contains(&form), "a key was printed");
        }
        assert!(!said.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn nobody_reads_more_than_needed_into_a_wrong_call() {
    let store = DataDir::small("plaintext");
    for (arguments, word) in [
        (vec!["reencrypt"], "--to"),
        (vec!["reencrypt", "--to", "rot13"], "rot13"),
        (vec!["reencrypt", "--to", "sm4-ctr", "--resume"], "--resume"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tikv-security"))
            .args(store.arguments(&arguments))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
