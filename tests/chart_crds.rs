//! `crds/` is what the types say, and the chart ships exactly that. `UPDATE=1 cargo test --test chart_crds` writes it.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use tikv_security::api::v1alpha1::{TikvSecurity, TikvVolume};

fn definitions() -> [CustomResourceDefinition; 2] {
    [TikvSecurity::crd(), TikvVolume::crd()]
}

fn path(definition: &CustomResourceDefinition) -> PathBuf {
    let name = &definition.spec.names.plural;
    PathBuf::from(format!("crds/{name}.yaml"))
}

fn text(definition: &CustomResourceDefinition) -> String {
    let yaml = serde_yaml_ng::to_string(definition).unwrap();
    format!("# Generated from src/api: UPDATE=1 cargo test --test chart_crds\n{yaml}")
}

#[test]
fn crds_are_current() {
    for definition in definitions() {
        let (path, text) = (path(&definition), text(&definition));
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all("crds").unwrap();
            fs::write(&path, &text).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == text,
            "{} is not what src/api says; run UPDATE=1 cargo test --test chart_crds, then ci/manifests",
            path.display()
        );
    }
}

#[test]
fn the_chart_ships_the_same_files() {
    for definition in definitions() {
        let path = path(&definition);
        let shipped = PathBuf::from("charts/tikv-security").join(&path);
        assert_eq!(
            fs::read_to_string(&shipped).unwrap(),
            fs::read_to_string(&path).unwrap(),
            "{} and {} differ; charts/tikv-security/crds is a link to crds",
            shipped.display(),
            path.display()
        );
    }
}
