//! The status port: what operators and probes read (facts, TLS §6; encryption at rest §7.2, §7.3).

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::net::server::{Call, Reply};
use crate::options::Options;
use crate::pd::state::VERSION;
use crate::replica::Replicas;

// Open to every caller, whatever the name in the certificate.
const OPEN: [&str; 4] = ["/metrics", "/status", "/config", "/debug/pprof/profile"];

/// Answers a request.
pub async fn handle(store: Arc<Replicas>, config: Arc<Value>, call: Call) -> Reply {
    let path = call.path.as_str();
    if !call.admitted && !OPEN.contains(&path) {
        return Reply::Http(403, b"certificate role error".to_vec());
    }
    match (call.method.as_str(), path) {
        ("GET", "/status") => Reply::Http(200, Vec::new()),
        ("GET", "/ready") => ready(&store),
        ("GET", "/config") => Reply::Http(200, serde_json::to_vec(&*config).unwrap_or_default()),
        ("GET", "/engine_type") => Reply::Http(200, b"raft-kv".to_vec()),
        ("GET", "/metrics") => Reply::Http(200, metrics(&store).into_bytes()),
        _ => Reply::Http(404, b"path not found\n".to_vec()),
    }
}

/// The configuration as TiKV shows it, with everything under `security.encryption` in the clear.
pub fn config(options: &Options, addresses: &[(&str, &str)], data: &str) -> Value {
    let mut config = options.json();
    if !config.is_object() {
        config = json!({});
    }
    for (name, address) in addresses {
        config["server"][*name] = json!(address);
    }
    config["storage"]["data-dir"] = json!(data);
    let defaults = json!({
        "data-encryption-method": "plaintext", "data-key-rotation-period": "7d", "enable-file-dictionary-log": true,
        "file-dictionary-rewrite-threshold": 1_000_000, "master-key": {"type": "plaintext"},
        "previous-master-key": {"type": "plaintext"},
    });
    for name in ["ca-path", "cert-path", "key-path"] {
        fill(&mut config["security"][name], json!(""));
    }
    fill(&mut config["security"]["cert-allowed-cn"], json!([]));
    for (name, value) in defaults.as_object().into_iter().flatten() {
        fill(&mut config["security"]["encryption"][name], value.clone());
    }
    config
}

fn fill(place: &mut Value, value: Value) {
    if place.is_null() {
        *place = value;
    }
}

fn ready(store: &Replicas) -> Reply {
    let (connected, caught_up) = (store.id() != 0, store.caught_up());
    let body = json!({"connected_to_pd": connected, "raft_peers_caught_up": caught_up});
    Reply::Http(
        if connected && caught_up { 200 } else { 500 },
        body.to_string().into_bytes(),
    )
}

fn metrics(store: &Replicas) -> String {
    let figures = store.keys.figures();
    let mut text = String::new();
    let mut gauge = |name: &str, values: &[(&str, u64)]| {
        _ = writeln!(text, "# TYPE {name} gauge");
        for (labels, value) in values {
            _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let led = store.led() as u64;
    gauge(
        "tikv_raftstore_region_count",
        &[
            ("{type=\"leader\"}", led),
            ("{type=\"region\"}", store.count() as u64),
        ],
    );
    gauge(
        "tikv_encryption_is_initialized",
        &[("", u64::from(figures.initialized))],
    );
    gauge(
        "tikv_encryption_data_key_storage_total",
        &[("", figures.keys as u64)],
    );
    gauge("tikv_encryption_file_num", &[("", figures.files as u64)]);
    let sizes = [
        ("{name=\"file_dictionary\"}", figures.sizes[0]),
        ("{name=\"key_dictionary\"}", figures.sizes[1]),
    ];
    gauge("tikv_encryption_meta_file_size_bytes", &sizes);
    let name = "tikv_encryption_write_read_file_duration_seconds";
    _ = writeln!(text, "# TYPE {name} histogram");
    for (file, operation, count, seconds) in figures.durations {
        let labels = format!("type=\"{file}\",operation=\"{operation}\"");
        _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        _ = writeln!(
            text,
            "{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {count}"
        );
    }
    _ = writeln!(
        text,
        "# TYPE tikv_info gauge\ntikv_info{{version=\"{VERSION}\"}} 1"
    );
    text
}
