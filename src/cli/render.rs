//! `tikv-security render`: what the operator would apply, from files and without a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::ANNOTATION_WRAPPED_BY;
use crate::api::v1alpha1::TikvSecurity;
use crate::plan::action::{Action, Plan};
use crate::plan::merge;
use crate::plan::observed::{Observed, WorkloadFacts};
use crate::plan::plan;

/// Prints what the operator would apply for a TikvSecurity to a new cluster, as YAML. Keys are never rendered, only named.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// YAML files with the TikvSecurity, the StatefulSets and the ConfigMaps they mount.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Image of the agents.
    #[arg(long, default_value = concat!("tikv-security:", env!("CARGO_PKG_VERSION")))]
    image: String,
}

/// Why nothing can be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// A document that is not what its kind says.
    #[error("{file}: {kind}: {error}")]
    Malformed {
        /// The file.
        file: String,
        /// Kind of the document.
        kind: String,
        /// What is wrong.
        error: String,
    },
    /// Not exactly one resource.
    #[error("the files hold {0} TikvSecurity objects; give exactly one")]
    Count(usize),
    /// The operator would refuse.
    #[error("the operator would do nothing: {0}")]
    Blocked(String),
}

/// Renders.
pub fn main(args: &RenderArgs) -> ExitCode {
    match render(args) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn render(args: &RenderArgs) -> Result<String, RenderError> {
    let mut documents = Vec::new();
    for path in &args.files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| RenderError::Read(path.clone(), error))?;
        documents.push((path.display().to_string(), text));
    }
    rendered(&documents, &args.image)
}

/// What would be applied, from named texts.
pub fn rendered(files: &[(String, String)], image: &str) -> Result<String, RenderError> {
    let mut resources: Vec<TikvSecurity> = Vec::new();
    let mut sets: BTreeMap<String, StatefulSet> = BTreeMap::new();
    let mut maps: BTreeMap<String, ConfigMap> = BTreeMap::new();
    for (file, text) in files {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let value =
                Value::deserialize(document).map_err(|error| malformed(file, "YAML", &error))?;
            let name = value["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            match value["kind"].as_str() {
                Some("TikvSecurity") => resources.push(typed(file, value)?),
                Some("StatefulSet") => drop(sets.insert(name, typed(file, value)?)),
                Some("ConfigMap") => drop(maps.insert(name, typed(file, value)?)),
                _ => {}
            }
        }
    }
    let count = resources.len();
    let resource = resources
        .pop()
        .filter(|_| count == 1)
        .ok_or(RenderError::Count(count))?;
    let facts = |name: &str| WorkloadFacts {
        stateful_set: sets.get(name).cloned(),
        config_maps: maps.clone(),
        ..WorkloadFacts::default()
    };
    let tikv = facts(&resource.spec.cluster.tikv.stateful_set.name);
    let pd = facts(&resource.spec.cluster.pd.stateful_set.name);
    let tidb = resource.spec.cluster.tidb.as_ref();
    let tidb = tidb.map(|tidb| facts(&tidb.stateful_set.name));
    let mut observed = Observed::of(resource, tikv, pd, image);
    observed.tidb = tidb.unwrap_or_default();
    let plan = plan(&observed, Timestamp::UNIX_EPOCH);
    if let Some(why) = blocked(&plan) {
        return Err(RenderError::Blocked(why));
    }
    let mut text = String::new();
    for action in plan.actions {
        match action {
            Action::IssueCa {
                metadata,
                common_name,
                ..
            } => {
                let name = metadata.name.unwrap_or_default();
                text.push_str(&format!(
                    "# Secret {name}: the CA {common_name:?}; made in the cluster, not rendered\n"
                ));
            }
            Action::IssueLeaf { metadata, spec, .. } => {
                let name = metadata.name.unwrap_or_default();
                let names: Vec<_> = spec
                    .dns
                    .iter()
                    .cloned()
                    .chain(spec.ips.iter().map(ToString::to_string))
                    .collect();
                text.push_str(&format!(
                    "# Secret {name}: certificate {:?} for {}; made in the cluster, not rendered\n",
                    spec.common_name,
                    names.join(" ")
                ));
            }
            Action::WrapMasterKey { metadata } => {
                let name = metadata.name.unwrap_or_default();
                let by = metadata.annotations.unwrap_or_default();
                let by = by.get(ANNOTATION_WRAPPED_BY).cloned().unwrap_or_default();
                text.push_str(&format!(
                    "# Secret {name}: a master key, wrapped by {by}; made in the cluster, not rendered\n"
                ));
            }
            Action::ApplyConfigMap(map) => push(&mut text, map.as_ref()),
            Action::PatchStatefulSet { name, patch } => {
                let mut set = serde_json::to_value(sets.get(&name)).unwrap_or_default();
                merge::apply(&mut set, &patch);
                push(&mut text, &set);
            }
            _ => {}
        }
    }
    Ok(text)
}

/// Why nothing would be done.
fn blocked(plan: &Plan) -> Option<String> {
    let mut conditions = plan.status.conditions.iter();
    let blocked = conditions.find(|one| one.type_ == "Blocked" && one.status == "True");
    blocked.map(|one| one.message.clone())
}

fn push(text: &mut String, object: &impl serde::Serialize) {
    text.push_str("---\n");
    text.push_str(&serde_yaml_ng::to_string(object).unwrap_or_default());
}

fn typed<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, RenderError> {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    serde_json::from_value(value).map_err(|error| malformed(file, &kind, &error))
}

fn malformed(file: &str, kind: &str, error: &dyn std::fmt::Display) -> RenderError {
    RenderError::Malformed {
        file: file.to_owned(),
        kind: kind.to_owned(),
        error: error.to_string(),
    }
}
