//! Where the objects of a report come from: a cluster, or files.

use std::path::{Path, PathBuf};

use kube::Api;
use kube::api::ListParams;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::v1alpha1::{TikvSecurity, TikvVolume};
use crate::cli::kubeconfig::{ConnectError, Connection, connect};

/// The objects of one cluster.
pub struct Source {
    /// What is wanted.
    pub security: TikvSecurity,
    /// What was measured.
    pub volumes: Vec<TikvVolume>,
}

/// Why there are no objects.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No way to a cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster says no.
    #[error("{what}: {error}")]
    Cluster {
        /// What was asked.
        what: String,
        /// What was answered.
        error: Box<kube::Error>,
    },
    /// No runtime.
    #[error("no threads: {0}")]
    Threads(std::io::Error),
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// A file that holds something else.
    #[error("{0}: {1}; write it with: kubectl get tikvsecurities,tikvvolumes --output yaml")]
    Malformed(PathBuf, String),
    /// Not among the objects.
    #[error(
        "the files hold {0} TikvSecurity objects called {1}; give files with exactly one, or --namespace"
    )]
    Count(usize, String),
}

/// Reads the objects of a cluster.
pub fn cluster(
    name: &str,
    namespace: Option<&str>,
    context: Option<&str>,
) -> Result<Source, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SourceError::Threads)?;
    runtime.block_on(async {
        let Connection { client, namespace } = connect(namespace, context).await?;
        let refused = |what: String| {
            move |error| SourceError::Cluster {
                what,
                error: Box::new(error),
            }
        };
        let security = Api::<TikvSecurity>::namespaced(client.clone(), &namespace)
            .get(name)
            .await
            .map_err(refused(format!("reading TikvSecurity {namespace}/{name}")))?;
        let volumes = Api::<TikvVolume>::namespaced(client, &namespace)
            .list(&ListParams::default())
            .await
            .map_err(refused(format!("reading the TikvVolumes of {namespace}")))?;
        Ok(Source {
            security,
            volumes: volumes.items,
        })
    })
}

/// Reads objects from files: documents, lists of them, YAML or JSON.
pub fn files(
    name: &str,
    namespace: Option<&str>,
    paths: &[PathBuf],
) -> Result<Source, SourceError> {
    let (mut securities, mut volumes) = (Vec::new(), Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(path)
            .map_err(|error| SourceError::Read(path.clone(), error))?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let value = Value::deserialize(document)
                .map_err(|error| SourceError::Malformed(path.clone(), error.to_string()))?;
            let objects = match value.get("items").and_then(Value::as_array) {
                Some(items) => items.clone(),
                None => vec![value],
            };
            for object in objects {
                match object["kind"].as_str() {
                    Some("TikvSecurity") => securities.push(parse::<TikvSecurity>(path, object)?),
                    Some("TikvVolume") => volumes.push(parse::<TikvVolume>(path, object)?),
                    _ => {}
                }
            }
        }
    }
    securities.retain(|one| {
        one.metadata.name.as_deref() == Some(name)
            && namespace.is_none_or(|space| one.metadata.namespace.as_deref() == Some(space))
    });
    let count = securities.len();
    match (securities.pop(), count) {
        (Some(security), 1) => Ok(Source { security, volumes }),
        _ => Err(SourceError::Count(count, name.to_owned())),
    }
}

fn parse<K: DeserializeOwned>(path: &Path, object: Value) -> Result<K, SourceError> {
    serde_json::from_value(object)
        .map_err(|error| SourceError::Malformed(path.to_owned(), error.to_string()))
}
