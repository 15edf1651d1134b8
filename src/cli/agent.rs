//! `tikv-security agent`: the process beside TiKV.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::agent::error::StoreError;
use crate::agent::service::compactor::Tikv;
use crate::agent::service::data_dir::DataDir;
use crate::agent::service::{self, Settings};
use crate::api::AGENT_PORT;
use crate::api::wrapped::WrappedKey;
use crate::tikv::debug_service::GRPC_PORT;
use crate::tikv::http::Endpoint;
use crate::tikv::store_config::StoreConfig;

/// Arguments of `agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// TiKV's configuration file, at the path at which TiKV sees it
    #[arg(long)]
    pub config: PathBuf,
    /// TiKV's data directory, when it is not the one of the configuration file
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// The desired state
    #[arg(long, default_value = "/etc/tikv-security/desired.json")]
    pub desired: PathBuf,
    /// Directory with ca.crt, tls.crt and tls.key
    #[arg(long, default_value = "/var/lib/tikv-security/tls")]
    pub tls: PathBuf,
    /// A master key to unwrap before TiKV starts, as JSON that the operator writes; more than once for several keys
    #[arg(long = "wrapped-key", value_name = "JSON")]
    pub wrapped_keys: Vec<WrappedKey>,
    /// Directory of the gate; emptied with the pod
    #[arg(long, default_value = "/run/tikv-security")]
    pub run: PathBuf,
    /// Address of the HTTPS server
    #[arg(long, default_value_t = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, AGENT_PORT).into())]
    pub listen: SocketAddr,
    /// Name of the pod, to know its turn when tables under old data keys are compacted
    #[arg(long, env = "POD_NAME")]
    pub pod: Option<String>,
    /// Address of the pod, at which TiKV is asked for compactions
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// Seconds between two measurements of the data directory
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub measure_every: u64,
}

/// Runs the agent until it is told to stop.
pub fn main(args: &AgentArgs) -> ExitCode {
    if let Err(error) = service::process::protect_memory() {
        eprintln!("error: core dumps could not be switched off: {error}");
        return ExitCode::FAILURE;
    }
    crate::telemetry::trace::init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &AgentArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config =
        std::fs::read_to_string(&args.config).map_err(StoreError::io("reading", &args.config))?;
    let tls = StoreConfig::parse(&config)?.tls;
    let store = DataDir::new(config, args.data_dir.clone())?;
    let tikv = args.pod.clone().zip(args.pod_ip).map(|(pod, ip)| {
        // An address of a pod is in no certificate; this name is in every store's, unless it has to be one that a CA can check.
        let endpoint = Endpoint::new(ip.to_string(), GRPC_PORT).named("localhost");
        (pod, Tikv { endpoint, tls })
    });
    let settings = Settings {
        data_dir: store.path().clone(),
        desired: args.desired.clone(),
        tls: args.tls.clone(),
        wrapped_keys: args.wrapped_keys.clone(),
        run: args.run.clone(),
        listen: args.listen,
        measure_every: Duration::from_secs(args.measure_every),
        tikv,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(service::run(settings, store))?)
}
