//! `tikv-security operator`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::operator::lease::LeaseConfig;
use crate::operator::run::{Account, Options, run};

/// Runs the operator in the cluster that the service account or the kubeconfig names.
#[derive(Args, Debug)]
pub struct OperatorArgs {
    /// Namespaces to look after, separated by commas; all when absent
    #[arg(long, env = "TIKV_SECURITY_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// More namespaces whose TikvClientCertificate objects are looked after, and to which CA certificates may go, separated by commas
    #[arg(long, env = "TIKV_SECURITY_CLIENT_NAMESPACES", value_delimiter = ',')]
    client_namespaces: Vec<String>,
    /// Image of the agent that is put beside TiKV; the operator's own image
    #[arg(long, env = "TIKV_SECURITY_IMAGE")]
    image: String,
    /// Does not read TikvSecurityPolicy objects, which needs a right in the whole cluster; they do not hold then
    #[arg(long, env = "TIKV_SECURITY_IGNORE_POLICIES")]
    ignore_policies: bool,
    /// Address of /healthz, /readyz and /metrics
    #[arg(
        long,
        env = "TIKV_SECURITY_HEALTH_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    health_address: SocketAddr,
    /// Address of the port for CRLs, OCSP and what ACME servers fetch, over plain HTTP: none of it is secret; none when absent
    #[arg(long, env = "TIKV_SECURITY_REVOCATION_ADDRESS")]
    revocation_address: Option<SocketAddr>,
    /// Objects worked on at the same time
    #[arg(long, env = "TIKV_SECURITY_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Namespace of the Lease by which one of several operators is chosen
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,
    /// The operator's service account, in the same namespace as the Lease: whom it logs in to Vault as
    #[arg(long, env = "POD_SERVICE_ACCOUNT")]
    service_account: Option<String>,
    /// Name under which this operator holds the Lease; unlike any other's
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Form of the log
    #[arg(long, env = "TIKV_SECURITY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// How long a leader that fell silent is respected.
const LEASE: Duration = Duration::from_secs(15);

/// Runs the operator until it is told to stop.
pub fn main(args: OperatorArgs) -> ExitCode {
    log(args.log_format);
    let options = Options {
        namespaces: named(args.namespaces),
        client_namespaces: named(args.client_namespaces),
        agent_image: args.image,
        ignore_policies: args.ignore_policies,
        account: args.service_account.map(|name| Account {
            namespace: args.lease_namespace.clone(),
            name,
        }),
        health: args.health_address,
        revocation: args.revocation_address,
        concurrency: args.concurrency,
        lease: Some(LeaseConfig {
            namespace: args.lease_namespace,
            name: "tikv-security-operator".to_owned(),
            identity: args.identity.unwrap_or_else(anybody),
            duration: LEASE,
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime
            .block_on(run(options))
            .map_err(|error| error.to_string()),
        Err(error) => Err(format!("no threads: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tikv-security operator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An empty variable is one empty name.
fn named(all: Vec<String>) -> Vec<String> {
    all.into_iter().filter(|one| !one.is_empty()).collect()
}

/// An identity for an operator outside of a pod.
fn anybody() -> String {
    let mut dice = [0_u8; 8];
    // Without random numbers the process number has to do.
    let _ = getrandom::fill(&mut dice);
    format!("{}-{:016x}", std::process::id(), u64::from_le_bytes(dice))
}

fn log(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Already set in tests, and that is fine.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
