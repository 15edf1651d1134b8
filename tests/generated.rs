//! Files that are generated from the code equal what the code renders. `UPDATE=1` rewrites them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use tikv_security::cli::{crds, reference};

fn same(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not what the code renders; run: UPDATE=1 cargo test --test generated",
        path.display()
    );
}

#[test]
fn custom_resource_definitions() {
    let directory = Path::new("crds");
    for (name, text) in crds::files() {
        same(&directory.join(name), &text);
    }
}

#[test]
fn field_reference() {
    same(Path::new("crds/README.md"), &crds::reference());
}

#[test]
fn command_line_reference() {
    same(Path::new("docs/cli.md"), &reference::reference());
}
