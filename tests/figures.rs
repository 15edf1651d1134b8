//! Measurements that take minutes and want a quiet machine: `cargo test --release --test figures -- --ignored --nocapture`. The real
//! program against a real API server. `TIKV_SECURITY_BIN` names another program than the one that cargo built.

// The types of nested futures are deep.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod reconcile;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use reconcile::apiserver::ApiServer;
use reconcile::world::World;
use serde_json::json;
use tikv_security::api::v1alpha1::TikvClientCertificate;

/// Client certificates that are asked for at once.
const CERTIFICATES: usize = 500;
/// Secrets of somebody else in the same namespace, and their size in bytes.
const SECRETS: usize = 300;
const SECRET_SIZE: usize = 1_000_000;
/// What the project wants.
const GOAL: Duration = Duration::from_mins(1);

/// The real program, ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `/proc/PID/status` says of the memory, in KiB.
struct Memory {
    resident: u64,
    anonymous: u64,
    most: u64,
}

impl Program {
    fn start(directory: &Path, namespace: &str) -> Self {
        let config = directory.join("kubeconfig");
        std::fs::write(&config, ApiServer::shared().kubeconfig()).unwrap();
        let built = env!("CARGO_BIN_EXE_tikv-security").to_owned();
        let program = std::env::var("TIKV_SECURITY_BIN").unwrap_or(built);
        let child = Command::new(program)
            .args(["operator", "--image", "registry.test/tikv-security:test"])
            .args(["--namespaces", namespace, "--lease-namespace", namespace])
            .args(["--health-address", "127.0.0.1:0"])
            .env("KUBECONFIG", config)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn memory(&self) -> Memory {
        let path = format!("/proc/{}/status", self.0.id());
        let text = std::fs::read_to_string(path).unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Memory {
            resident: field("VmRSS:"),
            anonymous: field("RssAnon:"),
            most: field("VmHWM:"),
        }
    }

    fn tell(&self, when: &str) -> Memory {
        let memory = self.memory();
        println!(
            "{when}: {:.1} MB resident, {:.1} MB of it its own, at most {:.1} MB so far",
            megabytes(memory.resident),
            megabytes(memory.anonymous),
            megabytes(memory.most)
        );
        memory
    }
}

fn megabytes(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) * 1024.0 / 1e6
}

async fn secured(directory: &Path) -> (World, Program) {
    let world = World::new(1).await;
    world
        .secure(json!({
            "environment": "development",
            "tls": {"issuer": {"selfSigned": {}}},
            "rollout": {"allowDowntime": true, "settle": "0s"},
        }))
        .await;
    let program = Program::start(directory, &world.namespace);
    world.until_condition("Ready", "True").await;
    (world, program)
}

fn asked(n: usize) -> TikvClientCertificate {
    let object = json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
        "metadata": {"name": format!("app-{n}")}, "spec": {"securityRef": {"name": "demo"}},
    });
    serde_json::from_value(object).unwrap()
}

async fn ready(api: &Api<TikvClientCertificate>) -> usize {
    let all = api.list(&ListParams::default()).await.unwrap();
    let ready = all.iter().filter(|one| {
        let status = one.status.as_ref();
        status.is_some_and(|status| status.conditions.iter().any(|one| one.status == "True"))
    });
    ready.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn certificates_of_many_clients_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (world, program) = secured(directory.path()).await;
    let api: Api<TikvClientCertificate> = world.api();
    let begun = Instant::now();
    stream::iter(0..CERTIFICATES)
        .for_each_concurrent(16, async |n| {
            api.create(&PostParams::default(), &asked(n)).await.unwrap();
        })
        .await;
    println!("{CERTIFICATES} objects made in {:?}", begun.elapsed());
    let mut done = 0;
    while done < CERTIFICATES {
        tokio::time::sleep(Duration::from_millis(500)).await;
        done = ready(&api).await;
        println!("{:5.1} s: {done} Ready", begun.elapsed().as_secs_f64());
        assert!(begun.elapsed() < GOAL * 10, "it does not end");
    }
    let took = begun.elapsed();
    println!(
        "{CERTIFICATES} certificates Ready {took:?} after the first was asked for; goal {GOAL:?}"
    );
    program.tell("with them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn memory_beside_many_large_secrets_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let (world, mut program) = secured(directory.path()).await;
    // Memory is measured at these ages of the program, not when something is over: there is no condition to wait for.
    tokio::time::sleep(Duration::from_secs(20)).await;
    program.tell("without");
    let api: Api<Secret> = world.api();
    stream::iter(0..SECRETS)
        .for_each_concurrent(4, async |n| {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(format!("large-{n}")),
                    ..ObjectMeta::default()
                },
                data: Some([("blob".to_owned(), ByteString(vec![0x5a; SECRET_SIZE]))].into()),
                ..Secret::default()
            };
            api.create(&PostParams::default(), &secret).await.unwrap();
        })
        .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    program.tell("with the Secrets, a minute later");
    // From the start: a first list of everything is when memory is needed most.
    drop(program);
    program = Program::start(directory.path(), &world.namespace);
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.until_condition("Ready", "True").await;
    program.tell("started anew beside them, a minute later");
}
