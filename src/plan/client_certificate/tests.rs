//! Decisions on plain data.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{ClientContent, ClientObserved, ClientPlan, ClientSecret, PasswordState, Stores, plan};
use crate::api::v1alpha1::{Issuer, KeyAlgorithm, condition};
use crate::plan::observed::{AuthorityFacts, SecretContent, SecretFacts};
use crate::plan::revocation::record::Stored;
use crate::tls::leaf::LeafUse;
use crate::tls::parse::CertificateInfo;

mod revoke;

const SHARED: &str = "client.basic.tikv.tikv-security";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn certificate(common_name: &str, from: Timestamp, hours: i64) -> CertificateInfo {
    CertificateInfo {
        serial: "4000000000000000".into(),
        not_before: from,
        not_after: from + SignedDuration::from_hours(hours),
        common_name: Some(common_name.into()),
        issuer: "CA".into(),
        subject: common_name.into(),
        dns: BTreeSet::from(["orders.shop.client.tikv-security".into()]),
        ips: BTreeSet::new(),
        is_ca: false,
        server_auth: false,
        client_auth: true,
        public_key: vec![1],
        key_algorithm: Some(KeyAlgorithm::EcdsaP256),
    }
}

fn ca(serial: &str) -> CertificateInfo {
    CertificateInfo {
        serial: serial.into(),
        is_ca: true,
        public_key: serial.as_bytes().to_vec(),
        ..certificate("CA", now(), 87_600)
    }
}

fn facts_of(ca: CertificateInfo) -> SecretContent {
    SecretContent::Authority(Box::new(AuthorityFacts {
        signer: ca.clone(),
        ends: ca.not_after,
        anchor: ca,
        issuer: Issuer::own(),
    }))
}

fn cluster_secret(content: SecretContent) -> SecretFacts {
    let metadata = json!({"labels": {
        "app.kubernetes.io/managed-by": "tikv-security", "security.tikv.org/name": "basic",
    }});
    SecretFacts {
        metadata: serde_json::from_value(metadata).unwrap(),
        content,
    }
}

fn signer(content: SecretContent) -> (String, SecretFacts) {
    ("basic-ca".into(), cluster_secret(content))
}

/// A request of namespace shop to a cluster of namespace tikv whose `tls` is this.
fn asked(spec: Value, tls: Value) -> ClientObserved {
    let mut wanted = json!({"securityRef": {"name": "basic", "namespace": "tikv"}});
    let mut demands = json!({"issuer": {"selfSigned": {}}});
    for (all, more) in [(&mut wanted, spec), (&mut demands, tls)] {
        let all = all.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
    }
    let good = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "AsDesired", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let conditions: Vec<Value> = condition::ALL.iter().map(|kind| good(kind)).collect();
    let security = json!({
        "metadata": {"name": "basic", "namespace": "tikv", "generation": 3},
        "spec": {
            "environment": "production", "tls": demands,
            "cluster": {"tikv": {"statefulSet": {"name": "t"}}, "pd": {"statefulSet": {"name": "p"}}},
        },
        "status": {"observedGeneration": 3, "conditions": conditions, "pdEndpoints": ["https://pd:2379"]},
    });
    let resource = json!({
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1}, "spec": wanted,
    });
    let client = certificate(SHARED, now(), 720);
    ClientObserved {
        resource: serde_json::from_value(resource).unwrap(),
        namespace_labels: [("team".to_owned(), "shop".to_owned())].into(),
        security: Some(serde_json::from_value(security).unwrap()),
        authority: Some(signer(facts_of(ca("a")))),
        cluster: Some(cluster_secret(SecretContent::Leaf {
            certificate: client,
            trusts: vec![ca("a")],
            root: Box::new(ca("a")),
        })),
        secret: None,
        password: PasswordState::Usable,
        revoked: Stored::Absent,
        exports: std::collections::BTreeMap::new(),
    }
}

fn shop() -> Value {
    json!({"clients": [{"namespaces": ["shop"]}]})
}

