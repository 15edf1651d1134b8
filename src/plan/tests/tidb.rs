//! Clusters with TiDB: two sets of certificates, one of which it reads at its start only.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::ca::{begin, finish, only, present, under_way};
use super::world::{World, spec};
use crate::api::v1alpha1::Phase;
use crate::plan::action::{Action, Plan};
use crate::plan::mysql;
use crate::plan::names::{MYSQL_PORT, Part};
use crate::plan::observed::SecretContent;
use crate::tikv::tikv_toml::text_at;
use crate::tls::leaf::LeafSpec;

pub(super) fn named(mut spec: Value) -> Value {
    spec["cluster"]["tidb"] = json!({
        "statefulSet": {"name": "tidb"}, "services": ["sql"], "mysqlSans": ["db.example.com", "10.1.2.3"],
    });
    spec
}

fn settled() -> World {
    let mut spec = named(spec());
    spec["tls"]["ca"] = json!({"overlap": "0s"});
    let mut world = World::new(spec, true);
    world.settle();
    world
}

fn deleted(world: &World, from: usize) -> Vec<&str> {
    let lines = world.log[from..].iter();
    lines
        .filter_map(|line| line.strip_prefix("DeletePod "))
        .collect()
}

fn serial(world: &World, part: Part) -> String {
    match &world.seen.secrets[&part.secret("db")].content {
        SecretContent::Leaf { certificate, .. } => certificate.serial.clone(),
        other => panic!("{other:?}"),
    }
}

fn signer(world: &World) -> String {
    match &world.seen.secrets[&Part::TidbServer.secret("db")].content {
        SecretContent::Leaf { certificate, .. } => certificate.issuer.clone(),
        other => panic!("{other:?}"),
    }
}

fn issued(plans: &[Plan], part: Part) -> Vec<LeafSpec> {
    let actions = plans.iter().flat_map(|plan| &plan.actions);
    let of = actions.filter_map(|action| match action {
        Action::IssueLeaf { metadata, spec, .. } if metadata.name == Some(part.secret("db")) => {
            Some(spec.clone())
        }
        _ => None,
    });
    of.collect()
}

#[test]
fn a_live_cluster_goes_over_to_tls_with_its_tidb() {
    let mut world = World::new(named(spec()), true);
    let plan = world.settle();
    assert_eq!(plan.status.certificates.len(), 7);
    for one in plan
        .status
        .certificates
        .iter()
        .filter(|one| one.name.contains("tidb"))
    {
        assert_eq!(one.served.as_deref(), Some("3/3"), "{one:?}");
    }
    let together = deleted(&world, 0);
    assert_eq!(
        together.len(),
        12,
        "the agents, then all nine: {together:?}"
    );
    let name = format!("{:?}", world.seen.tidb.stateful_set);
    let map = world.seen.tidb.config_maps.values();
    let mut map = map.filter(|map| map.immutable == Some(true));
    let map = map.next().unwrap();
    assert!(name.contains(map.metadata.name.as_deref().unwrap()));
    let toml = &map.data.as_ref().unwrap()["tidb.toml"];
    let read = |key: &str| text_at(toml, &["security", key]).unwrap().unwrap();
    assert_eq!(read("cluster-ssl-cert"), "/var/lib/tidb-tls/tls.crt");
    assert_eq!(read("ssl-cert"), "/var/lib/tidb-server-tls/tls.crt");
    assert!(toml.contains("client.db.prod.tikv-security"), "{toml}");
    let stores = world.seen.tikv.config_maps.values();
    let stores: Vec<_> = stores
        .filter_map(|map| map.data.as_ref()?.get("tikv.toml"))
        .collect();
    let admitted = stores
        .iter()
        .filter(|text| text.contains("tidb.db.prod.tikv-security"));
    assert!(admitted.count() > 0, "TiKV admits TiDB");
    assert!(stores.iter().all(|text| !text.contains("tidb-server.db")));
    let pod = world.seen.tidb.pods[0].spec.as_ref().unwrap();
    assert_eq!(pod.termination_grace_period_seconds, Some(55));
    let probe = pod.containers[0].readiness_probe.as_ref().unwrap();
    assert!(probe.http_get.is_none() && probe.tcp_socket.is_some());
}

