//! Certificates whose names a CA checks: what is asked for, what is refused, and how a cluster comes there and away.

use serde_json::{Value, json};

use super::ca::{finish, only, present, world};
use super::world::{World, spec};
use crate::api::v1alpha1::Phase;
use crate::plan::names::Part;
use crate::plan::observed::{IssuerLook, SecretContent};
use crate::tls::parse::CertificateInfo;

fn acme(solver: Value) -> Value {
    json!({"acme": {
        "server": "https://ca.example.com/acme/tikv/directory",
        "rootSecret": {"name": "root", "key": "ca.crt"},
        "domains": ["svc", "tikv-security", "pd"],
        "solver": solver,
    }})
}

fn dns01() -> Value {
    json!({"dns01": {"rfc2136": {
        "server": "ns.example.com", "keyName": "ours", "keySecret": {"name": "tsig", "key": "key"},
    }}})
}

fn name(world: &mut World, issuer: Value) {
    let tls = world.seen.resource.spec.tls.as_mut().unwrap();
    tls.issuer = serde_json::from_value(issuer).unwrap();
    *world.seen.resource.metadata.generation.get_or_insert(1) += 1;
}

fn offer(world: &mut World) -> CertificateInfo {
    let ca = world.certificate(
        "company",
        "company",
        jiff::SignedDuration::from_hours(80_000),
    );
    let (anchor, signer) = (Box::new(ca.clone()), Box::new(ca.clone()));
    world.seen.issuer = IssuerLook::Offers { anchor, signer };
    ca
}

fn leaf(world: &World, part: Part) -> CertificateInfo {
    match &world.seen.secrets[&part.secret("db")].content {
        SecretContent::Leaf { certificate, .. } => certificate.clone(),
        other => panic!("{other:?}"),
    }
}

fn new(issuer: Value) -> World {
    let mut spec = spec();
    spec["tls"]["issuer"] = issuer;
    let mut world = World::new(spec, true);
    offer(&mut world);
    world
}

#[test]
fn only_what_the_ca_can_check_is_asked_for() {
    let mut world = new(acme(dns01()));
    let plan = world.settle();
    assert_eq!(plan.status.phase, Some(Phase::Ready));
    for part in Part::CORE {
        let leaf = leaf(&world, part);
        let ends = [".svc", ".tikv-security"];
        let checked = |name: &String| name == "pd" || ends.iter().any(|end| name.ends_with(end));
        assert!(leaf.dns.iter().all(checked), "{:?}", leaf.dns);
        assert!(leaf.dns.contains(&leaf.common_name.unwrap()));
        assert!(leaf.ips.is_empty());
        let wildcard = leaf.dns.iter().any(|name| name.starts_with("*."));
        assert_eq!(wildcard, part != Part::Client, "{:?}", leaf.dns);
    }
}

#[test]
fn files_prove_no_wildcards_so_each_pod_is_named() {
    let mut world = new(acme(json!({"http01": {}})));
    world.settle();
    let named = |world: &World| -> Vec<String> {
        let dns = leaf(world, Part::Tikv).dns;
        assert!(!dns.iter().any(|name| name.contains('*')), "{dns:?}");
        let pods = dns.into_iter().filter_map(|name| {
            let (pod, _) = name.split_once('.')?;
            let ordinal = pod.rsplit_once('-')?.1;
            ordinal.parse::<u32>().ok()?;
            Some(pod.to_owned())
        });
        pods.collect()
    };
    let before = named(&world);
    assert_eq!(before.len(), 3, "{before:?}");
    let restarts = world
        .log
        .iter()
        .filter(|line| line.starts_with("DeletePod"))
        .count();
    let set = world.seen.tikv.stateful_set.as_mut().unwrap();
    set.spec.as_mut().unwrap().replicas = Some(5);
    for _ in 0..5 {
        world.reconcile(None);
    }
    assert_eq!(named(&world).len(), 5, "the new pods can be dialled");
    let now = world
        .log
        .iter()
        .filter(|line| line.starts_with("DeletePod"))
        .count();
    assert_eq!(now, restarts, "nothing restarted for it");
}

#[test]
fn a_cluster_comes_to_acme_and_away_without_asking_for_what_can_not_be_had() {
    let mut world = world("0s");
    let own = leaf(&world, Part::Tikv);
    assert!(own.dns.contains("localhost") && !own.ips.is_empty());
    name(&mut world, acme(dns01()));
    let company = offer(&mut world);
    finish(&mut world);
    only(&world, &company);
    assert!(!leaf(&world, Part::Tikv).dns.contains("localhost"));

    // The CA is gone; its certificates stay until those of ours are there, with all names.
    name(&mut world, json!({"selfSigned": {}}));
    world.seen.issuer = IssuerLook::Makes;
    finish(&mut world);
    only(&world, &present(&world));
    let back = leaf(&world, Part::Tikv);
    assert!(back.dns.contains("localhost") && !back.ips.is_empty());
    assert!(world.seen.not_issued.is_empty(), "nobody was asked in vain");
    assert_eq!(world.most_away, 1);
}

#[test]
fn what_the_ca_can_not_check_is_refused_before_anything_is_touched() {
    let cases = [
        (
            json!({"extraSans": ["tikv.example.com"]}),
            json!({}),
            "tikv.example.com",
        ),
        (json!({"extraSans": ["10.0.0.1"]}), json!({}), "10.0.0.1"),
        (
            json!({"extraSans": ["*.x.svc"]}),
            json!({"solver": {"http01": {}, "dns01": null}}),
            "*.x.svc",
        ),
        (
            json!({}),
            json!({"domains": ["tikv-security"]}),
            "dialled within the cluster",
        ),
        (
            json!({}),
            json!({"solver": {"http01": {}}}),
            "exactly one solver",
        ),
    ];
    for (tls, acme_changes, words) in cases {
        let mut spec = spec();
        spec["tls"]["issuer"] = acme(dns01());
        merge(&mut spec["tls"], &tls);
        merge(&mut spec["tls"]["issuer"]["acme"], &acme_changes);
        let mut world = World::new(spec, true);
        offer(&mut world);
        let plan = world.reconcile(None);
        assert_eq!(plan.status.phase, Some(Phase::Blocked), "{words}");
        let told = plan.status.message.clone().unwrap();
        assert!(told.contains(words), "{told}");
        assert!(
            !world.log.iter().any(|line| line.starts_with("Issue")),
            "{:?}",
            world.log
        );
    }
}

fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        if value.is_object() && into[key].is_object() {
            merge(&mut into[key], value);
        } else {
            into[key] = value.clone();
        }
    }
}

#[test]
fn names_for_mysql_clients_are_under_the_same_rules() {
    let cases = [
        (dns01(), "db.example.com", "no domain"),
        (dns01(), "10.0.0.1", "addresses"),
        (json!({"http01": {}}), "*.db.svc", "http01"),
    ];
    for (solver, name, words) in cases {
        let mut spec = spec();
        spec["tls"]["issuer"] = acme(solver);
        spec["cluster"]["tidb"] = json!({"statefulSet": {"name": "tidb"}, "mysqlSans": [name]});
        let mut world = World::new(spec, true);
        offer(&mut world);
        let told = world.reconcile(None).status.message.unwrap();
        assert!(told.contains("cluster.tidb.mysqlSans"), "{told}");
        assert!(told.contains(name) && told.contains(words), "{told}");
    }
}
