//! `tikv-security report` and `diff`, from files as `kubectl get` writes them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const OBJECTS: &str = r"
apiVersion: v1
kind: List
items:
- apiVersion: security.tikv.org/v1alpha1
  kind: TikvSecurity
  metadata: {name: basic, namespace: tikv, uid: u-1, generation: 1}
  spec:
    environment: staging
    cluster: {tikv: {statefulSet: {name: t}}, pd: {statefulSet: {name: p}}}
    encryption: {method: aes256-ctr, masterKey: {awsKms: {keyId: alias/tikv, region: eu-central-1}}}
  status:
    observedGeneration: 1
    encryption: {method: aes256-ctr, stores: 1/1, storesTotal: 1, storesAsDesired: 1, storesUnknown: 0, bytes: 9,
      encryptedBytes: 9, plaintextBytes: 0, encrypted: 100%}
- apiVersion: security.tikv.org/v1alpha1
  kind: TikvVolume
  metadata: {name: t-0, namespace: tikv}
  spec: {security: basic, pod: t-0, method: aes256-ctr, reencrypt: true, generation: 1}
  status:
    report: {version: 0.1.0, dataDir: /var/lib/tikv, desiredGeneration: 1, phase: Watching, gateOpen: true,
      journalOpen: false, satisfied: true, measuredAt: MEASURED,
      coverage: {files: 1, bytes: 9, encryptedBytes: 9, plaintextBytes: 0, byKey: []}}
";

fn command(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tikv-security"))
        .current_dir(dir)
        .env_remove("KUBECONFIG")
        .args(arguments)
        .output()
        .unwrap()
}

fn tool(dir: &Path, program: &str, arguments: &[&str]) {
    let done = Command::new(program)
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn a_signed_report_is_what_others_can_check() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let now = jiff::Timestamp::now().to_string();
    fs::write(dir.join("objects.yaml"), OBJECTS.replace("MEASURED", &now)).unwrap();
    tool(
        dir,
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "key.pem",
        ],
    );
    tool(
        dir,
        "openssl",
        &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"],
    );
    for (form, file) in [
        ("json", "report.json"),
        ("markdown", "report.md"),
        ("html", "report.html"),
    ] {
        let done = command(
            dir,
            &[
                "report",
                "basic",
                "--from",
                "objects.yaml",
                "--output",
                form,
                "--to",
                file,
                "--signing-key",
                "key.pem",
            ],
        );
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let (digest, signature) = (format!("{file}.sha256"), format!("{file}.sig"));
        tool(dir, "sha256sum", &["--check", &digest]);
        tool(
            dir,
            "openssl",
            &[
                "dgst",
                "-sha256",
                "-verify",
                "public.pem",
                "-signature",
                &signature,
                file,
            ],
        );
    }
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["atRest"]["verdict"], "Proven", "{report}");
    assert_eq!(report["inTransit"]["verdict"], "NotAsked");
    let same = command(dir, &["diff", "report.json", "report.json"]);
    assert!(same.status.success());
    assert_eq!(
        String::from_utf8_lossy(&same.stdout),
        "tikv/basic and tikv/basic are protected alike\n"
    );
}

#[test]
fn what_is_not_proven_has_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let objects = dir.path().join("objects.yaml");
    fs::write(
        &objects,
        OBJECTS.replace("MEASURED", "2020-01-01T00:00:00Z"),
    )
    .unwrap();
    let done = command(dir.path(), &["report", "basic", "--from", "objects.yaml"]);
    assert_eq!(done.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&done.stdout).contains("NOT PROVEN"));
}

#[test]
fn bad_input_is_refused_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("objects.yaml"), OBJECTS).unwrap();
    fs::write(
        dir.join("good.yaml"),
        OBJECTS.replace("MEASURED", "2020-01-01T00:00:00Z"),
    )
    .unwrap();
    fs::write(dir.join("key.pem"), "no key").unwrap();
    let cases: [(&[&str], &str); 5] = [
        (
            &["report", "basic", "--from", "objects.yaml"],
            "kubectl get tikvsecurities,tikvvolumes",
        ),
        (
            &["report", "other", "--from", "good.yaml"],
            "hold 0 TikvSecurity objects called other",
        ),
        (
            &["report", "basic", "--from", "none.yaml"],
            "none.yaml can not be read",
        ),
        (
            &[
                "report",
                "basic",
                "--from",
                "good.yaml",
                "--to",
                "r.md",
                "--signing-key",
                "key.pem",
            ],
            "openssl genpkey",
        ),
        (
            &["diff", "good.yaml", "good.yaml"],
            "report NAME --output json",
        ),
    ];
    for (arguments, words) in cases {
        let done = command(dir, arguments);
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    assert!(
        !dir.join("r.md").exists(),
        "a key that does not fit leaves no report behind"
    );
}
