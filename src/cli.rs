//! Command line: clap types, one module a subcommand.

pub mod agent;
pub mod agent_ready;
pub mod crds;
pub mod operator;
pub mod render;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Mutual TLS and encryption at rest for TiKV clusters on Kubernetes.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start-up probe of the agent: 0 when TiKV may start
    AgentReady(agent_ready::AgentReadyArgs),
    Operator(operator::OperatorArgs),
    Render(render::RenderArgs),
    Crds(crds::CrdsArgs),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::AgentReady(args) => agent_ready::run(&args),
        Command::Operator(args) => operator::main(args),
        Command::Render(args) => render::main(&args),
        Command::Crds(args) => crds::main(&args),
    }
}
