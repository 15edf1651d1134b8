//! `tikv-security render`: what the operator would apply, from files alone.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;

fn example(name: &str) -> String {
    fs::read_to_string(Path::new("manifests/examples").join(name)).unwrap()
}

/// TiKV and PD as people run them, for the example of that name.
fn workloads(prefix: &str) -> String {
    let part = |part: &str, port: u16| {
        let urls = match part {
            "pd" => {
                ", '--client-urls=http://0.0.0.0:2379', '--peer-urls=http://0.0.0.0:2380', \
                      '--advertise-client-urls=http://$(POD).pd:2379', '--advertise-peer-urls=http://$(POD).pd:2380'"
            }
            _ => "",
        };
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {part}-config, namespace: tikv}}\ndata:\n  {part}.toml: |\n    \
             # written by hand\n    log-level = \"info\"\n---\napiVersion: apps/v1\nkind: StatefulSet\n\
             metadata: {{name: {prefix}{part}, namespace: tikv}}\nspec:\n  serviceName: {prefix}{part}-peer\n  replicas: 3\n  \
             selector: {{matchLabels: {{app: {part}}}}}\n  template:\n    metadata: {{labels: {{app: {part}}}}}\n    spec:\n      \
             containers:\n      - name: {part}\n        image: pingcap/{part}:v8.5.7\n        command: [/{part}-server, \
             --config=/etc/{part}/{part}.toml, --data-dir=/var/lib/{part}{urls}]\n        ports: [{{containerPort: {port}}}]\n        \
             volumeMounts:\n        - {{name: data, mountPath: /var/lib/{part}}}\n        - {{name: config, mountPath: /etc/{part}}}\n      \
             volumes:\n      - name: config\n        configMap: {{name: {part}-config}}\n  volumeClaimTemplates:\n  \
             - metadata: {{name: data}}\n    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
        )
    };
    part("tikv", 20160) + &part("pd", 2379)
}

fn render(texts: &[String]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let write = |(number, text): (usize, &String)| -> PathBuf {
        let path = dir.path().join(format!("{number}.yaml"));
        fs::write(&path, text).unwrap();
        path
    };
    let files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
    Command::new(env!("CARGO_BIN_EXE_tikv-security"))
        .arg("render")
        .args(files)
        .args(["--image", "registry.example/tikv-security:1"])
        .output()
        .unwrap()
}

fn documents(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let all = serde_yaml_ng::Deserializer::from_str(&text);
    let all = all.map(|one| Value::deserialize(one).unwrap());
    all.filter(|one| !one.is_null()).collect()
}

#[test]
fn both_workloads_come_out_patched_and_nothing_secret_with_them() {
    let output = render(&[example("new-cluster.yaml"), workloads("basic-")]);
    let all = documents(&output);
    let sets: Vec<&Value> = all
        .iter()
        .filter(|one| one["kind"] == "StatefulSet")
        .collect();
    let names: Vec<&str> = sets
        .iter()
        .map(|set| set["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"basic-tikv") && names.contains(&"basic-pd"));
    let tikv = sets
        .iter()
        .find(|set| set["metadata"]["name"] == "basic-tikv")
        .unwrap();
    let pod = &tikv["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"], "pingcap/tikv:v8.5.7",
        "what is not ours stays"
    );
    let agent = &pod["initContainers"][0];
    assert_eq!(agent["image"], "registry.example/tikv-security:1");
    assert_eq!(agent["restartPolicy"], "Always");
    let maps = all.iter().filter(|one| one["kind"] == "ConfigMap");
    let text: String = maps.map(ToString::to_string).collect();
    assert!(
        text.contains("# written by hand") && text.contains("aes256-ctr"),
        "{text}"
    );
    assert!(all.iter().all(|one| one["kind"] != "Secret"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("# Secret basic-ca: the CA") && !said.contains("PRIVATE KEY"),
        "{said}"
    );
}

#[test]
fn the_same_files_give_the_same_text() {
    let files = [example("new-cluster.yaml"), workloads("basic-")];
    assert_eq!(render(&files).stdout, render(&files).stdout);
}

#[test]
fn what_the_operator_would_refuse_is_refused_with_its_words() {
    let refused = |texts: &[String]| {
        let output = render(texts);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&[example("new-cluster.yaml")]);
    assert!(said.contains("basic-tikv"), "{said}");
    let said = refused(&[workloads("basic-")]);
    assert!(said.contains("exactly one"), "{said}");
    let wrong = example("new-cluster.yaml").replace("aes256-ctr", "rot13");
    let said = refused(&[wrong, workloads("basic-")]);
    assert!(
        said.contains("TikvSecurity") && said.contains("rot13"),
        "{said}"
    );
}