#[test]
fn each_side_has_the_names_by_which_it_is_reached() {
    let mut world = World::new(named(spec()), true);
    let mut plans = Vec::new();
    for _ in 0..5 {
        plans.push(world.reconcile(None));
    }
    let has = |spec: &LeafSpec, name: &str| spec.dns.contains(name);
    let cluster = &issued(&plans, Part::Tidb)[0];
    let server = &issued(&plans, Part::TidbServer)[0];
    for spec in [cluster, server] {
        for name in [
            "tidb",
            "tidb.prod.svc",
            "*.tidb-peer.prod.svc",
            "sql.prod.svc.cluster.local",
            "localhost",
        ] {
            assert!(has(spec, name), "{name} is not in {:?}", spec.dns);
        }
    }
    assert!(has(server, "db.example.com") && !has(cluster, "db.example.com"));
    assert!(server.ips.contains(&"10.1.2.3".parse().unwrap()));
    assert_eq!(server.common_name, "tidb-server.db.prod.tikv-security");
}

#[test]
fn a_renewal_restarts_tidb_alone_one_pod_after_the_other() {
    let mut world = settled();
    let before = [Part::Tidb, Part::TidbServer, Part::Pd].map(|part| serial(&world, part));
    let from = world.log.len();
    world.now += SignedDuration::from_hours(500);
    world.kubernetes();
    let (mut notes, mut plans) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let plan = world.reconcile(None);
        notes.extend(plan.events.clone());
        plans.push(plan);
    }
    let after = [Part::Tidb, Part::TidbServer, Part::Pd].map(|part| serial(&world, part));
    assert!(before.iter().zip(&after).all(|(old, new)| old != new));
    assert_eq!(deleted(&world, from), ["tidb-2", "tidb-1", "tidb-0"]);
    let told = notes
        .iter()
        .filter(|note| note.message.contains(mysql::RESTART));
    assert_eq!(told.count(), 3, "{notes:?}");
    assert_eq!(issued(&plans, Part::Tidb).len(), 1);
    assert_eq!(issued(&plans, Part::TidbServer).len(), 1);
    let plan = world.reconcile(None);
    assert_eq!(plan.status.phase, Some(Phase::Ready));
}

#[test]
fn until_it_restarted_the_status_says_what_it_serves() {
    let mut world = settled();
    world.seen.resource.spec.rollout.paused = true;
    world.seen.resource.spec.rotate.certificates = Some("now".into());
    for _ in 0..5 {
        world.reconcile(None);
    }
    let status = world.reconcile(None).status;
    let server = status.certificates.iter();
    let mut server = server.filter(|one| one.name == "db-tidb-server-tls");
    let server = server.next().unwrap();
    assert_eq!(server.served.as_deref(), Some("0/3"));
    assert!(
        server.not_served[0].starts_with("tidb-0:4000: serves "),
        "{server:?}"
    );
    let waits = status.rollout.waiting_for.unwrap();
    assert_eq!(waits, "rollout.paused to become false");
}

#[test]
fn a_port_that_serves_something_else_after_its_restart_is_told_and_left() {
    let mut world = settled();
    world.seen.resource.spec.rotate.certificates = Some("now".into());
    for _ in 0..60 {
        world.reconcile(None);
    }
    let from = world.log.len();
    for _ in 0..20 {
        let other = world.seen.served.iter_mut();
        for port in other.filter(|port| port.port == MYSQL_PORT) {
            port.result.as_mut().unwrap().serial = "f00".into();
        }
        let plan = crate::plan::plan(&world.seen, world.now);
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        let ready = plan
            .status
            .conditions
            .iter()
            .find(|one| one.type_ == "CertificatesReady");
        assert_eq!(ready.unwrap().reason, "NotServed");
        world.now += SignedDuration::from_mins(1);
        world.kubernetes();
    }
    assert!(deleted(&world, from).is_empty());
}

#[test]
fn a_rotation_of_the_ca_restarts_each_pod_once_a_step() {
    let mut world = settled();
    let from = world.log.len();
    world.seen.resource.spec.rotate.ca = Some("yearly".into());
    begin(&mut world);
    finish(&mut world);
    only(&world, &present(&world));
    let tidb = deleted(&world, from);
    let tidb: Vec<_> = tidb.iter().filter(|pod| pod.starts_with("tidb")).collect();
    assert_eq!(tidb.len(), 9, "bundle, leaves, drop: {tidb:?}");
    for part in [Part::Tidb, Part::TidbServer] {
        let processes = world.processes.values().filter(|one| one.part == part);
        let loaded: Vec<_> = processes.map(|one| &one.trusts_at_start).collect();
        assert_eq!(loaded.len(), 3);
        assert!(loaded.iter().all(|loaded| loaded.len() == 1), "{loaded:?}");
    }
}

