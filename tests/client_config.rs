//! `tikv-security client-config` on a file.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn certificate(ready: bool) -> Value {
    json!({
        "apiVersion": "security.tikv.org/v1alpha1", "kind": "TikvClientCertificate",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"securityRef": {"name": "basic", "namespace": "tikv"}, "secretName": "orders-tikv"},
        "status": {
            "conditions": [{
                "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "NotPermitted",
                "message": "namespace shop may have none", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
            "commonName": "client.basic.tikv.tikv-security",
            "pdEndpoints": ["https://basic-pd-0.basic-pd-peer.tikv.svc:2379"],
        },
    })
}

fn run(file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tikv-security"));
    let command = command.arg("client-config").args(more).arg("--from");
    command.arg(file).output().unwrap()
}

fn write(dir: &TempDir, object: &Value) -> std::path::PathBuf {
    let path = dir.path().join("object.yaml");
    std::fs::write(&path, object.to_string()).unwrap();
    path
}

#[test]
fn prints_for_a_ready_certificate_also_from_a_list() {
    let dir = TempDir::new().unwrap();
    let list = json!({"kind": "List", "items": [{"kind": "Other"}, certificate(true)]});
    let path = write(&dir, &list);
    for client in ["tidb", "go", "rust", "java", "python", "tikv-ctl", "mysql"] {
        let output = run(&path, &["orders", "--namespace", "shop", "--for", client]);
        assert!(output.status.success(), "{client}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("orders-tikv"), "{client}: {text}");
        let pd = text.contains("basic-pd-0.basic-pd-peer.tikv.svc");
        assert_eq!(pd, client != "mysql", "{client}: {text}");
    }
}

#[test]
fn what_is_not_ready_is_told_and_has_an_exit_code() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, &certificate(false));
    let output = run(&path, &["orders", "--for", "go"]);
    assert_eq!(output.status.code(), Some(8));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("namespace shop may have none"), "{said}");
    for (name, space) in [("billing", "shop"), ("orders", "tikv")] {
        let output = run(&path, &[name, "--namespace", space, "--for", "go"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn the_python_that_is_printed_is_python() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, &certificate(true));
    let output = run(&path, &["orders", "--for", "python"]);
    let script = dir.path().join("snippet.py");
    std::fs::write(&script, output.stdout).unwrap();
    let parsed = Command::new("python3")
        .args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"])
        .arg(&script)
        .output()
        .unwrap();
    assert!(parsed.status.success(), "{parsed:?}");
}
