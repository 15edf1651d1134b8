//! What the agent asks by itself: the master key, and full verifications.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Case, Script, problem};
use crate::agent::service::board::Board;
use crate::agent::service::key_watch::{KeyPace, KeyWatch, with_providers};
use crate::agent::service::stop::Stop;
use crate::agent::wrapped::tests as wrapped;

const PROOF: &str = r#"{"generation":4,"method":"aes256-ctr","reencrypt":true,
    "proof":{"notBefore":"2026-01-01T00:00:00Z","bytesPerSecond":1000}}"#;

#[test]
fn a_verification_goes_on_in_steps_beside_the_measuring_and_is_done_once() {
    let script = Script {
        verify: [false, false, true].into(),
        ..Script::default()
    };
    let case = Case::with_desired(script, PROOF);
    let report = case.until("the verification", |report| {
        report.last_verification.is_some()
    });
    assert_eq!(report.last_verification.unwrap().files, 3);
    let measured = case
        .calls()
        .iter()
        .filter(|call| **call == "measure")
        .count();
    case.until("more measurements", |_| {
        case.calls()
            .iter()
            .filter(|call| **call == "measure")
            .count()
            > measured + 3
    });
    let script = case.script.lock().unwrap();
    assert_eq!(script.budgets.len(), 3, "done once: {:?}", script.budgets);
    // The rate bounds each step, however late it comes.
    assert!(
        script
            .budgets
            .iter()
            .all(|budget| (1..=5000).contains(budget))
    );
}

#[test]
fn an_agent_that_started_later_verifies_again_because_it_can_not_know() {
    let case = Case::with_desired(Script::default(), PROOF);
    case.until("the verification", |report| {
        report.last_verification.is_some()
    });
}

#[test]
fn a_master_key_that_fails_and_comes_back_is_told_with_its_last_success() {
    let (board, stop) = (
        Arc::new(Board::new(Path::new("/d"))),
        Arc::new(Stop::default()),
    );
    let (ask, answers) = std::sync::mpsc::channel();
    let watch = KeyWatch {
        prover: Box::new(move || answers.recv().ok()),
        board: board.clone(),
        stop: stop.clone(),
        pace: KeyPace {
            good: Duration::ZERO,
            bad: Duration::ZERO,
        },
    };
    let thread = std::thread::spawn(move || watch.run());
    let check = |wanted: &dyn Fn(&crate::api::report::KeyCheck) -> bool| loop {
        if let Some(check) = board.report().master_key.filter(|check| wanted(check)) {
            return check;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    ask.send(Ok(())).unwrap();
    let good = check(&|check| check.error.is_none());
    assert!(good.last_success.is_some() && good.latency_milliseconds.is_some());
    ask.send(Err(problem("MasterKeyUnavailable"))).unwrap();
    let bad = check(&|check| check.error.is_some());
    assert_eq!(bad.last_success, good.last_success);
    assert_eq!(bad.error.unwrap().code, "MasterKeyUnavailable");
    ask.send(Ok(())).unwrap();
    let again = check(&|check| check.error.is_none());
    assert!(again.last_success >= good.last_success);
    stop.ask();
    drop(ask);
    thread.join().unwrap();
}

/// TiKV has the key in memory and opens its store with it; whoever wraps the key is gone, so a new pod would not start.
#[test]
fn a_store_that_runs_from_memory_alone_is_told() {
    let memory = wrapped::memory();
    let keys = || vec![wrapped::pending(&memory, Some(3600))];
    let mut early = with_providers(Box::new(|| Some(Ok(()))), keys());
    assert!(early().is_none(), "nothing to open with yet");
    wrapped::write(&memory.path().join("key"), &wrapped::key(1)).unwrap();

    let mut empty = with_providers(Box::new(|| None), keys());
    assert!(empty().is_none(), "there is nothing that it protects");
    let wrong = || Some(Err(problem("MasterKeyWrong")));
    let mut wrong = with_providers(Box::new(wrong), keys());
    assert_eq!(wrong().unwrap().unwrap_err().code, "MasterKeyWrong");

    let mut alone = with_providers(Box::new(|| Some(Ok(()))), keys());
    let told = alone().unwrap().unwrap_err();
    assert_eq!(told.code, "MasterKeyUnavailable", "{}", told.message);
    assert!(told.remedy.contains("Vault"), "{}", told.remedy);

    let mut spared = with_providers(Box::new(|| Some(Ok(()))), Vec::new());
    assert_eq!(spared(), Some(Ok(())), "a key that TiKV knows");
}