/// With a certificate of this age in the Secret.
fn issued(spec: Value, tls: Value, hours_ago: i64) -> ClientObserved {
    let mut observed = asked(spec, tls);
    let from = now() - SignedDuration::from_hours(hours_ago);
    let metadata = json!({
        "name": "orders", "resourceVersion": "7",
        "ownerReferences": [{"apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
            "name": "orders", "uid": "u", "controller": true}],
        "annotations": {"security.tikv.org/applied": "4000000000000000"},
    });
    observed.secret = Some(ClientSecret {
        metadata: serde_json::from_value(metadata).unwrap(),
        content: ClientContent::Valid {
            certificate: certificate(SHARED, from, 720),
            trusts: vec![ca("a")],
            by_present_authority: true,
            stores: Stores::Absent,
        },
    });
    observed
}

/// Status, reason and message of `Ready`.
fn told(plan: &ClientPlan) -> (String, String, String) {
    let ready = plan.status.conditions[0].clone();
    (ready.status, ready.reason, ready.message)
}

fn refused(observed: &ClientObserved, reason: &str, words: &[&str]) {
    let plan = plan(observed, now());
    assert!(plan.action.is_none(), "{reason}: {:?}", plan.action);
    let (status, why, message) = told(&plan);
    assert_eq!((&*status, &*why), ("False", reason), "{message}");
    for word in words {
        assert!(
            message.contains(word),
            "{reason}: {word} is not in: {message}"
        );
    }
    assert_eq!(plan.events[0].reason, reason);
    assert!(plan.events[0].warning);
}

#[test]
fn the_default_is_a_name_that_is_admitted_already_and_a_client_alone() {
    let plan = plan(&asked(json!({}), shop()), now());
    let action = plan.action.unwrap();
    let (leaf, what_for) = action.issue.unwrap();
    assert_eq!(leaf.common_name, SHARED);
    assert_eq!(what_for, LeafUse::Client);
    assert_eq!(
        Vec::from_iter(leaf.dns),
        ["orders.shop.client.tikv-security"]
    );
    assert_eq!(action.metadata.name.as_deref(), Some("orders"));
    let owner = &action.metadata.owner_references.unwrap()[0];
    assert_eq!((&*owner.uid, owner.controller), ("u", Some(true)));
    assert_eq!(action.replaces, None);
}

#[test]
fn what_is_valid_stays_and_is_told() {
    let observed = issued(json!({}), shop(), 1);
    let plan = plan(&observed, now());
    assert!(plan.action.is_none());
    assert_eq!(told(&plan).0, "True");
    let status = &plan.status;
    assert_eq!(status.allowed_since, Some(now()));
    assert_eq!(status.pd_endpoints, ["https://pd:2379"]);
    assert_eq!(status.secret.as_deref(), Some("orders"));
    assert!(plan.requeue <= SignedDuration::from_mins(10));
    // The next look writes nothing.
    let mut later = observed;
    later.resource.status = Some(plan.status.clone());
    let again = super::plan(&later, now() + SignedDuration::from_secs(30));
    assert_eq!(again.status, plan.status);
    assert!(again.events.is_empty(), "{:?}", again.events);
}

#[test]
fn renewal_comes_before_the_end_with_jitter_and_not_before() {
    // A third of 720h before the end, up to a tenth of that earlier.
    for (hours, renews) in [(400, false), (455, false), (481, true), (719, true)] {
        let plan = plan(&issued(json!({}), shop(), hours), now());
        assert_eq!(plan.action.is_some(), renews, "after {hours}h");
        if let Some(action) = &plan.action {
            assert_eq!(action.replaces.as_deref(), Some("7"));
            assert!(action.issue.is_some());
        }
        assert_eq!(
            told(&plan).0,
            "True",
            "what is valid counts while it is renewed"
        );
    }
    let mut moments = BTreeSet::new();
    for serial in ["40000000", "7fffffff", "12345678", "0000abcd"] {
        let mut observed = issued(json!({}), shop(), 0);
        let Some(ClientSecret {
            content: ClientContent::Valid { certificate, .. },
            metadata,
        }) = &mut observed.secret
        else {
            unreachable!()
        };
        certificate.serial = serial.into();
        metadata.annotations = None;
        let at = plan(&observed, now()).status.renew_at.unwrap();
        let after = at.duration_since(now());
        assert!(
            after >= SignedDuration::from_hours(456) && after <= SignedDuration::from_hours(480),
            "{after}"
        );
        moments.insert(at);
    }
    assert!(moments.len() > 1, "all at the same moment: {moments:?}");
}

