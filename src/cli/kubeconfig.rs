//! The way to a cluster, as kubectl finds it.

use kube::config::{InferConfigError, KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};

/// A cluster to ask, and the namespace that is meant.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace that was named, or that of the kubeconfig's context.
    pub namespace: String,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that can not be used.
    #[error("the kubeconfig can not be used: {0}; set KUBECONFIG, or name a --context")]
    Kubeconfig(#[from] KubeconfigError),
    /// None.
    #[error("no cluster to ask; set KUBECONFIG: {0}")]
    None(#[from] InferConfigError),
    /// What it names can not be reached.
    #[error("no connection: {0}")]
    Client(#[from] kube::Error),
}

/// Connects as the kubeconfig says, to the named context or the present one.
pub async fn connect(
    namespace: Option<&str>,
    context: Option<&str>,
) -> Result<Connection, ConnectError> {
    let config = match context {
        None => Config::infer().await?,
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            Config::from_kubeconfig(&options).await?
        }
    };
    let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
    let client = Client::try_from(config)?;
    Ok(Connection { client, namespace })
}
