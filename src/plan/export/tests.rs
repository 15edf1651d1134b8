//! Decisions on plain data.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Exports, Failure, Known, LOOK, Source, Wanted, exports, place};
use crate::api::v1alpha1::{Export, ExportStatus, reason};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn to(name: &str, policy: &str) -> Export {
    let aws = json!({
        "deletionPolicy": policy, "awsSecretsManager": {"name": name, "region": "eu-central-1"},
    });
    serde_json::from_value(aws).unwrap()
}

fn source(serial: &str) -> Source {
    Source {
        secret: "basic-client-tls".into(),
        version: serial.into(),
        serial: serial.into(),
    }
}

fn wanted(to: Export, serial: &str) -> Vec<Wanted> {
    vec![Wanted {
        to,
        from: Ok(source(serial)),
    }]
}

fn held(serial: &str, ago: SignedDuration) -> Known {
    Known {
        holds: Some((source(serial), now() - ago)),
        ..Known::default()
    }
}

fn failed(of: &Export, in_seconds: i64) -> Known {
    Known {
        failure: Some(Failure {
            reason: "ExportDenied",
            message: "it refuses access. Allow it.".into(),
            retry_at: now() + SignedDuration::from_secs(in_seconds),
            reached: Box::new(of.clone()),
        }),
        ..Known::default()
    }
}

fn known(of: &Export, known: Known) -> BTreeMap<String, Known> {
    [(place(of).unwrap(), known)].into()
}

fn decide(wanted: &[Wanted], before: &[ExportStatus], known: &BTreeMap<String, Known>) -> Exports {
    exports(wanted, before, known, None, false, now())
}

fn says(all: &Exports) -> (bool, &'static str) {
    let (good, why, _) = all.verdict.as_ref().unwrap();
    (*good, *why)
}

#[test]
fn a_copy_is_named_before_it_is_made_and_made_before_it_is_called_current() {
    let none = BTreeMap::new();
    assert_eq!(decide(&[], &[], &none).verdict, None);
    let one = wanted(to("one", "Retain"), "5");
    let first = decide(&one, &[], &none);
    assert_eq!(first.jobs, []);
    assert_eq!(says(&first), (false, reason::IN_PROGRESS));
    assert_eq!(first.next, Some(now()));
    let second = decide(&one, &first.statuses, &none);
    assert_eq!(second.jobs.len(), 1);
    assert_eq!(second.jobs[0].from, Some(source("5")));
    assert_eq!(second.statuses, first.statuses);
    let right = known(&one[0].to, held("5", SignedDuration::ZERO));
    let third = decide(&one, &first.statuses, &right);
    assert_eq!(third.jobs, []);
    assert_eq!(says(&third), (true, reason::AS_DESIRED));
    assert_eq!(third.statuses[0].serial.as_deref(), Some("5"));
    assert_eq!(third.next, Some(now() + LOOK));

    // An operator that starts believes what was told, and looks.
    let fourth = decide(&one, &third.statuses, &none);
    assert_eq!(says(&fourth), (true, reason::AS_DESIRED));
    assert_eq!(fourth.jobs.len(), 1);
    // By the clock, and when the Secret has another certificate.
    let long_ago = known(&one[0].to, held("5", LOOK));
    assert_eq!(decide(&one, &third.statuses, &long_ago).jobs.len(), 1);
    let renewed = decide(&wanted(to("one", "Retain"), "6"), &third.statuses, &right);
    assert_eq!(renewed.jobs[0].from, Some(source("6")));
    assert_eq!(says(&renewed), (false, reason::IN_PROGRESS));
    assert_eq!(renewed.statuses[0].serial.as_deref(), Some("5"));
}

#[test]
fn what_failed_waits_unless_it_is_reached_in_another_way() {
    let one = wanted(to("one", "Retain"), "5");
    let told = decide(&one, &[], &BTreeMap::new()).statuses;
    let later = decide(&one, &told, &known(&one[0].to, failed(&one[0].to, 9)));
    assert_eq!(later.jobs, []);
    assert_eq!(says(&later), (false, "ExportDenied"));
    let problem = later.statuses[0].problem.as_deref().unwrap();
    assert!(problem.contains("Allow it"), "{problem}");
    assert_eq!(later.next, Some(now() + SignedDuration::from_secs(9)));
    let due = decide(&one, &told, &known(&one[0].to, failed(&one[0].to, 0)));
    assert_eq!(due.jobs.len(), 1);
    let other_way = known(&one[0].to, failed(&to("one", "Delete"), 9));
    assert_eq!(decide(&one, &told, &other_way).jobs.len(), 1);

    // Without anything to copy nothing is asked.
    let empty = [Wanted {
        to: to("one", "Retain"),
        from: Err((reason::IN_PROGRESS, "nothing yet".into())),
    }];
    let nothing = decide(&empty, &told, &BTreeMap::new());
    assert_eq!((nothing.jobs.len(), nothing.next), (0, None));
    let why = Some("TikvSecurityPolicy: no");
    let forbidden = exports(&one, &told, &BTreeMap::new(), why, false, now());
    assert_eq!(forbidden.jobs, []);
    assert_eq!(says(&forbidden), (false, "PolicyViolated"));
}

#[test]
fn what_is_not_wanted_any_more_goes_only_where_that_was_asked_for() {
    let none = BTreeMap::new();
    let keep = decide(&wanted(to("one", "Retain"), "5"), &[], &none).statuses;
    let gone = decide(&[], &keep, &none);
    assert_eq!((gone.jobs.len(), gone.statuses.len()), (0, 0));
    assert_eq!(gone.verdict, None);

    let of = to("one", "Delete");
    let told = decide(&wanted(of.clone(), "5"), &[], &none).statuses;
    let going = decide(&[], &told, &none);
    assert_eq!(going.jobs[0].from, None);
    assert_eq!(says(&going), (false, reason::IN_PROGRESS));
    let stuck = decide(&[], &told, &known(&of, failed(&of, 9)));
    assert_eq!(stuck.jobs, []);
    assert_eq!(stuck.statuses.len(), 1);
    assert_eq!(says(&stuck), (false, "ExportDenied"));
    let deleted = Known {
        deleted: true,
        ..Known::default()
    };
    let done = decide(&[], &told, &known(&of, deleted));
    assert_eq!((done.jobs.len(), done.statuses.len()), (0, 0));

    // The object itself goes.
    let wanted = wanted(of, "5");
    let leaving = exports(&wanted, &told, &none, None, true, now());
    assert_eq!(leaving.jobs[0].from, None);
    assert_eq!(leaving.statuses.len(), 1);
    let leaving = exports(&wanted, &keep, &none, None, true, now());
    assert_eq!(leaving.statuses, []);
}

#[test]
fn one_place_for_two_copies_is_refused() {
    let mut both = wanted(to("one", "Retain"), "5");
    both.extend(wanted(to("one", "Delete"), "6"));
    let all = decide(&both, &[], &BTreeMap::new());
    assert_eq!(all.statuses.len(), 1);
    let (good, _, text) = all.verdict.unwrap();
    assert!(!good && text.contains("being written"), "{text}");
    let right = known(&both[0].to, held("5", SignedDuration::ZERO));
    let (_, why, text) = decide(&both, &[], &right).verdict.unwrap();
    assert_eq!(why, "InvalidSpec");
    assert!(text.contains("named by two exports"), "{text}");
    let neither = serde_json::from_value(json!({})).unwrap();
    assert_eq!(
        says(&decide(&wanted(neither, "5"), &[], &BTreeMap::new())),
        (false, "InvalidSpec")
    );
}
