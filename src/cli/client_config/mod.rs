//! `tikv-security client-config`: how an application uses its certificate.

mod snippets;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kube::Api;
use serde::Deserialize as _;
use serde_json::Value;

use super::kubeconfig::{ConnectError, Connection, connect};
use super::store::exit;
use crate::api::v1alpha1::{TikvClientCertificate, Usage, condition};
use crate::plan::client_certificate::request;

/// Print how an application uses the certificate of a TikvClientCertificate: mount, PD's addresses, code; read-only
#[derive(Args, Debug)]
pub struct ClientConfigArgs {
    /// The `TikvClientCertificate`
    name: String,
    /// Its namespace; that of the kubeconfig's context when absent
    #[arg(long, short)]
    namespace: Option<String>,
    /// Who uses it
    #[arg(long = "for", value_name = "CLIENT")]
    client: Consumer,
    /// Context of the kubeconfig
    #[arg(long, conflicts_with = "from")]
    context: Option<String>,
    /// Reads the object from a file of `kubectl get tikvclientcertificate --output yaml` instead of a cluster
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Who uses a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Consumer {
    /// A TiDB server
    Tidb,
    /// client-go
    Go,
    /// The crate tikv-client
    Rust,
    /// client-java
    Java,
    /// gRPC and HTTP from Python
    Python,
    /// tikv-ctl and pd-ctl
    TikvCtl,
    /// A MySQL client of a TiDB server
    Mysql,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// No way to a cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster says no.
    #[error("reading TikvClientCertificate {0}: {1}")]
    Cluster(String, kube::Error),
    /// No runtime.
    #[error("no threads: {0}")]
    Threads(std::io::Error),
    /// A file that can not be read.
    #[error("{0} can not be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// A file that holds something else.
    #[error("{0}: {1}; write it with: kubectl get tikvclientcertificate NAME --output yaml")]
    Malformed(PathBuf, String),
    /// Not in the file.
    #[error("{0} holds no TikvClientCertificate called {1}")]
    Missing(PathBuf, String),
}

/// What a snippet is made of.
struct Facts {
    name: String,
    namespace: String,
    secret: String,
    /// Hosts and ports, without scheme.
    pd: Vec<String>,
    /// Where the password of the PKCS#12 stores is: Secret and key; `None` without such stores.
    password: Option<(String, String)>,
    server_auth: bool,
    common_name: Option<String>,
    /// Why the certificate can not be used now.
    not_ready: Option<String>,
}

/// Prints. The exit code is 8 when the certificate is not ready, with the snippet all the same.
pub fn main(args: &ClientConfigArgs) -> ExitCode {
    let read = match &args.from {
        None => cluster(args),
        Some(path) => file(path, &args.name, args.namespace.as_deref()),
    };
    match read {
        Ok(resource) => {
            let facts = Facts::of(&resource);
            print!("{}", snippets::text(args.client, &facts));
            match facts.not_ready {
                None => ExitCode::SUCCESS,
                Some(why) => {
                    eprintln!("warning: not ready: {why}");
                    ExitCode::from(exit::NOT_AS_REQUIRED)
                }
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

fn cluster(args: &ClientConfigArgs) -> Result<TikvClientCertificate, ClientConfigError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ClientConfigError::Threads)?;
    runtime.block_on(async {
        let wanted = connect(args.namespace.as_deref(), args.context.as_deref()).await?;
        let Connection { client, namespace } = wanted;
        let which = format!("{namespace}/{}", args.name);
        let api = Api::<TikvClientCertificate>::namespaced(client, &namespace);
        let found = api.get(&args.name).await;
        found.map_err(|error| ClientConfigError::Cluster(which, error))
    })
}

/// From documents and lists of them, YAML or JSON.
fn file(
    path: &Path,
    name: &str,
    namespace: Option<&str>,
) -> Result<TikvClientCertificate, ClientConfigError> {
    let malformed = |why: String| ClientConfigError::Malformed(path.to_owned(), why);
    let text = std::fs::read_to_string(path)
        .map_err(|error| ClientConfigError::Read(path.to_owned(), error))?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = Value::deserialize(document).map_err(|error| malformed(error.to_string()))?;
        let objects = match value.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![value],
        };
        for object in objects {
            let metadata = &object["metadata"];
            let same = object["kind"] == "TikvClientCertificate"
                && metadata["name"] == name
                && namespace.is_none_or(|space| metadata["namespace"] == space);
            if same {
                return serde_json::from_value(object)
                    .map_err(|error| malformed(error.to_string()));
            }
        }
    }
    Err(ClientConfigError::Missing(path.to_owned(), name.to_owned()))
}

impl Facts {
    fn of(resource: &TikvClientCertificate) -> Self {
        let status = resource.status.clone().unwrap_or_default();
        let secret = request::secret_name(resource);
        let password = resource
            .spec
            .pkcs12
            .as_ref()
            .map(|pkcs12| match &pkcs12.password_secret {
                Some(named) => (named.name.clone(), named.key.clone()),
                None => (secret.clone(), "password".to_owned()),
            });
        let ready = status
            .conditions
            .iter()
            .find(|one| one.type_ == condition::READY);
        let not_ready = match ready {
            Some(one) if one.status == "True" => None,
            Some(one) => Some(one.message.clone()),
            None => Some("the operator has not looked at it; does it run, and does it look after this namespace?".to_owned()),
        };
        let bare = |url: &String| {
            let bare = url
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            bare.trim_end_matches('/').to_owned()
        };
        Self {
            name: resource.metadata.name.clone().unwrap_or_default(),
            namespace: resource.metadata.namespace.clone().unwrap_or_default(),
            secret,
            pd: status.pd_endpoints.iter().map(bare).collect(),
            password,
            server_auth: resource.spec.usages.contains(&Usage::ServerAuth),
            common_name: status.common_name,
            not_ready,
        }
    }
}
