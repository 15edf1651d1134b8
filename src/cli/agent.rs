//! `tikv-security agent`: the process beside TiKV.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use clap::Args;

use crate::api::AGENT_PORT;

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
    /// Directory of the gate; emptied with the pod
    #[arg(long, default_value = "/run/tikv-security")]
    pub run: PathBuf,
    /// Address of the HTTPS server
    #[arg(long, default_value_t = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, AGENT_PORT).into())]
    pub listen: SocketAddr,
    /// Seconds between two measurements of the data directory
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub measure_every: u64,
}
