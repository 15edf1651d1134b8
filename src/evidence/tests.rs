use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Report, Verdict, diff, html, markdown, report};
use crate::api::v1alpha1::{TikvSecurity, TikvVolume};

type Change = Box<dyn Fn(&mut Value, &mut Vec<Value>)>;

const NOW: &str = "2026-03-01T12:00:00Z";

/// A cluster of which everything is proven, as its objects.
fn good() -> (Value, Vec<Value>) {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "AsDesired", "message": "as it should be",
            "lastTransitionTime": "2026-02-01T00:00:00Z"})
    };
    let security = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvSecurity",
        "metadata": {"name": "basic", "namespace": "tikv", "uid": "u-1", "generation": 3,
            "managedFields": [
                {"manager": "argocd", "operation": "Apply", "time": "2026-02-01T00:00:00Z"},
                {"manager": "tikv-security", "operation": "Apply", "subresource": "status"}]},
        "spec": {"environment": "production",
            "cluster": {"tikv": {"statefulSet": {"name": "t"}}, "pd": {"statefulSet": {"name": "p"}}},
            "tls": {"issuer": {"selfSigned": {}}},
            "encryption": {"method": "aes256-ctr", "masterKey": {"awsKms": {"keyId": "alias/tikv", "region": "eu-central-1"}}}},
        "status": {"observedGeneration": 3,
            "conditions": [condition("CertificatesReady"), condition("RolloutComplete"), condition("MasterKeyReachable")],
            "certificates": [{"name": "basic-tikv-tls", "serial": "0a", "notAfter": "2026-03-20T00:00:00Z",
                "renewAt": "2026-03-10T00:00:00Z", "served": "6/6"}],
            "encryption": {"method": "aes256-ctr", "stores": "2/2", "storesTotal": 2, "storesAsDesired": 2,
                "storesUnknown": 0, "bytes": 200, "encryptedBytes": 200, "plaintextBytes": 0, "encrypted": "100%"}},
    });
    let volume = |pod: &str| {
        json!({
            "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvVolume",
            "metadata": {"name": pod, "namespace": "tikv"},
            "spec": {"security": "basic", "pod": pod, "method": "aes256-ctr", "reencrypt": true, "generation": 7},
            "status": {"phase": "AsDesired", "report": {
                "version": "0.1.0", "dataDir": "/var/lib/tikv", "desiredGeneration": 7, "phase": "Watching",
                "gateOpen": true, "journalOpen": false, "satisfied": true, "measuredAt": "2026-03-01T11:59:00Z",
                "coverage": {"files": 4, "bytes": 100, "encryptedBytes": 100, "plaintextBytes": 0, "currentDataKey": "11",
                    "byKey": [{"keyId": "11", "method": "aes256-ctr", "createdAt": "2026-02-28T12:00:00Z", "files": 4, "bytes": 100}]}}},
        })
    };
    (security, vec![volume("t-0"), volume("t-1")])
}

fn made((security, volumes): (Value, Vec<Value>)) -> Report {
    let security: TikvSecurity = serde_json::from_value(security).unwrap();
    let volumes: Vec<TikvVolume> = volumes
        .into_iter()
        .map(|volume| serde_json::from_value(volume).unwrap())
        .collect();
    report(&security, &volumes, NOW.parse::<Timestamp>().unwrap())
}

#[test]
fn what_is_measured_is_proven() {
    let report = made(good());
    assert_eq!(
        report.at_rest.verdict,
        Verdict::Proven,
        "{:?}",
        report.at_rest
    );
    assert!(report.at_rest.because.contains("all 200 bytes of 2 stores"));
    assert_eq!(
        report.in_transit.verdict,
        Verdict::Proven,
        "{:?}",
        report.in_transit
    );
    assert_eq!(report.findings, []);
    assert_eq!(
        report.changes.len(),
        1,
        "the operator's status is no change"
    );
    assert_eq!(report.stores[0].keys[0].age_hours, Some(24));
    assert!(
        report
            .controls
            .iter()
            .all(|control| control.answer != Answer::NotShown),
        "{:#?}",
        report.controls
    );
}