#[test]
fn another_subject_is_a_renewal_and_what_was_asked_for_counts() {
    let spec = json!({"subject": {"organization": "Shop"}});
    let mut observed = issued(spec, shop(), 1);
    let action = plan(&observed, now()).action.unwrap();
    assert_eq!(action.subject, r#"O="Shop""#);
    assert!(action.issue.is_some());
    // Whether or not the issuer gave it.
    let notes = &mut observed.secret.as_mut().unwrap().metadata.annotations;
    let notes = notes.as_mut().unwrap();
    notes.insert("security.tikv.org/subject".into(), action.subject);
    assert!(plan(&observed, now()).action.is_none());
    observed.resource.spec.subject = None;
    assert!(plan(&observed, now()).action.unwrap().issue.is_some());
    let wrong = issued(json!({"subject": {"country": "de"}}), shop(), 1);
    refused(
        &wrong,
        "InvalidSpec",
        &["spec.subject has C", "two capital letters"],
    );
}

#[test]
fn a_certificate_that_ends_with_its_ca_is_not_renewed_for_ever() {
    let mut observed = issued(json!({}), shop(), 700);
    let mut ending = ca("a");
    ending.not_after = now() + SignedDuration::from_hours(20);
    observed.authority = Some(signer(facts_of(ending)));
    assert!(plan(&observed, now()).action.is_none());
}

#[test]
fn another_ca_issues_anew_and_another_bundle_keeps_the_certificate() {
    let mut observed = issued(json!({}), shop(), 1);
    observed.cluster = Some(cluster_secret(SecretContent::Leaf {
        certificate: certificate(SHARED, now(), 720),
        trusts: vec![ca("a"), ca("b")],
        root: Box::new(ca("a")),
    }));
    let action = plan(&observed, now()).action.unwrap();
    assert!(action.issue.is_none(), "only ca.crt is written");
    observed.authority = Some(signer(facts_of(ca("b"))));
    let Some(ClientSecret {
        content: ClientContent::Valid {
            by_present_authority,
            ..
        },
        ..
    }) = &mut observed.secret
    else {
        unreachable!()
    };
    *by_present_authority = false;
    assert!(plan(&observed, now()).action.unwrap().issue.is_some());
}

#[test]
fn nothing_is_issued_by_a_ca_that_is_not_trusted_or_not_ours() {
    let mut observed = asked(json!({}), shop());
    observed.authority = Some(signer(facts_of(ca("b"))));
    refused(
        &observed,
        "CaNotReady",
        &["demo-ca".replace("demo", "basic").as_str()],
    );
    observed.authority = None;
    refused(&observed, "CaNotReady", &["describe tikvsecurity basic"]);
    let mut foreign = cluster_secret(facts_of(ca("a")));
    foreign.metadata = ObjectMeta::default();
    observed.authority = Some(("basic-ca".into(), foreign));
    refused(&observed, "CaNotReady", &[]);
}

#[test]
fn pkcs12_is_added_and_taken_away_beside_the_same_certificate() {
    let with = json!({"pkcs12": {}});
    let action = plan(&issued(with.clone(), shop(), 1), now())
        .action
        .unwrap();
    assert!(action.issue.is_none() && action.pkcs12);
    let mut observed = issued(json!({}), shop(), 1);
    let Some(ClientSecret {
        content: ClientContent::Valid { stores, .. },
        ..
    }) = &mut observed.secret
    else {
        unreachable!()
    };
    *stores = Stores::Differ;
    let action = plan(&observed, now()).action.unwrap();
    assert!(action.issue.is_none() && !action.pkcs12);
    let mut observed = asked(with, shop());
    observed.password = PasswordState::Unusable("Secret p: it has fewer than 6 characters".into());
    refused(&observed, "PasswordUnusable", &["Secret p"]);
}

#[test]
fn strangers_are_refused_and_told_what_to_ask_for() {
    refused(
        &asked(json!({}), json!({})),
        "NotPermitted",
        &["namespace shop", "tikv/basic", "{namespaces: [shop]}"],
    );
    let mut home = asked(json!({}), json!({}));
    home.resource.metadata.namespace = Some("tikv".into());
    assert!(plan(&home, now()).action.is_some(), "its own namespace may");
    let others = json!({"clients": [{"namespaces": ["billing"]}]});
    refused(&asked(json!({}), others.clone()), "NotPermitted", &[]);
    let labelled = json!({"clients": [{"namespaceLabels": {"team": "shop"}}]});
    assert!(plan(&asked(json!({}), labelled), now()).action.is_some());
    let labelled = json!({"clients": [{"namespaceLabels": {"team": "shop", "tier": "gold"}}]});
    refused(&asked(json!({}), labelled), "NotPermitted", &[]);
    let everyone = json!({"clients": [{"namespaces": ["*"]}]});
    assert!(plan(&asked(json!({}), everyone), now()).action.is_some());
}

#[test]
fn each_bound_of_the_policy_is_named_with_what_to_write() {
    refused(
        &asked(json!({"duration": "800h"}), shop()),
        "NotPermitted",
        &["duration: 720h"],
    );
    let longer = json!({"clients": [{"namespaces": ["shop"], "maxDuration": "24h"}]});
    refused(
        &asked(json!({}), longer),
        "NotPermitted",
        &["duration: 24h"],
    );
    refused(
        &asked(json!({"usages": ["clientAuth", "serverAuth"]}), shop()),
        "NotPermitted",
        &["serverAuth"],
    );
    let one_of_two = json!({"clients": [
        {"namespaces": ["shop"], "maxDuration": "24h"},
        {"namespaces": ["*"], "maxDuration": "9000h"},
    ]});
    assert!(plan(&asked(json!({}), one_of_two), now()).action.is_some());
}

#[test]
fn a_name_of_its_own_must_be_on_the_list_first_and_never_restarts_a_store() {
    let own = json!({"commonName": "orders.shop.example"});
    let clients = json!([{"namespaces": ["shop"], "commonNames": ["*.shop.example"]}]);
    refused(
        &asked(own.clone(), json!({"clients": clients})),
        "NameNotAllowed",
        &["spec.tls.allowedNames", "restarts its stores"],
    );
    refused(
        &asked(own.clone(), shop()),
        "NotPermitted",
        &["orders.shop.example", "Leave spec.commonName out"],
    );
    let listed = json!({"clients": clients, "allowedNames": ["orders.shop.example"]});
    let plan = plan(&asked(own.clone(), listed.clone()), now());
    assert_eq!(
        plan.action.unwrap().issue.unwrap().0.common_name,
        "orders.shop.example"
    );
    let thief = json!({"commonName": "pd.basic.tikv.tikv-security"});
    let all = json!({
        "clients": [{"namespaces": ["shop"], "commonNames": ["*"]}], "allowedNames": ["pd.basic.tikv.tikv-security"],
    });
    refused(&asked(thief, all), "NameReserved", &[]);

    // Until the list is in force everywhere it is not said to be ready.
    let mut observed = issued(own, listed, 1);
    let Some(ClientSecret {
        content: ClientContent::Valid { certificate, .. },
        ..
    }) = &mut observed.secret
    else {
        unreachable!()
    };
    certificate.common_name = Some("orders.shop.example".into());
    let security = observed.security.as_mut().unwrap();
    security.metadata.generation = Some(4);
    let waiting = super::plan(&observed, now());
    assert_eq!(told(&waiting).1, "NotAdmittedYet");
    assert_eq!(waiting.status.allowed_since, None);
    observed.security.as_mut().unwrap().metadata.generation = Some(3);
    let ready = super::plan(&observed, now());
    assert_eq!(told(&ready).0, "True", "{:?}", told(&ready));
    // A later roll of the cluster does not take it back.
    observed.resource.status = Some(ready.status);
    observed.security.as_mut().unwrap().metadata.generation = Some(5);
    let later = super::plan(&observed, now() + SignedDuration::from_mins(1));
    assert_eq!(told(&later).0, "True");
    assert_eq!(later.status.allowed_since, Some(now()));
}

#[test]
fn a_server_may_have_names_of_its_own_namespace_alone() {
    let tls = json!({"clients": [{"namespaces": ["*"], "serverAuth": true}]});
    let with = |namespace: &str, names: Value| {
        let spec = json!({"usages": ["clientAuth", "serverAuth"], "dnsNames": names});
        let mut observed = asked(spec, tls.clone());
        observed.resource.metadata.namespace = Some(namespace.into());
        plan(&observed, now()).action.is_some()
    };
    for (namespace, name, wanted) in [
        ("shop", "orders.shop.svc", true),
        ("shop", "*.orders-peer.shop.svc.cluster.local", true),
        ("shop", "orders.shop", true),
        ("shop", "localhost", true),
        ("shop", "basic-pd.tikv.svc", false),
        ("shop", "basic-pd.tikv", false),
        ("shop", "xshop.svc", false),
        ("shop", "example.com", false),
        ("svc", "basic-pd.tikv.svc", false),
        ("local", "basic-pd.tikv.svc.cluster.local", false),
        ("svc", "orders.svc.svc", true),
    ] {
        assert_eq!(
            with(namespace, json!([name])),
            wanted,
            "{namespace}: {name}"
        );
    }
    let spec = json!({"usages": ["clientAuth", "serverAuth"], "ipAddresses": ["10.0.0.1"]});
    refused(&asked(spec, tls), "InvalidSpec", &["10.0.0.1"]);
}

#[test]
fn a_foreign_secret_is_never_written_to() {
    let mut observed = issued(json!({}), shop(), 719);
    let secret = observed.secret.as_mut().unwrap();
    secret.metadata.owner_references = None;
    refused(
        &observed,
        "ForeignObject",
        &["Secret orders", "spec.secretName"],
    );
    let plan = plan(&observed, now());
    assert_eq!(plan.status.serial, None, "it is not ours to tell of");
}

#[test]
fn what_is_refused_later_is_kept_and_said_to_be_valid_still() {
    let mut observed = issued(json!({}), shop(), 1);
    let ready = plan(&observed, now()).status;
    observed.resource.status = Some(ready.clone());
    let tls = observed
        .security
        .as_mut()
        .unwrap()
        .spec
        .tls
        .as_mut()
        .unwrap();
    tls.clients.clear();
    refused(&observed, "NotPermitted", &[]);
    let plan = plan(&observed, now());
    assert_eq!(plan.status.not_after, ready.not_after);
    assert_eq!(plan.status.allowed_since, ready.allowed_since);
}

#[test]
fn what_does_not_exist_is_named() {
    let mut observed = asked(json!({}), shop());
    observed.security.as_mut().unwrap().spec.tls = None;
    refused(&observed, "TlsNotRequested", &["tikv/basic"]);
    observed.security = None;
    refused(
        &observed,
        "SecurityNotFound",
        &["tikv/basic", "securityRef"],
    );
}

#[test]
fn what_somebody_broke_or_exchanged_is_issued_anew() {
    let mut observed = issued(json!({}), shop(), 1);
    let exchanged = [("security.tikv.org/applied".to_owned(), "beef".to_owned())];
    observed.secret.as_mut().unwrap().metadata.annotations = Some(exchanged.into());
    assert!(plan(&observed, now()).action.unwrap().issue.is_some());
    observed.secret.as_mut().unwrap().content =
        ClientContent::Unusable("it has no key tls.key".into());
    let plan = plan(&observed, now());
    assert!(plan.action.unwrap().issue.is_some());
    let message = &plan.status.conditions[0].message;
    assert!(message.contains("it has no key tls.key"), "{message}");
}