/// What the port shows then says nothing of whom the process trusts.
#[test]
fn in_a_rotation_of_the_ca_it_restarts_also_where_somebody_reloads_the_port() {
    let mut world = settled();
    world.reloads = true;
    let from = world.log.len();
    world.seen.resource.spec.rotate.certificates = Some("now".into());
    world.settle();
    assert!(
        deleted(&world, from).is_empty(),
        "nothing is left to be read"
    );
    world.seen.resource.spec.rotate.ca = Some("yearly".into());
    begin(&mut world);
    finish(&mut world);
    only(&world, &present(&world));
    let tidb = deleted(&world, from);
    let tidb = tidb.iter().filter(|pod| pod.starts_with("tidb"));
    assert_eq!(tidb.count(), 9);
}

#[test]
fn an_abandoned_rotation_leaves_nothing_of_the_next_ca_in_tidb() {
    let mut world = settled();
    let old = present(&world);
    world.seen.resource.spec.rotate.ca = Some("yearly".into());
    begin(&mut world);
    while signer(&world) == old.subject {
        world.reconcile(None);
    }
    assert!(under_way(&world));
    world.seen.resource.spec.rotate.ca = None;
    finish(&mut world);
    only(&world, &old);
    let mut tidb = world
        .processes
        .values()
        .filter(|one| one.part == Part::Tidb);
    assert!(tidb.all(|one| one.trusts_at_start.len() == 1));
}

#[test]
fn tidb_that_comes_later_waits_until_every_store_admits_it() {
    let mut world = World::new(spec(), true);
    world.settle();
    let with = World::new(named(spec()), true);
    world.seen.tidb = with.seen.tidb.clone();
    world.seen.resource.spec = with.seen.resource.spec.clone();
    let from = world.log.len();
    let mut ready_stores = Vec::new();
    for _ in 0..300 {
        let plan = world.reconcile(None);
        let patched = plan.actions.iter().any(
            |action| matches!(action, Action::PatchStatefulSet { name, .. } if name == "tidb"),
        );
        if patched {
            let stores = deleted(&world, from);
            ready_stores.push(stores.iter().filter(|pod| pod.starts_with("tikv")).count());
        }
    }
    assert_eq!(ready_stores, [3], "after all stores, once");
    let order = deleted(&world, from);
    assert_eq!(order[3..], ["tidb-2", "tidb-1", "tidb-0"], "{order:?}");
    world.settle();
}

#[test]
fn what_is_about_to_end_does_not_wait_for_a_store_that_is_lost() {
    let mut world = settled();
    world.pd().stores[0].state = crate::tikv::pd::types::StoreState::Disconnected;
    world.seen.resource.spec.rotate.certificates = Some("now".into());
    let from = world.log.len();
    for _ in 0..30 {
        world.reconcile(None);
    }
    assert!(deleted(&world, from).is_empty(), "there is time");
    world.now += SignedDuration::from_hours(650);
    world.kubernetes();
    for _ in 0..30 {
        world.reconcile(None);
    }
    assert_eq!(deleted(&world, from), ["tidb-2", "tidb-1", "tidb-0"]);
}

#[test]
fn certificates_are_renewed_while_tidb_can_not_be_found() {
    let mut world = settled();
    world.seen.tidb = crate::plan::observed::WorkloadFacts::default();
    let before = serial(&world, Part::Tikv);
    world.now += SignedDuration::from_hours(500);
    world.kubernetes();
    for _ in 0..10 {
        world.reconcile(None);
    }
    assert_ne!(serial(&world, Part::Tikv), before);
    let status = world.reconcile(None).status;
    let blocked = status
        .conditions
        .iter()
        .find(|one| one.type_ == "Blocked")
        .unwrap();
    assert_eq!(blocked.reason, "TargetNotFound");
    assert!(
        blocked.message.contains("cluster.tidb.statefulSet.name"),
        "{}",
        blocked.message
    );
}

#[test]
fn cut_before_any_action_it_ends_the_same() {
    for cut in 0..4 {
        for at in (0..80).step_by(7) {
            let mut world = World::new(named(spec()), true);
            for _ in 0..at {
                world.reconcile(None);
            }
            world.reconcile(Some(cut));
            world.settle();
        }
    }
}