#[test]
fn nothing_is_called_encrypted_that_was_not_measured_so() {
    let status = |volumes: &mut Vec<Value>, path: &str, value: Value| {
        *volumes[1]["status"].pointer_mut(path).unwrap() = value;
    };
    let cases: Vec<(&str, Change)> = vec![
        (
            "in the clear",
            Box::new(move |_, all| {
                status(all, "/report/coverage/plaintextBytes", json!(1));
            }),
        ),
        (
            "proven encrypted",
            Box::new(move |_, all| {
                status(all, "/report/coverage/encryptedBytes", json!(99));
            }),
        ),
        (
            "older data key",
            Box::new(move |_, all| status(all, "/report/satisfied", json!(false))),
        ),
        (
            "a run is open",
            Box::new(move |_, all| status(all, "/report/journalOpen", json!(true))),
        ),
        (
            "generation 6",
            Box::new(move |_, all| status(all, "/report/desiredGeneration", json!(6))),
        ),
        (
            "last measured",
            Box::new(move |_, all| {
                status(all, "/report/measuredAt", json!("2026-03-01T11:40:00Z"));
            }),
        ),
        (
            "not reported anything",
            Box::new(|_, all| {
                all[1]["status"].as_object_mut().unwrap().remove("report");
            }),
        ),
        (
            "does not answer: timed out",
            Box::new(|_, all| {
                all[1]["status"]["unreachable"] = json!("timed out");
            }),
        ),
        (
            "no space",
            Box::new(|_, all| {
                all[1]["status"]["report"]["error"] = json!({"code": "NoSpace", "severity": "Error", "message": "no space", "remedy": "grow the volume"});
            }),
        ),
        (
            "2 stores, and 1 were measured",
            Box::new(|_, all| {
                all.pop();
            }),
        ),
        (
            "answers generation 2",
            Box::new(|security, _| {
                security["status"]["observedGeneration"] = json!(2);
            }),
        ),
        (
            "not reported anything",
            Box::new(|security, _| {
                security.as_object_mut().unwrap().remove("status");
            }),
        ),
    ];
    for (words, change) in cases {
        let (mut security, mut volumes) = good();
        change(&mut security, &mut volumes);
        let report = made((security, volumes));
        assert_eq!(report.at_rest.verdict, Verdict::NotProven, "{words}");
        assert!(
            report.at_rest.because.contains(words),
            "{words}: {}",
            report.at_rest.because
        );
        let claims = |source: &str| {
            report
                .controls
                .iter()
                .any(|control| control.source == source && control.answer == Answer::Shown)
        };
        for source in [
            "PCI DSS 3.5.1",
            "PCI DSS 3.7.1",
            "PCI DSS 3.7.4",
            "45 CFR 164.312(a)(2)(iv)",
        ] {
            assert!(!claims(source), "{words}: {source} is said to be shown");
        }
    }
}

#[test]
fn volumes_of_others_prove_nothing() {
    let (security, mut volumes) = good();
    volumes[1]["spec"]["security"] = json!("another");
    assert_eq!(
        made((security.clone(), volumes)).at_rest.verdict,
        Verdict::NotProven
    );
    let (_, mut volumes) = good();
    volumes[1]["metadata"]["namespace"] = json!("elsewhere");
    assert_eq!(
        made((security, volumes)).at_rest.verdict,
        Verdict::NotProven
    );
}

#[test]
fn connections_are_proven_by_handshakes_of_now() {
    let (mut security, volumes) = good();
    security["status"]["certificates"][0]["notServed"] = json!(["t-1:20160"]);
    let report = made((security, volumes));
    assert_eq!(report.in_transit.verdict, Verdict::NotProven);
    assert!(report.in_transit.because.contains("t-1:20160"));

    let (mut security, volumes) = good();
    security["status"]["certificates"][0]["notAfter"] = json!("2026-03-01T11:00:00Z");
    let report = made((security, volumes));
    assert_eq!(report.in_transit.verdict, Verdict::NotProven);
    assert_eq!(report.findings[0].code, "CertificateEnded");
}

#[test]
fn a_key_in_the_cluster_and_old_keys_are_findings() {
    let (mut security, mut volumes) = good();
    security["spec"]["environment"] = json!("staging");
    security["spec"]["encryption"]["masterKey"] =
        json!({"file": {"secret": {"name": "s", "key": "k"}}});
    volumes[0]["status"]["report"]["coverage"]["byKey"][0]["createdAt"] =
        json!("2026-01-01T00:00:00Z");
    let report = made((security, volumes));
    let codes: Vec<&str> = report
        .findings
        .iter()
        .map(|one| one.code.as_str())
        .collect();
    assert_eq!(codes, ["DataUnderOldKeys", "MasterKeyInCluster"]);
    let answer = |question: &str| {
        let found = report
            .controls
            .iter()
            .find(|one| one.question.contains(question));
        found.unwrap().answer
    };
    assert_eq!(answer("apart from data-encrypting keys"), Answer::NotShown);
    assert_eq!(answer("cryptoperiod"), Answer::NotShown);
}

