//! Command line: clap types, one module a subcommand.

pub mod agent;
pub mod agent_ready;
pub mod bench;
pub mod certificate;
pub mod client_config;
pub mod crds;
pub mod diff;
pub mod kubeconfig;
pub mod operator;
pub mod reference;
pub mod render;
pub mod report;
pub mod store;
pub mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::crypto::Backend;

/// Mutual TLS and encryption at rest for TiKV clusters on Kubernetes, and for single data directories.
#[derive(Parser, Debug)]
#[command(
    name = "tikv-security",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show keys and files of a store; read-only, safe while TiKV runs
    Inspect(store::inspect::InspectArgs),
    /// Prove the state of every file of a store; read-only, safe while TiKV runs
    Verify(store::verify::VerifyArgs),
    /// Re-encrypt a stopped store under a new data key, or decrypt it; goes on where an interrupted run stopped
    Reencrypt(store::reencrypt::ReencryptArgs),
    /// Seal key.dict of a stopped store under a new master key; data keys and files stay as they are
    Rewrap(store::rewrap::RewrapArgs),
    /// Show what is under which data key, again and again; read-only, made for a running TiKV
    Watch(store::watch::WatchArgs),
    /// Run the agent beside TiKV
    Agent(agent::AgentArgs),
    /// Start-up probe of the agent: 0 when TiKV may start
    AgentReady(agent_ready::AgentReadyArgs),
    Bench(bench::BenchArgs),
    Certificate(certificate::CertificateArgs),
    ClientConfig(client_config::ClientConfigArgs),
    Operator(operator::OperatorArgs),
    Render(render::RenderArgs),
    Report(report::ReportArgs),
    Diff(diff::DiffArgs),
    Crds(crds::CrdsArgs),
    Version(version::VersionArgs),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What would not be obeyed later is refused before anything is touched.
    if let Err(error) = Backend::check() {
        eprintln!("error: {error}");
        return ExitCode::from(store::exit::USAGE);
    }
    match command {
        Command::Inspect(args) => store::inspect::main(&args),
        Command::Verify(args) => store::verify::main(&args),
        Command::Reencrypt(args) => store::reencrypt::main(&args),
        Command::Rewrap(args) => store::rewrap::main(&args),
        Command::Watch(args) => store::watch::main(&args),
        Command::Agent(args) => agent::main(&args),
        Command::AgentReady(args) => agent_ready::run(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Certificate(args) => certificate::main(&args),
        Command::ClientConfig(args) => client_config::main(&args),
        Command::Operator(args) => operator::main(args),
        Command::Render(args) => render::main(&args),
        Command::Report(args) => report::main(&args),
        Command::Diff(args) => diff::main(&args),
        Command::Version(args) => version::main(&args),
        Command::Crds(args) => crds::main(&args),
    }
}