#[test]
fn no_message_changes_the_form() {
    let (mut security, volumes) = good();
    security["status"]["conditions"][0]["message"] = json!("a | b\n<script>alert(1)</script> `x`");
    let report = made((security, volumes));
    let text = markdown(&report);
    assert!(
        text.contains(r"a \| b \<script\>alert(1)\</script\> \`x\`"),
        "{text}"
    );
    let page = html(&report);
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page}"
    );
}

#[test]
fn a_difference_is_one_of_protection() {
    let one = made(good());
    let (mut security, mut volumes) = good();
    security["metadata"]["namespace"] = json!("test");
    security["status"]["certificates"][0]["serial"] = json!("0b");
    for volume in &mut volumes {
        volume["metadata"]["namespace"] = json!("test");
    }
    assert_eq!(diff(&one, &made((security.clone(), volumes.clone()))), []);
    security["spec"]["environment"] = json!("staging");
    volumes[0]["status"]["report"]["coverage"]["plaintextBytes"] = json!(5);
    let found = diff(&one, &made((security, volumes)));
    let what: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "environment",
            "data at rest",
            "methods found",
            "findings",
            "questions shown"
        ]
    );
    assert_eq!(found[2].other, "aes256-ctr, plaintext");
}

#[test]
fn a_report_is_read_back_as_it_was() {
    let report = made(good());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn what_was_done_over_time_is_in_the_report_and_what_is_missing_is_found() {
    let (mut security, mut volumes) = good();
    let status = &mut security["status"];
    status["masterKey"] = json!({"kind": "awsKms", "key": "alias/tikv in eu-central-1", "by": "operator",
        "lastSuccess": "2026-03-01T11:58:00Z", "latencyMilliseconds": 41});
    status["rotations"] = json!([{"kind": "DataKey", "request": "audit-7", "by": "argocd", "to": "2026-02-28T12:00:00Z",
        "startedAt": "2026-02-28T12:00:00Z", "finishedAt": "2026-02-28T12:30:00Z"}]);
    status["drift"] = json!([{"kind": "StatefulSet", "name": "t", "path": "spec.updateStrategy.type", "found": "\"RollingUpdate\"",
        "by": "kubectl-edit", "seenAt": "2026-02-27T00:00:00Z", "answer": "Left"}]);
    let verified = json!({"startedAt": "2026-02-28T03:00:00Z", "finishedAt": "2026-02-28T03:10:00Z",
        "files": 4, "bytes": 100, "failed": 2, "gone": 0, "level": "Structure"});
    volumes[0]["status"]["lastVerification"] = verified;
    volumes[1]["status"]["verificationOverdueSince"] = json!("2026-02-28T00:00:00Z");
    volumes[1]["status"]["report"]["masterKey"] = json!({"checkedAt": "2026-03-01T11:59:00Z", "error":
        {"code": "MasterKeyUnavailable", "severity": "Error", "message": "no answer", "remedy": "wait"}});
    let report = made((security, volumes));
    let codes: Vec<&str> = report
        .findings
        .iter()
        .map(|one| one.code.as_str())
        .collect();
    for code in [
        "VerificationFailed",
        "VerificationOverdue",
        "StoreCutOff",
        "DriftLeft",
    ] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    let text = markdown(&report);
    for word in [
        "audit-7",
        "argocd",
        "kubectl-edit",
        "RollingUpdate",
        "in 41 ms",
        "2026-02-28T03:10:00Z",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // A report that was written before is still read.
    let mut old = serde_json::to_value(&report).unwrap();
    for field in ["rotations", "drift"] {
        old.as_object_mut().unwrap().remove(field);
    }
    serde_json::from_value::<Report>(old).unwrap();
}

#[test]
fn it_says_which_master_key_seals_each_store() {
    let (security, mut volumes) = good();
    volumes[0]["status"]["report"]["keyDict"] =
        json!({"under": {"kind": "aws", "key": "alias/tikv"}, "previous": true});
    let report = made((security, volumes));
    let found = report.stores[0].key_dict.clone().unwrap();
    assert_eq!(found.under.unwrap().key, "alias/tikv");
    let text = markdown(&report);
    assert!(text.contains("| key.dict is under |"), "{text}");
    assert!(
        text.contains("| aws alias/tikv (the previous key) |"),
        "{text}"
    );
    let silent = text.lines().find(|line| line.starts_with("| t-1 | yes"));
    assert!(silent.unwrap().ends_with("| unknown |"), "{text}");
}
